// From a checked configuration to what workers use: certificates loaded, keys interned.

import Synchronization

/// Why a configuration cannot be put into force, in words that name the file.
struct StartFailure: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }

    /// `file:line:column: path: cause`, for a file that `configuration` names at `place`.
    fileprivate init(
        _ error: TLSConfigurationError, at place: ConfigurationPlace?, in configuration: String
    ) {
        let problem = place.map { ConfigurationProblem(place: $0, message: error.description) }
        self.init(problem?.description(file: configuration) ?? error.description)
    }
}

extension TLSSettings {
    /// Where the file that `error` is about was named.
    fileprivate func place(of error: TLSConfigurationError) -> ConfigurationPlace? {
        // One file may be named twice: that of the certificate in question goes first.
        var files = certificates.flatMap { [$0.certificate, $0.key] }
        if let index = error.certificateIndex, certificates.indices.contains(index) {
            files.insert(
                contentsOf: [certificates[index].certificate, certificates[index].key], at: 0)
        }
        files += [ticketKeys, keyLog].compactMap { $0 }
        return (files.first { $0.path == error.path } ?? files.first)?.place
    }
}

/// Builds snapshots; keeps what has to survive a reload: ticket keys and their files.
final class SnapshotBuilder {
    private let registry: Registry
    /// Random ticket keys, shared by all listeners without a file.
    private let ticketKeys: TicketKeys
    private var ticketFiles: [String: TicketKeys] = [:]
    /// What the last `build` found for keys that are in force already.
    private var prepared: [(keys: TicketKeys, change: TicketChange)] = []
    private var generation = 0
    /// Whether listeners answer by themselves instead of routing.
    private let demonstrates: Bool

    private enum TicketChange {
        case adopt(TicketKeyFile)
        case rotate(Duration)
    }

    init(registry: Registry, rotation: Duration, demonstrates: Bool = false) {
        self.registry = registry
        self.demonstrates = demonstrates
        ticketKeys = TicketKeys(rotation: rotation)
    }

    /// Loads and checks everything that `configuration` names; changes nothing that is in force.
    func build(_ configuration: Configuration) throws(StartFailure) -> Snapshot {
        prepared = []
        var listeners: [ListenerRuntime] = []
        let names = configuration.namedAddresses.map(\.name)
        for (settings, name) in zip(configuration.listeners, names) {
            let purpose: ListenerPurpose =
                settings.redirectToHTTPS
                ? .redirect(port: settings.redirectPort) : demonstrates ? .demonstration : .proxy
            listeners.append(
                ListenerRuntime(
                    name: name, purpose: purpose,
                    tls: try serverContext(settings, configuration.file),
                    transportSecurity: .init(maxAge: settings.tls?.hsts ?? .zero)))
        }
        if configuration.admin != nil, let name = names.last {
            listeners.append(ListenerRuntime(name: name, purpose: .admin, tls: nil))
        }
        var runtimes: [RouteRuntime] = []
        for route in configuration.routes {
            runtimes.append(try runtime(route, configuration))
        }
        let table: RouteTable
        do throws(RouteTableError) {
            table = try RouteTable(configuration.routeDefinitions)
        } catch {
            throw StartFailure("route \(error.route + 1): \(error.message)")
        }
        generation += 1
        return Snapshot(
            generation: generation, routes: table, runtimes: runtimes, listeners: listeners,
            front: Self.front(configuration), topIDs: configuration.metrics.topIDs)
    }

    /// Changes what the last snapshot shares with those before it; to be called when it is used.
    func putIntoForce() {
        for (keys, change) in prepared {
            switch change {
            case .adopt(let file): keys.adopt(file)
            case .rotate(let rotation): keys.setRotation(rotation)
            }
        }
        prepared = []
    }

    private static func front(_ configuration: Configuration) -> FrontPolicy {
        var policy = FrontPolicy()
        policy.handshake = configuration.timeouts.handshake
        policy.head = configuration.timeouts.head
        policy.body = configuration.timeouts.body
        policy.write = configuration.timeouts.write
        policy.idle = configuration.timeouts.idle
        policy.maxConnections = configuration.limits.maxConnections
        policy.client = AddressLimits(
            maxConnections: configuration.limits.maxConnectionsPerAddress,
            handshakes: ClientRate(
                perSecond: configuration.limits.handshakesPerSecondPerAddress),
            requests: ClientRate(perSecond: configuration.limits.requestsPerSecondPerAddress),
            ipv6Prefix: configuration.limits.ipv6Prefix)
        policy.minRate = configuration.limits.minRate
        policy.maxMemory =
            configuration.limits.maxMemory?.bytes ?? SystemProcess.availableMemory() / 2
        policy.maxStreams = UInt32(clamping: configuration.limits.maxStreams)
        policy.trusted = configuration.trustedProxies
        policy.underscores = configuration.limits.underscoreFields
        return policy
    }

    private func serverContext(
        _ settings: ListenerSettings, _ file: String
    ) throws(StartFailure) -> TLSServerContext? {
        guard let tls = settings.tls else { return nil }
        let sources = tls.certificates.map {
            CertificateSource(
                certificatePath: $0.certificate.path, keyPath: $0.key.path,
                isDefault: $0.isDefault)
        }
        do throws(TLSConfigurationError) {
            var keys = ticketKeys
            if let path = tls.ticketKeys?.path {
                let file = try TicketKeyFile(path: path)
                keys = ticketFiles[path] ?? TicketKeys(file: file)
                ticketFiles[path] = keys
                prepared.append((keys, .adopt(file)))
            } else {
                prepared.append((keys, .rotate(tls.ticketRotation)))
            }
            return try TLSServerContext(
                TLSServerSettings(
                    certificates: sources,
                    minimumVersion: tls.minVersion,
                    alpn: tls.alpn.map { $0 == .http2 ? .http2 : .http1 }, ticketKeys: keys,
                    keyLogPath: tls.keyLog?.path))
        } catch {
            throw StartFailure(error, at: tls.place(of: error), in: file)
        }
    }

    private func runtime(
        _ route: RouteSettings, _ configuration: Configuration
    ) throws(StartFailure) -> RouteRuntime {
        var key = UpstreamKey(route)
        if let path = key.caPath {
            guard let content = FileSystem.read(path) else {
                throw StartFailure(
                    TLSConfigurationError(path: path, message: "cannot be read"),
                    at: route.tls?.ca?.place, in: configuration.file)
            }
            key.caFingerprint = content.withBytes { ByteHash(seed: 1).hash($0) }
        }
        let identity: UpstreamIdentity
        do throws(TLSConfigurationError) {
            identity = try registry.identity(for: key) { () throws(TLSConfigurationError) in
                guard key.isSecure else { return nil }
                return try TLSClientContext(
                    TLSClientSettings(caPath: key.caPath, verifies: key.verifies))
            }
        } catch {
            throw StartFailure(error, at: route.tls?.ca?.place, in: configuration.file)
        }
        let upstream = configuration.upstream
        var policy = ExchangePolicy()
        policy.dialTimeout = route.timeouts.dialTimeout
        policy.handshakeTimeout = route.timeouts.handshakeTimeout
        policy.responseTimeout = route.timeouts.responseTimeout
        policy.idleTimeout = route.timeouts.idleTimeout
        policy.queueTimeout = route.timeouts.queueTimeout
        policy.keepalive = upstream.keepalive
        policy.upkeep = ConnectionUpkeep(
            maxAge: upstream.maxAge, pingAfter: upstream.pingAfter,
            pingTimeout: upstream.pingTimeout)
        policy.maxConnections = upstream.maxConnectionsPerHost
        policy.maxInFlight = upstream.maxInFlightPerHost
        policy.maxQueue = upstream.maxQueuePerHost
        policy.health = upstream.health
        policy.retries = upstream.retries
        policy.usesUpstreamHost = route.host == .upstream
        policy.bodyTimeout = configuration.timeouts.body
        policy.writeTimeout = configuration.timeouts.write
        policy.minRate = configuration.limits.minRate
        return RouteRuntime(identity: identity, policy: policy, outline: RouteOutline(route))
    }
}

extension UpstreamKey {
    /// The key of a route's hosts, without the content of files.
    init(_ route: RouteSettings) {
        let isSecure = route.upstream.scheme == .https
        self.init(
            isSecure: isSecure, port: route.upstream.port, isService: route.upstream.isService,
            isAbsolute: route.upstream.isAbsolute, protocols: route.versions)
        if isSecure {
            protocols.remove(.h2c)
            caPath = route.tls?.ca?.path
            serverName = route.tls?.serverName
            verifies = route.tls?.verify ?? true
        } else {
            // ALPN does not exist on cleartext.
            protocols.remove(.http2)
        }
    }
}
