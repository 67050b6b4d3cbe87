// What the access log keeps of one exchange.

/// The TLS version of a front connection.
enum TLSLabel: UInt8, BitwiseCopyable, Sendable {
    case none, tls12, tls13

    var name: StaticString {
        switch self {
        case .none: ""
        case .tls12: "TLSv1.2"
        case .tls13: "TLSv1.3"
        }
    }
}

/// The numbers of one exchange; the worker fills it as the exchange goes on.
struct AccessRecord: BitwiseCopyable, Sendable {
    /// When the request's first byte was read.
    var start = WallTime(nanoseconds: 0)
    /// Bytes of content received from and sent to the client.
    var received: UInt64 = 0
    var sent: UInt64 = 0
    /// How long the last attempt waited for a connection beyond that connection's dial: for the
    /// host's name, or for a place; nil when a connection was at hand.
    var queue: Duration?
    /// How long the dial of the last attempt's connection took, with its TLS and HTTP/2
    /// handshakes; nil when the connection had served before.
    var dial: Duration?
    /// From the request's end to the response's head; nil without a response.
    var response: Duration?
    /// From the request's first byte to the end.
    var total: Duration?
    /// 0 when the client saw no status.
    var status: UInt16 = 0
    var attempts: UInt8 = 0
    var version = Version.http11
    /// The protocol of the last attempt; nil when nothing was sent upstream.
    var upstreamVersion: Version?
    var tls = TLSLabel.none
    /// Whether the last attempt went over a connection that had served before.
    var isReused = false
    var error = ErrorReason.none
    var retry = RetryVerdict.none

    init() {}
}

/// The texts of one exchange, lent for the call to `AccessRing.append`; empty means absent.
struct AccessTexts: BitwiseCopyable {
    var client = Bytes.empty
    var method = Bytes.empty
    var host = Bytes.empty
    var target = Bytes.empty
    var id = Bytes.empty
    var upstream = Bytes.empty
    var upstreamAddress = Bytes.empty
    var userAgent = Bytes.empty

    init() {}

    /// Bytes kept of each text; what is longer is cut.
    static let clientBytes = 128
    static let methodBytes = 32
    static let hostBytes = 320
    static let targetBytes = 2048
    static let idBytes = 128
    static let upstreamBytes = 320
    static let upstreamAddressBytes = 128
    static let userAgentBytes = 256
    static let mostBytes =
        clientBytes + methodBytes + hostBytes + targetBytes + idBytes + upstreamBytes
        + upstreamAddressBytes + userAgentBytes

    /// Each text cut to what is kept of it.
    @inline(__always)
    var bounded: AccessTexts {
        var texts = AccessTexts()
        texts.client = client.prefix(Self.clientBytes)
        texts.method = method.prefix(Self.methodBytes)
        texts.host = host.prefix(Self.hostBytes)
        texts.target = target.prefix(Self.targetBytes)
        texts.id = id.prefix(Self.idBytes)
        texts.upstream = upstream.prefix(Self.upstreamBytes)
        texts.upstreamAddress = upstreamAddress.prefix(Self.upstreamAddressBytes)
        texts.userAgent = userAgent.prefix(Self.userAgentBytes)
        return texts
    }
}
