// What a demonstration is made of: checked options, two configurations, and the guide.

/// The options of `edge-proxy demo`, checked, with everything that they leave open decided.
struct DemonstrationSettings {
    /// In normal form; the name of the listener.
    let listenerName: String
    private let listen: ListenAddress
    private let admin: String
    /// Files of certificates and keys, in pairs.
    private let certificates: [(certificate: String, key: String)]
    private let authority: String?

    private static let folder = "certs"

    /// Fails when a certificate is missing or the address is taken.
    init(listen text: String, certificate: String?, key: String?) throws(StartFailure) {
        guard let listen = ListenAddress(text), listen.port != nil else {
            throw StartFailure("--listen '\(text)': give host:port, [v6]:port or :port")
        }
        self.listen = listen
        listenerName = listen.text
        if let certificate, let key {
            certificates = [(certificate, key)]
            authority = nil
        } else if certificate == nil, key == nil {
            certificates = ["server-ecdsa", "server-rsa"].map {
                ("\(Self.folder)/\($0).crt", "\(Self.folder)/\($0).key")
            }
            let path = "\(Self.folder)/ca.crt"
            authority = FileSystem.read(path) == nil ? nil : path
        } else {
            throw StartFailure("--certificate and --key go together")
        }
        for path in certificates.flatMap({ [$0.certificate, $0.key] })
        where FileSystem.read(path) == nil {
            throw StartFailure(
                "\(path) cannot be read: run `make certs` first, or give --certificate and --key")
        }
        do throws(SystemFailure) {
            if let address = Self.probe(listen) { try LoopbackSocket.requireFree(address) }
        } catch {
            throw StartFailure("cannot listen on \(listen.text): \(error)")
        }
        admin = Self.freeAdmin()
    }

    private static func probe(_ listen: ListenAddress) -> SocketAddress? {
        switch listen {
        case .any(let port): SocketAddress(numeric: "0.0.0.0", port: port)
        case .ip(let literal, let port): SocketAddress(numeric: literal.text, port: port)
        case .unix: nil
        }
    }

    /// The usual admin address, or one on any port when somebody has it.
    private static func freeAdmin() -> String {
        let port: UInt16 = 9090
        guard let usual = SocketAddress(numeric: "127.0.0.1", port: port),
            (try? LoopbackSocket.requireFree(usual)) != nil
        else { return "127.0.0.1:0" }
        return usual.text
    }

    /// The name of the admin listener.
    var adminName: String { "admin \(admin)" }

    // MARK: configurations

    /// Services: nothing is ever routed, but a configuration has a route.
    static let services = """
        workers: 1
        listeners: [{address: "\(servicesName)"}]
        routes: [{path: /, upstream: "http://127.0.0.1"}]
        access_log: {path: "off"}
        shutdown: {grace: 5s}
        log_level: warning
        """
    static let servicesName = "127.0.0.1:0"

    /// The proxy; one worker, so that one connection for each host is all it takes.
    func proxy(port: UInt16, resolver: SocketAddress) -> String {
        let pairs = certificates.map {
            "{certificate: \(Self.quoted($0.certificate)), key: \(Self.quoted($0.key))}"
        }
        func route(_ path: String, _ version: String) -> String {
            "{path: \(path), id: {query: id}, host: upstream, versions: [\"\(version)\"], "
                + "upstream: \"http://id-{id}.\(DemonstrationZone.suffix):\(port)\"}"
        }
        return """
            workers: 1
            listeners:
              - address: \(Self.quoted(listenerName))
                tls: {hsts: 0s, certificates: [\(pairs.joined(separator: ", "))]}
            routes:
              - \(route("/api", "1.1"))
              - \(route("/h2", "h2c"))
            resolver: {servers: ["\(resolver.text)"], search: false}
            admin: {address: "\(admin)"}
            access_log: {path: "off"}
            shutdown: {grace: 10s}
            """
    }

    /// A YAML scalar in single quotes, in which only they are special.
    private static func quoted(_ text: String) -> String {
        let parts = text.split(separator: "'", omittingEmptySubsequences: false)
        return "'\(parts.joined(separator: "''"))'"
    }

    // MARK: the guide

    /// What can be tried, as commands to copy.
    ///
    /// - Parameters:
    ///   - address: where the proxy really listens.
    ///   - admin: where its admin listener does.
    func guide(address: String, admin: String) -> String {
        let port = address.split(separator: ":").last.map(String.init) ?? ""
        let base = "https://\(host):\(port)"
        let curl = "curl " + (authority.map { "--cacert \($0)" } ?? "-k")
        let last = DemonstrationZone.largestID
        let tries: [(command: String, meaning: String)] = [
            ("\(curl) --http1.1 '\(base)/api/hello?id=42'", "HTTP/1.1 to the service"),
            ("\(curl) --http2 '\(base)/api/hello?id=42'", "the same connection behind it"),
            ("\(curl) --http2 '\(base)/h2/hello?id=42'", "h2c to the service"),
            ("\(curl) '\(base)/api/hello?id=7'", "ids that end in 7 take a second"),
            ("\(curl) '\(base)/api/hello?id=042'", "400: not a canonical id"),
            ("\(curl) '\(base)/api/hello?id=\(last + 1)'", "404: no such host"),
            ("curl http://\(admin)/registry", "hosts, connections, ledger"),
            ("curl http://\(admin)/metrics", "for Prometheus"),
        ]
        let width = tries.map(\.command.utf8.count).max() ?? 0
        let lines = tries.map { line in
            let blanks = String(repeating: " ", count: width - line.command.utf8.count)
            return "  \(line.command)\(blanks)  # \(line.meaning)\n"
        }
        return """
            edge-proxy \(ProxyVersion.text) at \(base), services id-0.demo to id-\(last).demo
            One worker: whoever asks, each service sees one HTTP/1.1 connection, kept and reused.
            Ctrl-C drains and ends, SIGHUP reloads the certificates.

            \(lines.joined())
            """
    }

    /// A name of the development certificates where the listener has one.
    private var host: String {
        guard case .ip(let literal, _) = listen, literal.text != "127.0.0.1" else {
            return "localhost"
        }
        return literal.isIPv4 ? literal.text : "[\(literal.text)]"
    }
}
