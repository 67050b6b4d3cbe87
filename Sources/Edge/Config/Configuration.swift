// The whole configuration as checked, immutable values; property names are the file's keys.

/// What an operator decides; one value per start or reload.
struct Configuration: Sendable {
    /// Where it came from; empty for the command line.
    var file: String
    var workers: Int
    var listeners: [ListenerSettings]
    var routes: [RouteSettings]
    var upstream: UpstreamSettings
    var registry: RegistrySettings
    var resolver: ResolverOptions
    var timeouts: FrontTimeouts
    var limits: LimitSettings
    var trustedProxies: [AddressRange]
    var accessLog: AccessLogSettings
    /// nil: no admin listener.
    var admin: AdminSettings?
    var ledger: LedgerSettings
    var metrics: MetricsSettings
    var shutdown: ShutdownSettings
    var logLevel: LogLevel

    /// The routes as `RouteTable` takes them, in the same order.
    var routeDefinitions: [RouteDefinition] {
        routes.map {
            RouteDefinition(
                path: $0.path, id: $0.id, pattern: $0.pattern, longestID: $0.upstream.longestID)
        }
    }
}

enum LogLevel: String, Sendable {
    case trace, debug, info, notice, warning, error, critical
}

struct ListenerSettings: Sendable {
    var address: ListenAddress
    /// nil: plain HTTP.
    var tls: TLSSettings?
    var redirectToHTTPS: Bool
    var redirectPort: UInt16
}

struct TLSSettings: Sendable {
    enum Application: String, Sendable {
        case http2 = "h2"
        case http11 = "http/1.1"
    }

    /// At least one.
    var certificates: [CertificateSettings]
    var minVersion: TLSVersion
    /// In order of preference, at least one.
    var alpn: [Application]
    /// File of 80-byte keys; nil: random keys.
    var ticketKeys: NamedFile?
    var ticketRotation: Duration
    /// How long clients remember that this host speaks https only; zero: nothing is said.
    var hsts: Duration
    var keyLog: NamedFile?

    /// Index of the certificate for unknown or absent server names.
    var defaultCertificate: Int { certificates.firstIndex { $0.isDefault } ?? 0 }

    /// Says that every certificate and key came from these options of the command line.
    mutating func place(certificate: String, key: String) {
        for index in certificates.indices {
            certificates[index].certificate.place = .argument(certificate)
            certificates[index].key.place = .argument(key)
        }
    }
}

/// Files of a certificate chain and its key.
struct CertificateSettings: Sendable {
    var certificate: NamedFile
    var key: NamedFile
    var isDefault: Bool
}

enum HostPolicy: String, Sendable {
    case preserve, upstream
}

struct RouteSettings: Sendable {
    var path: String
    /// nil: a plain route.
    var id: IDSource?
    /// nil: canonical decimal ids.
    var pattern: IDPattern?
    var upstream: UpstreamTemplate
    var versions: UpstreamProtocols
    var host: HostPolicy
    /// nil on http.
    var tls: UpstreamTLSSettings?
    /// The route's own where given, otherwise those of `upstream`.
    var timeouts: UpstreamTimeouts
}

struct UpstreamTLSSettings: Hashable, Sendable {
    /// nil: the system's authorities.
    var ca: NamedFile?
    /// nil: the upstream's host.
    var serverName: String?
    var verify: Bool
}

struct UpstreamTimeouts: Hashable, Sendable {
    var dialTimeout: Duration
    var handshakeTimeout: Duration
    var responseTimeout: Duration
    var idleTimeout: Duration
    var queueTimeout: Duration
}

struct UpstreamSettings: Sendable {
    var dialTimeout: Duration
    var handshakeTimeout: Duration
    var responseTimeout: Duration
    var idleTimeout: Duration
    var queueTimeout: Duration
    var keepalive: Duration
    /// Zero: as old as it gets.
    var maxAge: Duration
    /// Zero: no PING is sent.
    var pingAfter: Duration
    var pingTimeout: Duration
    var maxConnectionsPerHost: Int
    var maxInFlightPerHost: Int
    var maxQueuePerHost: Int
    var health: HealthPolicy
    var retries: RetryPolicy
}

struct RegistrySettings: Sendable {
    var maxHosts: Int
    var maxConnections: Int
    /// Percent of `maxConnections`.
    var maxShare: Int
    var maxWaiting: Int
    var hostIdle: Duration
}

struct ResolverOptions: Equatable, Sendable {
    /// Empty: those of resolv.conf.
    var servers: [ServerAddress]
    var search: Bool
    var timeout: Duration
    var attempts: Int
    var minTTL: Duration
    var maxTTL: Duration
    var negativeTTL: Duration
    var stale: Duration
    /// 0: any number.
    var firstSeenPerSecond: Int
}

struct FrontTimeouts: Sendable {
    var handshake: Duration
    var head: Duration
    var body: Duration
    var write: Duration
    var idle: Duration
}

struct LimitSettings: Sendable {
    var maxConnections: Int
    var maxConnectionsPerAddress: Int
    /// 0: no limit; the same for requests.
    var handshakesPerSecondPerAddress: Int
    var requestsPerSecondPerAddress: Int
    var ipv6Prefix: Int
    /// Bytes per second; 0: any rate.
    var minRate: Int
    /// nil: half of what the process may use.
    var maxMemory: ByteCount?
    var maxStreams: Int
    var underscoreFields: UnderscorePolicy
}

struct AccessLogSettings: Sendable {
    enum Format: String, Sendable {
        case json, common
    }

    /// nil: off.
    var path: String?
    var format: Format
}

struct AdminSettings: Sendable {
    var address: ListenAddress
}

struct LedgerSettings: Sendable {
    /// Between two checks by the control plane.
    var interval: Duration
}

struct MetricsSettings: Sendable {
    /// 0: no metric names an id.
    var topIDs: Int
}

struct ShutdownSettings: Sendable {
    var grace: Duration
    /// Over how long clients are told to leave.
    var spread: Duration
}
