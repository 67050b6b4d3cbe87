// Everything besides the host that makes two upstream connections interchangeable.

import Synchronization

/// The part of a host client's key that configuration decides.
struct UpstreamKey: Hashable, Sendable {
    var isSecure: Bool
    /// 0 of a service.
    var port: UInt16
    /// The host is a service's name, whose records say where it is (RFC 2782).
    var isService = false
    /// The host is fully qualified: it may resolve otherwise than the same name without the dot.
    var isAbsolute = false
    var protocols: UpstreamProtocols
    /// TLS identity and verification; equal texts mean equal trust.
    var caPath: String?
    /// Fingerprint of the CA file's content, so that a changed file makes a new key.
    var caFingerprint: UInt64 = 0
    var serverName: String?
    var verifies: Bool = true

    /// A host as it is asked for: with a final dot when it is fully qualified.
    func lookupName(_ host: String) -> String { isAbsolute ? host + "." : host }
}

/// What a connection was opened for and what a request is to: the only ground for bringing the two
/// together, compared before the first byte of every exchange.
///
/// The identity stands for scheme, port, protocols and all of TLS, `host` for the host's name, of
/// which it is a hash under the process's seed.
struct ConnectionKey: Equatable, BitwiseCopyable, Sendable {
    var identity: UInt32
    var host: UInt64

    /// Belongs to nothing.
    static let none = ConnectionKey(identity: 0, host: 0)

    /// Where it stands in a table.
    @inline(__always)
    var hash: UInt64 { host ^ UInt64(identity) &* 0x9E37_79B9_7F4A_7C15 }
}

/// An interned `UpstreamKey`: equal keys are one object in the whole process, reloads included.
///
/// A key that no route has any more is forgotten: its identity is withdrawn, and one that comes
/// back later gets another identity with a number of its own, so that it meets no old connection.
final class UpstreamIdentity: Sendable {
    let number: UInt32
    let key: UpstreamKey
    let tls: TLSClientContext?
    /// No route of the configuration in force has this key: nothing of it is kept.
    let isWithdrawn = Atomic<Bool>(false)
    private let life = LiveObject(.identity)

    init(number: UInt32, key: UpstreamKey, tls: TLSClientContext?) {
        self.number = number
        self.key = key
        self.tls = tls
    }
}
