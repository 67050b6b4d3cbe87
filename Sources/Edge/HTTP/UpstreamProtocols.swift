// The protocols that may be spoken to a service.

/// Which protocols may be spoken to a host; Caddy's names.
struct UpstreamProtocols: OptionSet, Hashable, Sendable {
    let rawValue: UInt8
    static let http1 = UpstreamProtocols(rawValue: 1)
    /// HTTP/2 by ALPN, on https.
    static let http2 = UpstreamProtocols(rawValue: 2)
    /// HTTP/2 by prior knowledge, on http.
    static let h2c = UpstreamProtocols(rawValue: 4)

    private static let named: [(name: String, version: UpstreamProtocols)] = [
        ("1.1", .http1), ("2", .http2), ("h2c", .h2c),
    ]

    /// The names in the configuration.
    var names: [String] { Self.named.filter { contains($0.version) }.map { $0.name } }

    init(rawValue: UInt8) { self.rawValue = rawValue }

    /// Those that are named; other names are passed over.
    init(names: [String]) {
        self = Self.named.reduce(into: []) { set, known in
            if names.contains(known.name) { set.insert(known.version) }
        }
    }
}
