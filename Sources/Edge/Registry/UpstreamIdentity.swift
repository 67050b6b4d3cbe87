// Everything besides the host that makes two upstream connections interchangeable.

/// Which protocols may be spoken to a host; Caddy's names.
struct UpstreamProtocols: OptionSet, Hashable, Sendable {
    let rawValue: UInt8
    static let http1 = UpstreamProtocols(rawValue: 1)
    /// HTTP/2 by ALPN.
    static let http2 = UpstreamProtocols(rawValue: 2)
    /// HTTP/2 by prior knowledge on cleartext.
    static let h2c = UpstreamProtocols(rawValue: 4)

    var names: [String] {
        (contains(.http1) ? ["1.1"] : []) + (contains(.http2) ? ["2"] : [])
            + (contains(.h2c) ? ["h2c"] : [])
    }
}

/// The part of a host client's key that configuration decides.
struct UpstreamKey: Hashable, Sendable {
    var isSecure: Bool
    var port: UInt16
    var protocols: UpstreamProtocols
    /// TLS identity and verification; equal texts mean equal trust.
    var caPath: String?
    /// Fingerprint of the CA file's content, so that a changed file makes a new key.
    var caFingerprint: UInt64 = 0
    var serverName: String?
    var verifies: Bool = true
}

/// An interned `UpstreamKey`: equal keys are one object in the whole process, reloads included.
final class UpstreamIdentity: Sendable {
    let number: UInt32
    let key: UpstreamKey
    let tls: TLSClientContext?

    init(number: UInt32, key: UpstreamKey, tls: TLSClientContext?) {
        self.number = number
        self.key = key
        self.tls = tls
    }
}
