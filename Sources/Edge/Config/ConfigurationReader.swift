// From the tree of a file to checked values.

import Glibc

/// Reads a configuration; mistakes are noted in `problems`, and the value is then worthless.
struct ConfigurationReader {
    let problems: ConfigurationProblems
    /// Folder that relative file names start from; empty for the working directory.
    let folder: String

    func read(_ node: YAMLNode, file: String) -> Configuration? {
        let root = SectionReader(node, ConfigurationSchema.root, at: node.place, problems)
        guard case .mapping = node.content else { return nil }
        let listeners = root.sections("listeners").compactMap(listener)
        let upstream = upstream(root.section("upstream"))
        let routes = root.sections("routes").compactMap { route($0, upstream) }
        checkUniqueness(root)
        let admin = admin(root)
        let rest = rest(root, file, upstream, admin)
        guard problems.list.isEmpty, var configuration = rest else { return nil }
        configuration.listeners = listeners
        configuration.routes = routes
        return configuration
    }

    /// Everything but the lists.
    private func rest(
        _ root: SectionReader, _ file: String, _ upstream: UpstreamSettings?,
        _ admin: AdminSettings?
    ) -> Configuration? {
        let limits = limits(root.section("limits"))
        let log = root.section("access_log")
        let registry = root.section("registry")
        let resolver = resolver(root.section("resolver"))
        let timeouts = timeouts(root.section("timeouts"))
        let ranges = trustedProxies(root)
        let workers = root.isGiven("workers") ? root.count("workers") : Self.cores()
        guard let upstream, let resolver, let timeouts, let workers, let limits,
            let maxHosts = registry.count("max_hosts"),
            let maxConnections = registry.count("max_connections"),
            let maxShare = registry.count("max_share"),
            let maxWaiting = registry.count("max_waiting"),
            let hostIdle = registry.duration("host_idle"),
            let logPath = log.text("path"),
            let format = log.choice("format").flatMap(AccessLogSettings.Format.init),
            let interval = root.section("ledger").duration("interval"),
            let shutdown = shutdown(root.section("shutdown")),
            let topIDs = root.section("metrics").count("top_ids"),
            let level = root.choice("log_level").flatMap(LogLevel.init)
        else { return nil }
        return Configuration(
            file: file, workers: workers, listeners: [], routes: [], upstream: upstream,
            registry: .init(
                maxHosts: maxHosts, maxConnections: maxConnections, maxShare: maxShare,
                maxWaiting: maxWaiting,
                hostIdle: hostIdle),
            resolver: resolver, timeouts: timeouts,
            limits: limits,
            trustedProxies: ranges,
            accessLog: .init(path: logPath == "off" ? nil : resolve(logPath), format: format),
            admin: admin, ledger: .init(interval: interval), metrics: .init(topIDs: topIDs),
            shutdown: shutdown,
            logLevel: level)
    }

    private func shutdown(_ reader: SectionReader) -> ShutdownSettings? {
        guard let grace = reader.duration("grace") else { return nil }
        guard reader.isGiven("spread") else {
            let quarter = Duration(nanoseconds: grace.nanoseconds / 4)
            return ShutdownSettings(grace: grace, spread: min(.seconds(5), quarter))
        }
        guard let spread = reader.duration("spread") else { return nil }
        if spread.nanoseconds > grace.nanoseconds / 2 {
            problems.add(
                reader.place(of: "spread"),
                "spread: more than half of 'grace' leaves those told last no time to finish")
        }
        return ShutdownSettings(grace: grace, spread: spread)
    }

    private static func cores() -> Int {
        min(max(sysconf(Int32(_SC_NPROCESSORS_ONLN)), 1), 256)
    }

    /// A file name, seen from the configuration's folder.
    private func resolve(_ path: String) -> String {
        path.hasPrefix("/") || folder.isEmpty ? path : "\(folder)/\(path)"
    }

    private func file(_ reader: SectionReader, _ name: String) -> NamedFile? {
        reader.text(name).map { NamedFile(path: resolve($0), place: reader.place(of: name)) }
    }

    // MARK: Listeners

    private func address(_ reader: SectionReader) -> ListenAddress? {
        guard let text = reader.text("address"), let node = reader.node("address") else {
            return nil
        }
        let address = ListenAddress(text)
        if address == nil { reader.wrong("address", node) }
        return address
    }

    private func listener(_ reader: SectionReader) -> ListenerSettings? {
        let address = address(reader)
        let redirect = reader.boolean("redirect_to_https")
        let port = reader.count("redirect_port")
        var tls: TLSSettings?
        if reader.isGiven("tls") { tls = self.tls(reader.section("tls")) }
        if reader.isGiven("tls"), redirect == true {
            problems.add(
                reader.place(of: "redirect_to_https"),
                "redirect_to_https: a listener with 'tls' serves https already")
        }
        guard let address, let redirect, let port else { return nil }
        return ListenerSettings(
            address: address, tls: tls, redirectToHTTPS: redirect, redirectPort: UInt16(port))
    }

    private func tls(_ reader: SectionReader) -> TLSSettings? {
        let readers = reader.sections("certificates")
        let certificates = readers.compactMap(certificate)
        let defaults = readers.filter { $0.boolean("default") == true }
        for extra in defaults.dropFirst() {
            problems.add(extra.place(of: "default"), "default: another certificate is the default")
        }
        let alpn = reader.choices("alpn")?.compactMap(TLSSettings.Application.init)
        guard let alpn,
            let version = reader.choice("min_version").flatMap(TLSVersion.init),
            let rotation = reader.duration("ticket_rotation"),
            let hsts = reader.duration("hsts")
        else { return nil }
        return TLSSettings(
            certificates: certificates, minVersion: version, alpn: alpn,
            ticketKeys: file(reader, "ticket_keys"), ticketRotation: rotation,
            hsts: hsts, keyLog: file(reader, "key_log"))
    }

    private func certificate(_ reader: SectionReader) -> CertificateSettings? {
        let certificate = file(reader, "certificate")
        let key = file(reader, "key")
        guard let certificate, let key else { return nil }
        return CertificateSettings(
            certificate: certificate, key: key, isDefault: reader.boolean("default") ?? false)
    }

    private func admin(_ root: SectionReader) -> AdminSettings? {
        guard root.isGiven("admin") else { return nil }
        let reader = root.section("admin")
        guard let address = address(reader) else { return nil }
        if !address.isLocal {
            problems.add(
                reader.place(of: "address"),
                "address: the admin listener is not protected; expected "
                    + "\(reader.section.option("address").type.words), found '\(address.text)'")
        }
        return AdminSettings(address: address)
    }

    /// No two listeners with one address, no two routes with one path.
    private func checkUniqueness(_ root: SectionReader) {
        let quiet = ConfigurationProblems()
        var addresses: [ListenAddress: ConfigurationPlace] = [:]
        var readers: [SectionReader] = []
        var paths: [String: ConfigurationPlace] = [:]
        if let node = root.node("listeners"), case .sequence(let list) = node.content {
            readers = list.map { .init($0, ConfigurationSchema.listener, at: $0.place, quiet) }
        }
        if let node = root.node("admin") {
            readers.append(.init(node, ConfigurationSchema.admin, at: node.place, quiet))
        }
        for reader in readers {
            guard let address = reader.text("address").flatMap({ ListenAddress($0) }),
                address.port != 0
            else { continue }
            if addresses[address] != nil {
                problems.add(
                    reader.place(of: "address"), "address: '\(address.text)' is listened on twice")
            }
            addresses[address] = reader.place
        }
        if let node = root.node("routes"), case .sequence(let list) = node.content {
            for element in list {
                let reader = SectionReader(
                    element, ConfigurationSchema.route, at: element.place, quiet)
                guard let path = reader.text("path") else { continue }
                if paths[path] != nil {
                    problems.add(
                        reader.place(of: "path"), "path: two routes have the path '\(path)'")
                }
                paths[path] = reader.place
            }
        }
    }

    // MARK: Other sections

    private func upstream(_ reader: SectionReader) -> UpstreamSettings? {
        let timeouts = upstreamTimeouts(reader, nil)
        let health = health(reader.section("health"))
        let retries = retries(reader.section("retries"))
        guard let timeouts, let health, var retries, let keepalive = reader.duration("keepalive"),
            let maxAge = reader.duration("max_age"),
            let pingAfter = reader.duration("ping_after"),
            let pingTimeout = reader.duration("ping_timeout"),
            let connections = reader.count("max_connections_per_host"),
            let inFlight = reader.count("max_in_flight_per_host"),
            let queue = reader.count("max_queue_per_host")
        else { return nil }
        retries.burst = inFlight
        return UpstreamSettings(
            dialTimeout: timeouts.dialTimeout, handshakeTimeout: timeouts.handshakeTimeout,
            responseTimeout: timeouts.responseTimeout, idleTimeout: timeouts.idleTimeout,
            queueTimeout: timeouts.queueTimeout, keepalive: keepalive, maxAge: maxAge,
            pingAfter: pingAfter, pingTimeout: pingTimeout,
            maxConnectionsPerHost: connections, maxInFlightPerHost: inFlight,
            maxQueuePerHost: queue, health: health, retries: retries)
    }

    /// Five timeouts; what is not given is taken from `general`.
    func upstreamTimeouts(
        _ reader: SectionReader, _ general: UpstreamSettings?
    ) -> UpstreamTimeouts? {
        guard let dial = reader.duration("dial_timeout") ?? general?.dialTimeout,
            let handshake = reader.duration("handshake_timeout") ?? general?.handshakeTimeout,
            let response = reader.duration("response_timeout") ?? general?.responseTimeout,
            let idle = reader.duration("idle_timeout") ?? general?.idleTimeout,
            let queue = reader.duration("queue_timeout") ?? general?.queueTimeout
        else { return nil }
        return UpstreamTimeouts(
            dialTimeout: dial, handshakeTimeout: handshake, responseTimeout: response,
            idleTimeout: idle, queueTimeout: queue)
    }

    private func resolver(_ reader: SectionReader) -> ResolverOptions? {
        let servers = (reader.texts("servers") ?? []).compactMap { text, node in
            let address = ServerAddress(text)
            if address == nil { reader.wrong("servers", node) }
            return address
        }
        guard let search = reader.boolean("search"), let timeout = reader.duration("timeout"),
            let attempts = reader.count("attempts"), let minTTL = reader.duration("min_ttl"),
            let maxTTL = reader.duration("max_ttl"),
            let negativeTTL = reader.duration("negative_ttl"),
            let stale = reader.duration("stale"),
            let firstSeen = reader.count("first_seen_per_second")
        else { return nil }
        if minTTL > maxTTL {
            problems.add(
                reader.place(of: reader.isGiven("min_ttl") ? "min_ttl" : "max_ttl"),
                "min_ttl: \(minTTL.text) is more than max_ttl, \(maxTTL.text)")
        }
        return ResolverOptions(
            servers: servers, search: search, timeout: timeout, attempts: attempts,
            minTTL: minTTL, maxTTL: maxTTL, negativeTTL: negativeTTL, stale: stale,
            firstSeenPerSecond: firstSeen)
    }

    private func timeouts(_ reader: SectionReader) -> FrontTimeouts? {
        guard let handshake = reader.duration("handshake"), let head = reader.duration("head"),
            let body = reader.duration("body"), let write = reader.duration("write"),
            let idle = reader.duration("idle")
        else { return nil }
        return FrontTimeouts(
            handshake: handshake, head: head, body: body, write: write, idle: idle)
    }

    private func limits(_ reader: SectionReader) -> LimitSettings? {
        guard let connections = reader.count("max_connections"),
            let perAddress = reader.count("max_connections_per_address"),
            let handshakes = reader.count("handshakes_per_second_per_address"),
            let requests = reader.count("requests_per_second_per_address"),
            let prefix = reader.count("ipv6_prefix"), let rate = reader.count("min_rate"),
            let streams = reader.count("max_streams"),
            let underscore = reader.choice("underscore_fields")
                .flatMap(UnderscorePolicy.init(name:))
        else { return nil }
        return LimitSettings(
            maxConnections: connections, maxConnectionsPerAddress: perAddress,
            handshakesPerSecondPerAddress: handshakes, requestsPerSecondPerAddress: requests,
            ipv6Prefix: prefix, minRate: rate, maxMemory: reader.size("max_memory"),
            maxStreams: streams, underscoreFields: underscore)
    }

    private func trustedProxies(_ root: SectionReader) -> [AddressRange] {
        (root.texts("trusted_proxies") ?? []).compactMap { text, node in
            let range = AddressRange(text)
            if range == nil { root.wrong("trusted_proxies", node) }
            return range
        }
    }
}

extension ConfigurationReader {
    /// A file name of a route's section.
    func upstreamTLS(_ reader: SectionReader) -> UpstreamTLSSettings {
        UpstreamTLSSettings(
            ca: file(reader, "ca"), serverName: reader.text("server_name"),
            verify: reader.boolean("verify") ?? true)
    }
}
