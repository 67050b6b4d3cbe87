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
    /// errno of a write that failed and that `flush` has yet to tell; 0: TLS's.
    private var failure: Int32?
    /// TLS's farewell (close_notify) is among the ciphertext, or sent.
    private var hasSaidFarewell = false
    private(set) var bytesIn: UInt64 = 0
    private(set) var bytesOut: UInt64 = 0

    /// Ciphertext (or, without TLS, nothing) may wait for the kernel up to here before plaintext
    /// stays where it is: four records, one large send.
    private static let sendBytes = 64 * 1024
    /// Plaintext that is encrypted together: a little more than that, so that no scrap of it has to
    /// travel alone.
    private static let pieceBytes = sendBytes + 4 * 1024

    init(descriptor: Int32, pool: Ref<BufferPool>) {
        wire = .allocate(TLSWire(descriptor: descriptor, output: ByteQueue(pool: pool)))
        tls = nil
        failure = nil
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
        if !wire[].isDrained, !wire[].hasEnded { return true }
        // Behind the socket's end TLS may hold what it has yet to tell: that end, for one.
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

    /// Queues bytes behind `plaintext`; many at once are encrypted, or without TLS sent, where they
    /// lie.
    @inline(__always)
    mutating func write(_ bytes: Bytes, behind plaintext: inout ByteQueue) {
        let least = tls == nil ? Limits.bulkBytes : Limits.directBytes
        if bytes.count < least || !writeDirectly(bytes, &plaintext) {
            plaintext.append(bytes)
        }
    }

    /// False: they would have to wait, so they are to be copied; what a failure leaves unsent, too.
    @inline(never)
    private mutating func writeDirectly(_ bytes: Bytes, _ plaintext: inout ByteQueue) -> Bool {
        guard isWritable, failure == nil, wire[].output.count < Self.sendBytes else { return false }
        if tls != nil {
            guard tls?.write(plaintext.bytes) ?? false, tls?.write(bytes) ?? false else {
                failure = 0
                return false
            }
            plaintext.removeAll()
            return true
        }
        guard plaintext.isEmpty, wire[].output.isEmpty else { return false }
        switch Socket.send(wire[].descriptor, bytes) {
        case .bytes(let count):
            bytesOut &+= UInt64(count)
            if count < bytes.count {
                isWritable = false
                plaintext.append(bytes.dropFirst(count))
            }
            return true
        case .wouldBlock: isWritable = false
        case .ended: failure = 0
        case .failed(let code): failure = code
        }
        return false
    }

    /// Puts TLS's farewell behind the ciphertext, after which nothing may be written; false when it
    /// stands there already, or there is no TLS.
    @discardableResult
    mutating func sayFarewell() -> Bool {
        guard tls != nil, !hasSaidFarewell else { return false }
        hasSaidFarewell = true
        tls?.closeNotify()
        return true
    }

    /// Sends what waits: first ciphertext, then `plaintext`, as much as the kernel takes.
    ///
    /// With `isLast` TLS's farewell goes along behind the last of it.
    @inline(__always)
    mutating func flush(_ plaintext: inout ByteQueue, isLast: Bool = false) -> TransportFlush {
        let outcome = failure.map { .failed($0) } ?? send(&plaintext, isLast: isLast)
        if case .failed = outcome { isBroken = true }
        return outcome
    }

    @inline(__always)
    private mutating func send(_ plaintext: inout ByteQueue, isLast: Bool) -> TransportFlush {
        while true {
            if tls != nil, wire[].output.count < Self.sendBytes, !plaintext.isEmpty {
                let piece = plaintext.bytes.prefix(Self.pieceBytes)
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
