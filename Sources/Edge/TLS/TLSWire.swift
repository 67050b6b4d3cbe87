// The one place where TLS meets the socket: OpenSSL's reads and writes end here.

import COpenSSL
import Glibc

/// What OpenSSL reads from and writes to: a socket on the reading side, a queue on the other.
///
///     socket ── recv ──► OpenSSL's read buffer ──► plaintext
///     plaintext ──► records ──► output ── one send by the transport ──► socket
///
/// Pinned for the life of the connection and outlives its `TLSSession`.
@safe
struct TLSWire: ~Copyable {
    /// Ciphertext that may wait in `output`: the largest block of the pool.
    ///
    /// A write beyond it fails.
    static var outputBytes: Int { BufferPool.size(of: BufferPool.classes - 1) }

    var descriptor: Int32
    /// Ciphertext for the transport to send.
    ///
    /// Look here after reads too: alerts, KeyUpdate.
    var output: ByteQueue
    /// A recv came back short or with EAGAIN: the socket holds nothing more.
    ///
    /// While set, no recv is tried; the transport clears it on every readable event.
    var isDrained: Bool
    /// recv returned 0: the peer has ended its side.
    var hasEnded: Bool
    /// errno of a failed recv; 0 if none.
    var failure: Int32
    /// The transport saw the peer's end coming (EPOLLRDHUP, EPOLLHUP, EPOLLERR): a short recv is no
    /// longer taken for a drained socket, because no further edge would announce the end.
    var expectsEnd = false
    /// OpenSSL asked for bytes and got none; tells "no input" from "a record without data".
    fileprivate(set) var isStarved = false
    /// The handshake is done: what comes from here on has paid for itself, or is charged.
    var isEstablished = false
    /// What the peer made OpenSSL do without sending data, in bytes of data that pay for it.
    private(set) var toll = 0
    /// What may still be received before the handshake is done.
    private var handshakeRoom = Self.handshakeBytes
    private var hello = HelloGauge()
    /// A second ClientHello was asked for.
    private var isRetried = false

    init(
        descriptor: Int32, output: consuming ByteQueue, isDrained: Bool = false,
        hasEnded: Bool = false, failure: Int32 = 0
    ) {
        self.descriptor = descriptor
        self.output = output
        self.isDrained = isDrained
        self.hasEnded = hasEnded
        self.failure = failure
    }

    @inline(__always)
    mutating func forgetStarvation() { isStarved = false }

    /// Data came: it pays for what was charged.
    @inline(__always)
    mutating func pay(_ bytes: Int) {
        if toll > 0 { settle(bytes) }
    }

    @inline(never)
    private mutating func settle(_ bytes: Int) {
        if !isFlooded { toll = max(0, toll - bytes) }
    }

    /// Nothing more is read: the peer has asked for too much, or for what it never gets.
    @inline(__always)
    var isFlooded: Bool { toll > Self.mostToll }

    /// A handshake message after the handshake, or a record without data.
    mutating func charge() { toll += Self.messageToll }

    /// Nothing more is read from this peer.
    mutating func refuse() { toll = .max / 2 }

    /// Receives up to `capacity` bytes; 0 at the end of the stream, -1 when there are none (now).
    @inline(__always)
    fileprivate mutating func receive(
        _ place: UnsafeMutablePointer<UInt8>, _ capacity: Int, retries: inout Bool
    ) -> Int {
        retries = isDrained
        isStarved = isDrained
        if isDrained { return -1 }
        if isFlooded { return fail(EPROTO) }
        while true {
            let count = unsafe recv(descriptor, place, capacity, 0)
            if count > 0 {
                if !isEstablished, !admits(unsafe Bytes(place, count: count)) {
                    return fail(EMSGSIZE)
                }
                if count < capacity, !expectsEnd { isDrained = true }
                return count
            }
            isStarved = true
            if count == 0 {
                hasEnded = true
                return 0
            }
            switch errno {
            case EINTR: isStarved = false
            case EAGAIN:
                isDrained = true
                retries = true
                return -1
            default:
                failure = errno
                return -1
            }
        }
    }

    private mutating func fail(_ errno: Int32) -> Int {
        isStarved = true
        failure = errno
        return -1
    }

    /// Whether the handshake may go on with what was received.
    @inline(never)
    private mutating func admits(_ bytes: Bytes) -> Bool {
        handshakeRoom -= bytes.count
        hello.read(bytes)
        return handshakeRoom >= 0 && !hello.isFirstTooLarge
            && !(isRetried && hello.isSecondTooLarge)
    }

    /// Whether a record of the handshake may be sent: not a HelloRetryRequest whose answer has come
    /// already and is too large.
    @inline(never)
    fileprivate mutating func admitsOutput(_ record: Bytes) -> Bool {
        if record.isHelloRetryRequest { isRetried = true }
        guard isRetried, hello.isSecondTooLarge else { return true }
        failure = EMSGSIZE
        return false
    }
}

extension TLSWire {
    /// 128 KiB of handshake, far above any certificate chain; nobody sends more before the end.
    static var handshakeBytes: Int { 128 * 1024 }
    /// 8 KiB of data pay for a handshake message after the handshake, twice that if it is answered:
    /// OpenSSL runs through its states once to read it and once to answer.
    static var messageToll: Int { 8 * 1024 }
    /// 1 MiB: 64 answered messages that nothing paid for end a session, even in the middle of a
    /// read.
    ///
    /// A KeyUpdate costs several times as much as the record that carries it, and OpenSSL works on
    /// as many as the socket brings without returning to us.
    static var mostToll: Int { 128 * messageToll }
}

extension Bytes {
    /// A ServerHello with the random value that stands for a retry (RFC 8446 §4.1.3).
    fileprivate var isHelloRetryRequest: Bool {
        // Headers of record and message, version.
        let start = 11
        guard count >= start + 8, self[0] == 22, self[5] == 2 else { return false }
        var word: UInt64 = 0
        for index in start..<start + 8 { word = word << 8 | UInt64(self[index]) }
        return word == 0xCF21_AD74_E59A_6111
    }
}

/// The BIO that stands between OpenSSL and a `TLSWire`.
enum TLSWireBIO {
    // Safety: made once under the lock of a static property, then only read.
    nonisolated(unsafe) private static let method: OpaquePointer? = unsafe makeMethod()

    /// A BIO that borrows `wire`; nil when memory is short.
    static func make(_ wire: Ref<TLSWire>) -> OpaquePointer? {
        guard let method = unsafe method, let bio = unsafe BIO_new(method) else { return nil }
        unsafe BIO_set_data(bio, wire.pointer)
        unsafe BIO_set_init(bio, 1)
        return unsafe bio
    }

    /// Has sessions of an SSL_CTX tell their wires what the peer makes them do.
    static func watch(_ context: OpaquePointer) {
        unsafe SSL_CTX_set_info_callback(context, noteEvent)
    }

    private static func makeMethod() -> OpaquePointer? {
        let type = BIO_get_new_index() | BIO_TYPE_SOURCE_SINK
        guard let method = unsafe BIO_meth_new(type, "edge wire") else { return nil }
        unsafe BIO_meth_set_read(method, wireRead)
        unsafe BIO_meth_set_write(method, wireWrite)
        unsafe BIO_meth_set_ctrl(method, wireControl)
        return unsafe method
    }
}

private func wire(of bio: OpaquePointer?) -> Ref<TLSWire>? {
    guard let data = unsafe BIO_get_data(bio) else { return nil }
    return unsafe Ref(data.assumingMemoryBound(to: TLSWire.self))
}

private var retryFlags: Int32 {
    BIO_FLAGS_READ | BIO_FLAGS_WRITE | BIO_FLAGS_IO_SPECIAL | BIO_FLAGS_SHOULD_RETRY
}

private func wireRead(
    _ bio: OpaquePointer?, _ place: UnsafeMutablePointer<CChar>?, _ capacity: Int32
) -> Int32 {
    guard let wire = unsafe wire(of: bio), let place = unsafe place, capacity > 0 else { return -1 }
    unsafe BIO_clear_flags(bio, retryFlags)
    var retries = false
    let count = unsafe wire[].receive(
        UnsafeMutableRawPointer(place).assumingMemoryBound(to: UInt8.self), Int(capacity),
        retries: &retries)
    if retries { unsafe BIO_set_flags(bio, BIO_FLAGS_READ | BIO_FLAGS_SHOULD_RETRY) }
    return Int32(truncatingIfNeeded: count)
}

private func wireWrite(
    _ bio: OpaquePointer?, _ bytes: UnsafePointer<CChar>?, _ count: Int32
) -> Int32 {
    guard let wire = unsafe wire(of: bio), let bytes = unsafe bytes, count > 0 else { return -1 }
    // Producers are bounded far below this; what a peer can provoke (KeyUpdate) must be, too.
    guard wire[].output.count + Int(count) <= TLSWire.outputBytes else { return -1 }
    let record = unsafe Bytes(
        UnsafeRawPointer(bytes).assumingMemoryBound(to: UInt8.self), count: Int(count))
    guard wire[].isEstablished || wire[].admitsOutput(record) else { return -1 }
    wire[].output.append(record)
    return count
}

/// What OpenSSL tells of its state: never called for data.
private func noteEvent(_ ssl: OpaquePointer?, _ event: Int32, _ value: Int32) {
    guard let wire = unsafe wire(of: SSL_get_rbio(ssl)), wire[].isEstablished else { return }
    if event & SSL_CB_EXIT != 0 {
        // One message after the handshake: KeyUpdate, a ticket, a request to negotiate again.
        wire[].charge()
    } else if event == SSL_CB_ALERT | SSL_CB_WRITE,
        value == SSL3_AL_WARNING << 8 | SSL_AD_NO_RENEGOTIATION
    {
        // OpenSSL would read on, and answer each further ClientHello in the same call.
        wire[].refuse()
    }
}

private func wireControl(
    _ bio: OpaquePointer?, _ command: Int32, _ number: Int, _ pointer: UnsafeMutableRawPointer?
) -> Int {
    switch command {
    case BIO_CTRL_FLUSH: return 1
    case BIO_CTRL_EOF: return unsafe wire(of: bio)?[].hasEnded == true ? 1 : 0
    default: return 0
    }
}
