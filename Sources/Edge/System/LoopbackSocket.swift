// The sockets that a demonstration needs besides those of workers.

import CLinux
import Glibc

/// System calls of the demonstration: a bound socket, datagrams, and waiting for one of them.
enum LoopbackSocket {
    /// A UDP socket on a free port of 127.0.0.1.
    static func datagram() throws(SystemFailure) -> Int32 {
        guard let any = SocketAddress(numeric: "127.0.0.1", port: 0) else {
            throw SystemFailure(code: EINVAL, call: "bind")
        }
        return try bound(Int32(SOCK_DGRAM.rawValue), any)
    }

    /// Fails where a listener is: SO_REUSEPORT alone would let two processes share its port.
    static func requireFree(_ address: SocketAddress) throws(SystemFailure) {
        Socket.close(try bound(Int32(SOCK_STREAM.rawValue), address))
    }

    private static func bound(
        _ type: Int32, _ address: SocketAddress
    ) throws(SystemFailure) -> Int32 {
        let domain = address.family == .v4 ? AF_INET : AF_INET6
        let descriptor = socket(domain, type | Socket.closeOnExec, 0)
        guard descriptor >= 0 else { throw SystemFailure(code: edge_errno(), call: "socket") }
        if type == Int32(SOCK_STREAM.rawValue) {
            // Connections of an earlier run that are in TIME_WAIT do not count.
            var yes: Int32 = 1
            _ = unsafe setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &yes, 4)
        }
        var storage = sockaddr_storage()
        let length = address.fill(&storage)
        let result = unsafe withUnsafePointer(to: &storage) {
            unsafe bind(
                descriptor, UnsafeRawPointer($0).assumingMemoryBound(to: sockaddr.self), length)
        }
        guard result == 0 else {
            let failure = SystemFailure(code: edge_errno(), call: "bind")
            Socket.close(descriptor)
            throw failure
        }
        return descriptor
    }

    /// Waits for a datagram; false when `wakeUp` was signalled first.
    static func waitReadable(_ descriptor: Int32, or wakeUp: WakeUp) -> Bool {
        var set = [
            pollfd(fd: wakeUp.descriptor, events: Int16(POLLIN), revents: 0),
            pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0),
        ]
        _ = unsafe poll(&set, 2, -1)
        return set[0].revents == 0
    }

    /// Lets `pause` pass; false when `wakeUp` was signalled first.
    static func wait(_ pause: Duration, or wakeUp: WakeUp) -> Bool {
        var waker = pollfd(fd: wakeUp.descriptor, events: Int16(POLLIN), revents: 0)
        _ = unsafe poll(&waker, 1, Int32(clamping: pause.milliseconds))
        return waker.revents == 0
    }

    /// Takes one datagram, if there is one, and sends back what `reply` makes of it.
    static func answer(
        _ descriptor: Int32, _ buffer: inout [UInt8], _ reply: (Bytes) -> [UInt8]?
    ) {
        var peer = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        unsafe withUnsafeMutablePointer(to: &peer) { peer in
            let address = unsafe UnsafeMutableRawPointer(peer).assumingMemoryBound(
                to: sockaddr.self)
            let capacity = buffer.count
            let count = unsafe recvfrom(
                descriptor, &buffer, capacity, Int32(MSG_DONTWAIT), address, &length)
            guard count > 0, let answer = buffer.withBytes({ reply($0.prefix(count)) }) else {
                return
            }
            _ = unsafe sendto(descriptor, answer, answer.count, 0, address, length)
        }
    }
}

/// Standard output, written at once: a pipe gets each line when it is made.
enum StandardOutput {
    static var isTerminal: Bool { isatty(1) == 1 }

    /// Writes all of `text`; false when nobody reads any more.
    @discardableResult
    static func write(_ text: String) -> Bool {
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            let count = unsafe rest.withUnsafeBytes {
                unsafe Glibc.write(1, $0.baseAddress, $0.count)
            }
            if count < 0, edge_errno() != EINTR { return false }
            rest = rest.dropFirst(max(0, count))
        }
        return true
    }
}
