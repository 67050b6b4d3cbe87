// A socket with or without TLS: where plaintext meets the kernel.

/// What a read came to.
enum TransportRead: BitwiseCopyable {
    case bytes(Int)
    /// Nothing more for now; the loop will tell.
    case wouldBlock
    /// The peer finished; `isClean` when it said so (close_notify) or there is no TLS to say it.
    case ended(isClean: Bool)
    case failed(TLSFailure)
}

/// What a flush left behind.
enum TransportFlush: BitwiseCopyable {
    case done
    /// The kernel's buffer is full; writability will be told.
    case blocked
    case failed(Int32)
}

/// One side's byte stream.
///
/// Registered once, edge-triggered: whoever stops reading before `wouldBlock` has to come back by
/// himself (`mayHoldMore`).
struct Transport: ~Copyable {
    let wire: Ref<TLSWire>
    var tls: TLSSession?
    /// False between a send that the kernel refused and the event that it takes more.
    private(set) var isWritable = true
    /// A send has failed: what the peer has sent before may still be read, and nothing after it.
    private var isBroken = false
    /// TLS's farewell (close_notify) is among the ciphertext, or sent.
    private(set) var hasSaidFarewell = false
    private(set) var bytesIn: UInt64 = 0
    private(set) var bytesOut: UInt64 = 0

    /// Ciphertext (or, without TLS, nothing) may wait for the kernel up to here before plaintext
    /// stays where it is: four records, one large send.
    private static let sendBytes = 64 * 1024

    init(descriptor: Int32, pool: Ref<BufferPool>) {
        wire = .allocate(TLSWire(descriptor: descriptor, output: ByteQueue(pool: pool)))
        tls = nil
    }

    deinit { wire.destroy() }

    /// Ends TLS and closes the socket; nothing may be read or written afterwards.
    mutating func close() {
        tls = nil
        guard wire[].descriptor >= 0 else { return }
        Socket.close(wire[].descriptor)
        wire[].descriptor = -1
        wire[].output.removeAll()
    }

    /// Goes on in another worker; nothing waits to be sent.
    func move(to pool: Ref<BufferPool>) {
        precondition(wire[].output.isEmpty)
        wire[].output = ByteQueue(pool: pool)
    }

    var descriptor: Int32 { wire[].descriptor }

    /// Ciphertext that the kernel has not taken.
    @inline(__always)
    var pending: Int { wire[].output.count }

    /// Whether a read may bring bytes without a further event.
    @inline(__always)
    var mayHoldMore: Bool {
        if !wire[].isDrained { return !wire[].hasEnded }
        switch tls {
        case .some(let session): return session.hasBuffered
        case nil: return false
        }
    }

    /// An event said that there is something to read, or that the peer has ended its side.
    @inline(__always)
    func noteReadable(endsSoon: Bool) {
        wire[].isDrained = false
        if endsSoon { wire[].expectsEnd = true }
    }

    @inline(__always)
    mutating func noteWritable() { isWritable = true }

    /// Reads plaintext into `place`.
    @inline(__always)
    mutating func read(
        into place: UnsafeMutablePointer<UInt8>, capacity: Int
    ) -> TransportRead {
        guard let outcome = unsafe tls?.read(into: place, capacity: capacity) else {
            return unsafe readPlain(into: place, capacity: capacity)
        }
        switch outcome {
        case .bytes(let count):
            bytesIn &+= UInt64(count)
            return .bytes(count)
        case .wantsRead: return isBroken ? .failed(TLSFailure(.io)) : .wouldBlock
        case .closed(let clean): return .ended(isClean: clean)
        case .failed(let failure): return .failed(failure)
        }
    }

    @inline(__always)
    private mutating func readPlain(
        into place: UnsafeMutablePointer<UInt8>, capacity: Int
    ) -> TransportRead {
        switch unsafe Socket.receive(wire[].descriptor, into: place, capacity: capacity) {
        case .bytes(let count):
            // A short read means that the socket is empty: the next bytes make a new event.
            if count < capacity, !wire[].expectsEnd { wire[].isDrained = true }
            bytesIn &+= UInt64(count)
            return .bytes(count)
        case .wouldBlock:
            wire[].isDrained = true
            return isBroken ? .failed(TLSFailure(.io)) : .wouldBlock
        case .ended:
            wire[].hasEnded = true
            return .ended(isClean: true)
        case .failed(let code):
            wire[].hasEnded = true
            return .failed(.io(code))
        }
    }

    /// Puts TLS's farewell behind the ciphertext, once; nothing may be written after it.
    mutating func sayFarewell() {
        guard tls != nil, !hasSaidFarewell else { return }
        hasSaidFarewell = true
        tls?.closeNotify()
    }

    /// Sends what waits: first ciphertext, then `plaintext`, as much as the kernel takes.
    ///
    /// With `isLast` TLS's farewell goes along behind the last of it.
    @inline(__always)
    mutating func flush(_ plaintext: inout ByteQueue, isLast: Bool = false) -> TransportFlush {
        let outcome = send(&plaintext, isLast: isLast)
        if case .failed = outcome { isBroken = true }
        return outcome
    }

    @inline(__always)
    private mutating func send(_ plaintext: inout ByteQueue, isLast: Bool) -> TransportFlush {
        while true {
            if tls != nil, wire[].output.count < Self.sendBytes, !plaintext.isEmpty {
                let piece = plaintext.bytes.prefix(Self.sendBytes)
                guard tls?.write(piece) ?? false else { return .failed(0) }
                plaintext.consume(piece.count)
                if isLast, plaintext.isEmpty { sayFarewell() }
            }
            guard isWritable else {
                return wire[].output.isEmpty && plaintext.isEmpty ? .done : .blocked
            }
            if tls != nil || !wire[].output.isEmpty {
                if wire[].output.isEmpty { return .done }
                let offered = wire[].output.bytes
                switch Socket.send(wire[].descriptor, offered) {
                case .bytes(let count):
                    wire[].output.consume(count)
                    bytesOut &+= UInt64(count)
                    if count < offered.count { isWritable = false }
                case .wouldBlock: isWritable = false
                case .ended: return .failed(0)
                case .failed(let code): return .failed(code)
                }
            } else {
                if plaintext.isEmpty { return .done }
                let offered = plaintext.bytes
                switch Socket.send(wire[].descriptor, offered) {
                case .bytes(let count):
                    plaintext.consume(count)
                    bytesOut &+= UInt64(count)
                    if count < offered.count { isWritable = false }
                case .wouldBlock: isWritable = false
                case .ended: return .failed(0)
                case .failed(let code): return .failed(code)
                }
            }
        }
    }
}
