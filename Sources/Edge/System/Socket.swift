// Sockets: one wrapper for each system call, errors as values.

import CLinux
import Glibc

/// What a non-blocking transfer came to.
enum TransferResult: BitwiseCopyable {
    case bytes(Int)
    /// The kernel would have made us wait.
    case wouldBlock
    /// The peer has finished sending.
    case ended
    case failed(Int32)
}

/// System calls on sockets; every descriptor is non-blocking and close-on-exec.
enum Socket {
    private static let type = Int32(SOCK_STREAM.rawValue)
    private static let nonBlocking: Int32 = 0o4000
    static let closeOnExec: Int32 = 0o2000000

    @inline(__always)
    private static func check(_ result: Int32, _ call: StaticString) throws(SystemFailure) -> Int32
    {
        guard result >= 0 else { throw SystemFailure(code: edge_errno(), call: call) }
        return result
    }

    /// A listening TCP socket of its own kernel queue (SO_REUSEPORT: one for each worker).
    static func listen(
        _ address: SocketAddress, backlog: Int32, dualStack: Bool
    ) throws(SystemFailure) -> Int32 {
        let domain = address.family == .v4 ? AF_INET : AF_INET6
        let descriptor = try check(socket(domain, type | nonBlocking | closeOnExec, 0), "socket")
        do throws(SystemFailure) {
            try set(descriptor, SOL_SOCKET, SO_REUSEADDR, 1)
            try set(descriptor, SOL_SOCKET, SO_REUSEPORT, 1)
            if address.family == .v6 {
                try set(descriptor, Int32(IPPROTO_IPV6), IPV6_V6ONLY, dualStack ? 0 : 1)
            }
            // Accepted sockets inherit it.
            try set(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, 1)
            var storage = sockaddr_storage()
            let length = address.fill(&storage)
            try listen(descriptor, at: storage, length, backlog)
            return descriptor
        } catch {
            close(descriptor)
            throw error
        }
    }

    /// A unix-domain address; `call` is what it is for.
    static func unixAddress(
        _ path: String, for call: StaticString
    ) throws(SystemFailure) -> sockaddr_un {
        var address = sockaddr_un()
        let bytes = Array(path.utf8)
        guard bytes.count < MemoryLayout.size(ofValue: address.sun_path) else {
            throw SystemFailure(code: ENAMETOOLONG, call: call)
        }
        address.sun_family = sa_family_t(AF_UNIX)
        unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: bytes) }
        return address
    }

    /// A listening unix-domain socket; an existing socket file at `path` is replaced.
    static func listen(unix path: String, backlog: Int32) throws(SystemFailure) -> Int32 {
        let address = try unixAddress(path, for: "bind")
        let descriptor = try check(socket(AF_UNIX, type | nonBlocking | closeOnExec, 0), "socket")
        removeSocketFile(path)
        let length = socklen_t(MemoryLayout<sockaddr_un>.size)
        do throws(SystemFailure) {
            try listen(descriptor, at: address, length, backlog)
            return descriptor
        } catch {
            close(descriptor)
            removeSocketFile(path)
            throw error
        }
    }

    /// Binds a socket and makes it listen; `length` is how much of `address` counts, in bytes.
    private static func listen(
        _ descriptor: Int32, at address: some BitwiseCopyable, _ length: socklen_t, _ backlog: Int32
    ) throws(SystemFailure) {
        let bound = unsafe withUnsafePointer(to: address) { pointer in
            unsafe bind(
                descriptor, UnsafeRawPointer(pointer).assumingMemoryBound(to: sockaddr.self),
                length)
        }
        _ = try check(bound, "bind")
        _ = try check(Glibc.listen(descriptor, backlog), "listen")
    }

    /// Removes a socket file, and only a socket file, so that its name can be bound.
    static func removeSocketFile(_ path: String) {
        var status = stat()
        guard unsafe lstat(path, &status) == 0, status.st_mode & S_IFMT == S_IFSOCK else { return }
        unsafe unlink(path)
    }

    /// Takes one waiting connection; nil when none waits.
    static func accept(
        _ listener: Int32, peer: inout SocketAddress
    ) throws(SystemFailure) -> Int32? {
        var storage = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        while true {
            let descriptor = unsafe withUnsafeMutablePointer(to: &storage) { pointer in
                unsafe accept4(
                    listener,
                    UnsafeMutableRawPointer(pointer).assumingMemoryBound(to: sockaddr.self),
                    &length, nonBlocking | closeOnExec)
            }
            if descriptor >= 0 {
                peer = SocketAddress(storage)
                return descriptor
            }
            switch edge_errno() {
            case EAGAIN: return nil
            // The client left between its SYN and our accept: take the next one (accept(2)).
            case EINTR, ECONNABORTED, EPROTO, ENETDOWN, EHOSTDOWN, EHOSTUNREACH, ENETUNREACH:
                continue
            case let code: throw SystemFailure(code: code, call: "accept4")
            }
        }
    }

    /// Begins a TCP connection; the outcome shows as writability.
    static func connect(_ address: SocketAddress) throws(SystemFailure) -> Int32 {
        let domain = address.family == .v4 ? AF_INET : AF_INET6
        let descriptor = try check(socket(domain, type | nonBlocking | closeOnExec, 0), "socket")
        do throws(SystemFailure) {
            try set(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, 1)
            try set(descriptor, SOL_SOCKET, SO_KEEPALIVE, 1)
            var storage = sockaddr_storage()
            let length = address.fill(&storage)
            let result = unsafe withUnsafePointer(to: &storage) { pointer in
                unsafe Glibc.connect(
                    descriptor, UnsafeRawPointer(pointer).assumingMemoryBound(to: sockaddr.self),
                    length)
            }
            if result < 0, edge_errno() != EINPROGRESS, edge_errno() != EINTR {
                throw SystemFailure(code: edge_errno(), call: "connect")
            }
            return descriptor
        } catch {
            close(descriptor)
            throw error
        }
    }

    /// The pending error of a socket (SO_ERROR), 0 when there is none.
    static func pendingError(_ descriptor: Int32) -> Int32 {
        var value: Int32 = 0
        var length = socklen_t(MemoryLayout<Int32>.size)
        guard unsafe getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &value, &length) == 0 else {
            return edge_errno()
        }
        return value
    }

    @inline(__always)
    static func receive(
        _ descriptor: Int32, into place: UnsafeMutablePointer<UInt8>, capacity: Int
    ) -> TransferResult {
        while true {
            let count = unsafe recv(descriptor, place, capacity, 0)
            if count > 0 { return .bytes(count) }
            if count == 0 { return .ended }
            let code = edge_errno()
            if code == EAGAIN { return .wouldBlock }
            if code != EINTR { return .failed(code) }
        }
    }

    @inline(__always)
    static func send(_ descriptor: Int32, _ bytes: Bytes) -> TransferResult {
        while true {
            let count = unsafe Glibc.send(
                descriptor, bytes.base, bytes.count, Int32(MSG_NOSIGNAL))
            if count >= 0 { return .bytes(count) }
            let code = edge_errno()
            if code == EAGAIN { return .wouldBlock }
            if code != EINTR { return .failed(code) }
        }
    }

    /// Whether nothing waits to be received: no byte, no end, no error (MSG_PEEK).
    static func isQuiet(_ descriptor: Int32) -> Bool {
        var byte: UInt8 = 0
        while unsafe recv(descriptor, &byte, 1, Int32(MSG_PEEK)) < 0 {
            let code = edge_errno()
            if code != EINTR { return code == EAGAIN }
        }
        return false
    }

    /// Bytes that were sent and that the peer has not acknowledged (SIOCOUTQ); 0 when unknown.
    static func unacknowledged(_ descriptor: Int32) -> Int {
        max(0, Int(edge_unacknowledged(descriptor)))
    }

    /// Has the close that follows throw away what was not sent, and tell the peer by a reset.
    ///
    /// Otherwise the kernel would deliver megabytes to a client that takes a byte a minute.
    static func resetOnClose(_ descriptor: Int32) {
        var value = linger(l_onoff: 1, l_linger: 0)
        let size = socklen_t(MemoryLayout<linger>.size)
        _ = unsafe setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &value, size)
    }

    /// Says that we shall send no more; the peer may still.
    static func shutdownWriting(_ descriptor: Int32) { _ = shutdown(descriptor, Int32(SHUT_WR)) }

    /// Another descriptor for the same socket.
    static func duplicate(_ descriptor: Int32) throws(SystemFailure) -> Int32 {
        try check(fcntl(descriptor, F_DUPFD_CLOEXEC, 0), "fcntl")
    }

    static func close(_ descriptor: Int32) { _ = Glibc.close(descriptor) }

    /// The address a socket is bound to.
    static func localAddress(_ descriptor: Int32) throws(SystemFailure) -> SocketAddress {
        var storage = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let result = unsafe withUnsafeMutablePointer(to: &storage) { pointer in
            unsafe getsockname(
                descriptor,
                UnsafeMutableRawPointer(pointer).assumingMemoryBound(to: sockaddr.self), &length)
        }
        _ = try check(result, "getsockname")
        return SocketAddress(storage)
    }

    private static func set(
        _ descriptor: Int32, _ level: Int32, _ option: Int32, _ value: Int32
    ) throws(SystemFailure) {
        var value = value
        let size = socklen_t(MemoryLayout<Int32>.size)
        _ = try check(unsafe setsockopt(descriptor, level, option, &value, size), "setsockopt")
    }
}
