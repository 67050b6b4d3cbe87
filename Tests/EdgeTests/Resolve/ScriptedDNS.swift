// A DNS server for tests: answers by script, counts what it is asked.

import Glibc
import Synchronization

@testable import Edge

/// What the server says about a name.
enum Script: Sendable {
    case records(v4: [String] = [], v6: [String] = [], ttl: UInt32 = 60)
    case services([ServiceRecord], ttl: UInt32 = 60)
    case alias(String, ttl: UInt32, v4: String)
    /// An A record count that only fits TCP: truncated over UDP.
    case truncated(v4: [String])
    case noName
    case failure
    /// Fails for A, and has no data for AAAA.
    case failureForV4
    case silence
    /// Bytes that are not an answer.
    case garbage
}

/// UDP and TCP on one port of 127.0.0.1, served by one thread.
final class ScriptedDNS: Sendable {
    private struct State {
        var scripts: [String: Script] = [:]
        var counts: [String: Int] = [:]
        var isStopping = false
    }

    static let v4: UInt16 = 1
    static let v6: UInt16 = 28

    let port: UInt16
    private let udp: Int32
    private let tcp: Int32
    private let state = Mutex(State())
    private let thread = Mutex<Edge.Thread?>(nil)

    init(_ scripts: [String: Script]) throws {
        let any = SocketAddress(numeric: "127.0.0.1", port: 0) ?? .unix
        // The UDP twin of a free TCP port may be taken: try another.
        var made: (tcp: Int32, udp: Int32, port: UInt16)?
        for _ in 0..<20 where made == nil {
            let tcp = try Edge.Socket.listen(any, backlog: 16, dualStack: false)
            let address = try Edge.Socket.localAddress(tcp)
            let udp = socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
            var storage = sockaddr_storage()
            let length = address.fill(&storage)
            let bound = unsafe withUnsafePointer(to: &storage) {
                unsafe bind(
                    udp, UnsafeRawPointer($0).assumingMemoryBound(to: sockaddr.self), length)
            }
            if bound == 0 {
                made = (tcp, udp, address.port)
            } else {
                close(udp)
                close(tcp)
            }
        }
        guard let made else { throw SystemFailure(code: EADDRINUSE, call: "bind") }
        (tcp, udp, port) = made
        state.withLock { $0.scripts = scripts }
        let running = try Edge.Thread(name: "dns") { [self] in serve() }
        thread.withLock { $0 = running }
    }

    subscript(name: String) -> Script? {
        get { state.withLock { $0.scripts[name] } }
        set { state.withLock { $0.scripts[name] = newValue } }
    }

    /// Questions for a name, of one type.
    func count(_ name: String, _ type: UInt16) -> Int {
        state.withLock { $0.counts["\(name) \(type)"] ?? 0 }
    }

    func count(_ name: String) -> Int { count(name, Self.v4) + count(name, Self.v6) }

    func stop() {
        state.withLock { $0.isStopping = true }
        // A connection that says nothing wakes the thread.
        let address = SocketAddress(numeric: "127.0.0.1", port: port) ?? .unix
        let waker = try? Edge.Socket.connect(address)
        thread.withLock { $0 }?.join()
        if let waker { close(waker) }
        close(udp)
        close(tcp)
    }

    private func serve() {
        var buffer = [UInt8](repeating: 0, count: 65536)
        while true {
            var set = [
                pollfd(fd: udp, events: Int16(POLLIN), revents: 0),
                pollfd(fd: tcp, events: Int16(POLLIN), revents: 0),
            ]
            _ = unsafe poll(&set, 2, -1)
            if state.withLock({ $0.isStopping }) { return }
            if set[0].revents != 0 { answerDatagram(&buffer) }
            if set[1].revents != 0 { answerConnection(&buffer) }
        }
    }

    private func answerDatagram(_ buffer: inout [UInt8]) {
        var peer = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let size = buffer.count
        unsafe withUnsafeMutablePointer(to: &peer) { peer in
            let address = unsafe UnsafeMutableRawPointer(peer).assumingMemoryBound(
                to: sockaddr.self)
            let count = unsafe recvfrom(udp, &buffer, size, 0, address, &length)
            guard count > 12, let reply = reply(Array(buffer[..<count]), isStream: false) else {
                return
            }
            _ = unsafe sendto(udp, reply, reply.count, 0, address, length)
        }
    }

    private func answerConnection(_ buffer: inout [UInt8]) {
        let connection = accept(tcp, nil, nil)
        guard connection >= 0 else { return }
        defer { close(connection) }
        // Both questions come over one connection; it ends when the resolver closes it.
        while true {
            var set = pollfd(fd: connection, events: Int16(POLLIN), revents: 0)
            guard unsafe poll(&set, 1, 1000) == 1 else { return }
            guard unsafe recv(connection, &buffer, 2, Int32(MSG_WAITALL)) == 2 else {
                return
            }
            let count = Int(buffer[0]) << 8 | Int(buffer[1])
            guard unsafe recv(connection, &buffer, count, Int32(MSG_WAITALL)) == count
            else { return }
            guard let reply = reply(Array(buffer[..<count]), isStream: true) else { return }
            let framed = [UInt8(reply.count >> 8), UInt8(reply.count & 255)] + reply
            _ = unsafe send(connection, framed, framed.count, Int32(MSG_NOSIGNAL))
        }
    }

    private func reply(_ question: [UInt8], isStream: Bool) -> [UInt8]? {
        var labels: [String] = []
        var offset = 12
        while offset < question.count, question[offset] != 0 {
            let end = offset + 1 + Int(question[offset])
            guard end < question.count else { return nil }
            labels.append(String(decoding: question[offset + 1..<end], as: UTF8.self))
            offset = end
        }
        guard offset + 5 <= question.count else { return nil }
        let name = labels.joined(separator: ".").lowercased()
        let type = UInt16(question[offset + 1]) << 8 | UInt16(question[offset + 2])
        let script = state.withLock { state -> Script in
            state.counts["\(name) \(type)", default: 0] += 1
            return state.scripts[name] ?? .noName
        }
        let asked = Array(question[12..<offset + 5])
        func message(_ code: UInt8, _ answers: [[UInt8]] = [], cut: Bool = false) -> [UInt8] {
            let head: [UInt8] = [
                question[0], question[1], cut ? 0x87 : 0x85, 0x80 | code, 0, 1,
                UInt8(answers.count >> 8), UInt8(answers.count & 255), 0, 0, 0, 0,
            ]
            return head + asked + answers.flatMap { $0 }
        }
        switch script {
        case .records(let v4, let v6, let ttl):
            let addresses = type == Self.v4 ? v4 : type == Self.v6 ? v6 : []
            return message(0, addresses.map { Self.record([0xC0, 12], type, ttl, Self.bytes($0)) })
        case .services(let services, let ttl):
            guard type == 33 else { return message(0) }
            return message(
                0,
                services.map { service in
                    let numbers = [service.priority, service.weight, service.port]
                    let data = numbers.flatMap { [UInt8($0 >> 8), UInt8($0 & 255)] }
                    return Self.record([0xC0, 12], type, ttl, data + Self.wire(service.target))
                })
        case .alias(let target, let ttl, let v4):
            let wire = Self.wire(target)
            let alias = Self.record([0xC0, 12], 5, ttl, wire)
            guard type == Self.v4 else { return message(0, [alias]) }
            return message(0, [alias, Self.record(wire, type, 3600, Self.bytes(v4))])
        case .truncated(let v4):
            guard isStream else { return message(0, cut: true) }
            let addresses = type == Self.v4 ? v4 : []
            return message(0, addresses.map { Self.record([0xC0, 12], type, 60, Self.bytes($0)) })
        case .noName: return message(3)
        case .failure: return message(2)
        case .failureForV4: return message(type == Self.v4 ? 2 : 0)
        case .silence: return nil
        case .garbage: return Array(question[..<2]) + [0x85, 0x80, 0, 9, 255, 255, 1, 2, 3, 0xC0]
        }
    }

    private static func record(
        _ name: [UInt8], _ type: UInt16, _ ttl: UInt32, _ data: [UInt8]
    ) -> [UInt8] {
        name + [
            UInt8(type >> 8), UInt8(type & 255), 0, 1, UInt8(ttl >> 24), UInt8(ttl >> 16 & 255),
            UInt8(ttl >> 8 & 255), UInt8(ttl & 255), UInt8(data.count >> 8),
            UInt8(data.count & 255),
        ] + data
    }

    private static func wire(_ name: String) -> [UInt8] {
        name.split(separator: ".").flatMap { [UInt8($0.utf8.count)] + Array($0.utf8) } + [0]
    }

    private static func bytes(_ address: String) -> [UInt8] {
        SocketAddress(numeric: address, port: 0)?.withAddressBytes { bytes in
            (0..<bytes.count).map { bytes[$0] }
        } ?? []
    }
}
