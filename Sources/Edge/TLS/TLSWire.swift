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

    /// Receives up to `capacity` bytes; 0 at the end of the stream, -1 when there are none (now).
    @inline(__always)
    fileprivate mutating func receive(
        _ place: UnsafeMutableRawPointer, _ capacity: Int, retries: inout Bool
    ) -> Int {
        retries = isDrained
        isStarved = isDrained
        if isDrained { return -1 }
        while true {
            let count = unsafe recv(descriptor, place, capacity, 0)
            if count > 0 {
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
    let count = unsafe wire[].receive(place, Int(capacity), retries: &retries)
    if retries { unsafe BIO_set_flags(bio, BIO_FLAGS_READ | BIO_FLAGS_SHOULD_RETRY) }
    return Int32(truncatingIfNeeded: count)
}

private func wireWrite(
    _ bio: OpaquePointer?, _ bytes: UnsafePointer<CChar>?, _ count: Int32
) -> Int32 {
    guard let wire = unsafe wire(of: bio), let bytes = unsafe bytes, count > 0 else { return -1 }
    // Producers are bounded far below this; what a peer can provoke (KeyUpdate) must be, too.
    guard wire[].output.count + Int(count) <= TLSWire.outputBytes else { return -1 }
    unsafe wire[].output.append(
        Bytes(UnsafeRawPointer(bytes).assumingMemoryBound(to: UInt8.self), count: Int(count)))
    return count
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
