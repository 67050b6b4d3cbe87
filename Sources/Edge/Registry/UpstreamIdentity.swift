// Everything besides the host that makes two upstream connections interchangeable.

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
