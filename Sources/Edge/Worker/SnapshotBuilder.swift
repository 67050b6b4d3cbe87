// From a checked configuration to what workers use: certificates loaded, keys interned.

import Synchronization

/// Why a configuration cannot be put into force, in words that name the file.
struct StartFailure: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }
}

/// Builds snapshots; keeps what has to survive a reload: ticket keys and their files.
final class SnapshotBuilder {
    private let registry: Registry
    /// Random ticket keys, shared by all listeners without a file.
    private let ticketKeys: TicketKeys
    private var ticketFiles: [String: TicketKeys] = [:]
    private var generation = 0
    /// Whether listeners answer by themselves instead of routing.
    private let demonstrates: Bool

    init(registry: Registry, rotation: Duration, demonstrates: Bool = false) {
        self.registry = registry
        self.demonstrates = demonstrates
        ticketKeys = TicketKeys(rotation: rotation)
    }

    /// Loads and checks everything that `configuration` names; changes nothing that is in force.
    func build(_ configuration: Configuration) throws(StartFailure) -> Snapshot {
        var listeners: [ListenerRuntime] = []
        let names = configuration.namedAddresses.map(\.name)
        for (settings, name) in zip(configuration.listeners, names) {
            let purpose: ListenerPurpose =
                settings.redirectToHTTPS
                ? .redirect(port: settings.redirectPort) : demonstrates ? .demonstration : .proxy
            listeners.append(
                ListenerRuntime(
                    name: name, purpose: purpose,
                    tls: try serverContext(settings)))
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
            front: Self.front(configuration))
    }

    private static func front(_ configuration: Configuration) -> FrontPolicy {
        var policy = FrontPolicy()
        policy.handshake = configuration.timeouts.handshake
        policy.head = configuration.timeouts.head
        policy.body = configuration.timeouts.body
        policy.write = configuration.timeouts.write
        policy.idle = configuration.timeouts.idle
        policy.maxConnections = configuration.limits.maxConnections
        policy.maxStreams = UInt32(clamping: configuration.limits.maxStreams)
        policy.trusted = configuration.trustedProxies
        policy.underscores = configuration.limits.underscoreFields
        return policy
    }

    private func serverContext(
        _ settings: ListenerSettings
    ) throws(StartFailure) -> TLSServerContext? {
        guard let tls = settings.tls else { return nil }
        let sources = tls.certificates.map {
            CertificateSource(
                certificatePath: $0.certificate, keyPath: $0.key, isDefault: $0.isDefault)
        }
        do throws(TLSConfigurationError) {
            var keys = ticketKeys
            if let path = tls.ticketKeys {
                let file = try TicketKeyFile(path: path)
                if let known = ticketFiles[path] { known.adopt(file) }
                keys = ticketFiles[path] ?? TicketKeys(file: file)
                ticketFiles[path] = keys
            } else {
                keys.setRotation(tls.ticketRotation)
            }
            return try TLSServerContext(
                TLSServerSettings(
                    certificates: sources,
                    minimumVersion: tls.minVersion,
                    alpn: tls.alpn.map { $0 == .http2 ? .http2 : .http1 }, ticketKeys: keys,
                    keyLogPath: tls.keyLog))
        } catch {
            throw StartFailure(error.description)
        }
    }

    private func runtime(
        _ route: RouteSettings, _ configuration: Configuration
    ) throws(StartFailure) -> RouteRuntime {
        let template = route.upstream
        let isSecure = template.scheme == .https
        var key = UpstreamKey(
            isSecure: isSecure, port: template.port,
            protocols: route.versions)
        if isSecure {
            key.protocols.remove(.h2c)
            key.caPath = route.tls?.ca
            key.serverName = route.tls?.serverName
            key.verifies = route.tls?.verify ?? true
            if let path = key.caPath {
                guard let content = FileSystem.read(path) else {
                    throw StartFailure("\(path): cannot be read")
                }
                key.caFingerprint = content.withBytes { ByteHash(seed: 1).hash($0) }
            }
        } else {
            // ALPN does not exist on cleartext.
            key.protocols.remove(.http2)
        }
        let identity: UpstreamIdentity
        do throws(TLSConfigurationError) {
            identity = try registry.identity(for: key) { () throws(TLSConfigurationError) in
                guard isSecure else { return nil }
                return try TLSClientContext(
                    TLSClientSettings(caPath: key.caPath, verifies: key.verifies))
            }
        } catch {
            throw StartFailure(error.description)
        }
        let upstream = configuration.upstream
        var policy = ExchangePolicy()
        policy.dialTimeout = route.timeouts.dialTimeout
        policy.handshakeTimeout = route.timeouts.handshakeTimeout
        policy.responseTimeout = route.timeouts.responseTimeout
        policy.idleTimeout = route.timeouts.idleTimeout
        policy.queueTimeout = route.timeouts.queueTimeout
        policy.keepalive = upstream.keepalive
        policy.maxConnections = upstream.maxConnectionsPerHost
        policy.maxInFlight = upstream.maxInFlightPerHost
        policy.maxQueue = upstream.maxQueuePerHost
        policy.usesUpstreamHost = route.host == .upstream
        policy.bodyTimeout = configuration.timeouts.body
        policy.writeTimeout = configuration.timeouts.write
        return RouteRuntime(identity: identity, template: template, policy: policy)
    }
}
