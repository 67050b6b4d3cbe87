// What commands ask of a running proxy, by its admin listener.

/// Why the admin listener gave no answer.
struct AdminFailure: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }
}

/// A client of the admin listener: one request, one answer, and that is all.
enum AdminClient {
    /// 10 s for connecting and for each read: a worker answers within one turn of its loop.
    private static let limit = Duration.seconds(10)
    /// 256 MiB: a registry of 100 000 hosts is a seventh of it.
    private static let most = 256 * 1024 * 1024

    /// Where the admin listener of a running proxy is: `admin` as `--admin` gives it, or what the
    /// configuration file at `config` says.
    static func address(admin: String?, config: String?) throws -> ListenAddress {
        if let admin {
            guard let address = ListenAddress(admin) else {
                throw AdminFailure("'\(admin)' is not host:port or unix:/path")
            }
            return address
        }
        guard let config else { throw AdminFailure("neither --admin nor --config is given") }
        guard let settings = try Configuration.load(path: config).admin else {
            throw AdminFailure("\(config): no admin listener")
        }
        return settings.address
    }

    /// Gets a page; throws when there is no whole answer, whatever its status.
    static func get(
        address: ListenAddress, path: String
    ) throws(AdminFailure) -> (status: Int, body: [UInt8]) {
        let answer: [UInt8]
        do throws(SystemFailure) {
            let socket = try connect(address)
            // HTTP/1.0: the answer has a length and is followed by the end of the connection.
            try socket.send(Array("GET \(path) HTTP/1.0\r\nHost: localhost\r\n\r\n".utf8))
            answer = try socket.receiveAll(most: most)
        } catch {
            throw AdminFailure("\(address.text): \(error)")
        }
        guard let parsed = parse(answer) else {
            throw AdminFailure("\(address.text): the answer is not whole")
        }
        return parsed
    }

    private static func connect(_ address: ListenAddress) throws(SystemFailure) -> BlockingSocket {
        switch address {
        case .unix(let path): return try BlockingSocket(unix: path, limit: limit)
        case .any(let port): return try connect("127.0.0.1", port)
        case .ip(let literal, let port): return try connect(literal.text, port)
        }
    }

    private static func connect(
        _ host: String, _ port: UInt16
    ) throws(SystemFailure) -> BlockingSocket {
        guard let address = SocketAddress(numeric: host, port: port) else {
            throw SystemFailure(code: 22, call: "connect")  // EINVAL
        }
        return try BlockingSocket(address, limit: limit)
    }

    /// Takes an answer apart (RFC 9112 §2.1); nil when it is not as long as it says.
    static func parse(_ answer: [UInt8]) -> (status: Int, body: [UInt8])? {
        let end = Array("\r\n\r\n".utf8)
        guard let rest = answer.indices.first(where: { answer[$0...].starts(with: end) }) else {
            return nil
        }
        let lines = String(decoding: answer[..<rest], as: UTF8.self).split(separator: "\r\n")
        let words = lines.first?.split(separator: " ") ?? []
        guard words.count >= 2, words[0].hasPrefix("HTTP/1."), let status = Int(words[1]) else {
            return nil
        }
        let body = Array(answer[(rest + end.count)...])
        for line in lines.dropFirst() where line.lowercased().hasPrefix("content-length:") {
            let value = line.dropFirst("content-length:".count).drop { $0 == " " }
            guard Int(value) == body.count else { return nil }
        }
        return (status, body)
    }
}
