// A client's socket that waits: for commands, which have nothing else to do.

import CLinux
import Glibc

/// A connected stream socket; every call waits, each read or write for at most the time limit.
struct BlockingSocket: ~Copyable {
    private let descriptor: Int32

    /// Connects by TCP.
    init(_ address: SocketAddress, limit: Duration) throws(SystemFailure) {
        var storage = sockaddr_storage()
        let length = address.fill(&storage)
        try self.init(
            domain: address.family == .v4 ? AF_INET : AF_INET6, storage, length, limit)
    }

    /// Connects to a unix-domain socket.
    init(unix path: String, limit: Duration) throws(SystemFailure) {
        try self.init(
            domain: AF_UNIX, try Socket.unixAddress(path, for: "connect"),
            socklen_t(MemoryLayout<sockaddr_un>.size), limit)
    }

    private init(
        domain: Int32, _ address: some BitwiseCopyable, _ length: socklen_t, _ limit: Duration
    ) throws(SystemFailure) {
        descriptor = socket(domain, Int32(SOCK_STREAM.rawValue) | Socket.closeOnExec, 0)
        guard descriptor >= 0 else { throw SystemFailure(code: edge_errno(), call: "socket") }
        // The limit of sending holds for connecting too (socket(7)).
        var time = timeval(tv_sec: Int(limit.nanoseconds / 1_000_000_000), tv_usec: 0)
        let size = socklen_t(MemoryLayout<timeval>.size)
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
            _ = unsafe setsockopt(descriptor, SOL_SOCKET, option, &time, size)
        }
        let result = unsafe withUnsafePointer(to: address) { pointer in
            unsafe Glibc.connect(
                descriptor, UnsafeRawPointer(pointer).assumingMemoryBound(to: sockaddr.self),
                length)
        }
        guard result == 0 else { throw SystemFailure(code: edge_errno(), call: "connect") }
    }

    deinit { if descriptor >= 0 { Socket.close(descriptor) } }

    func send(_ bytes: [UInt8]) throws(SystemFailure) {
        var sent = 0
        while sent < bytes.count {
            let count = unsafe bytes.withUnsafeBytes {
                unsafe Glibc.send(
                    descriptor, $0.baseAddress.map { unsafe $0 + sent }, $0.count - sent,
                    Int32(MSG_NOSIGNAL))
            }
            if count < 0, edge_errno() == EINTR { continue }
            guard count > 0 else { throw SystemFailure(code: edge_errno(), call: "send") }
            sent += count
        }
    }

    /// Everything until the other side closes, at most `most` bytes.
    func receiveAll(most: Int) throws(SystemFailure) -> [UInt8] {
        var received: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = unsafe piece.withUnsafeMutableBytes {
                unsafe recv(descriptor, $0.baseAddress, $0.count, 0)
            }
            if count < 0, edge_errno() == EINTR { continue }
            guard count >= 0 else { throw SystemFailure(code: edge_errno(), call: "recv") }
            guard count > 0 else { return received }
            guard received.count + count <= most else {
                throw SystemFailure(code: EMSGSIZE, call: "recv")
            }
            received.append(contentsOf: piece[..<count])
        }
    }
}
