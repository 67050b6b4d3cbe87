// Field names that mean something to the proxy; every other name passes through as text.

/// A field name that some rule of the proxy looks at, or `other`.
enum FieldName: UInt8, Sendable {
    case other
    case connection, contentLength, cookie, date, expect, forwarded, host, http2Settings, keepAlive
    case proxyConnection, referer, strictTransportSecurity, te, trailer, transferEncoding, upgrade
    case userAgent, via, xForwardedFor, xForwardedHost, xForwardedProto

    /// Recognises a name without regard to case (RFC 9110 §5.1).
    init(_ name: Bytes) {
        switch name.count {
        case 2: self = name.equalsIgnoringCase("te") ? .te : .other
        case 3: self = name.equalsIgnoringCase("via") ? .via : .other
        case 4:
            switch name[0] | 0x20 {
            case UInt8(ascii: "h"): self = name.equalsIgnoringCase("host") ? .host : .other
            case UInt8(ascii: "d"): self = name.equalsIgnoringCase("date") ? .date : .other
            default: self = .other
            }
        case 6:
            switch name[0] | 0x20 {
            case UInt8(ascii: "c"): self = name.equalsIgnoringCase("cookie") ? .cookie : .other
            case UInt8(ascii: "e"): self = name.equalsIgnoringCase("expect") ? .expect : .other
            default: self = .other
            }
        case 7:
            switch name[0] | 0x20 {
            case UInt8(ascii: "u"): self = name.equalsIgnoringCase("upgrade") ? .upgrade : .other
            case UInt8(ascii: "t"): self = name.equalsIgnoringCase("trailer") ? .trailer : .other
            case UInt8(ascii: "r"): self = name.equalsIgnoringCase("referer") ? .referer : .other
            default: self = .other
            }
        case 9: self = name.equalsIgnoringCase("forwarded") ? .forwarded : .other
        case 10:
            switch name[0] | 0x20 {
            case UInt8(ascii: "c"):
                self = name.equalsIgnoringCase("connection") ? .connection : .other
            case UInt8(ascii: "u"):
                self = name.equalsIgnoringCase("user-agent") ? .userAgent : .other
            case UInt8(ascii: "k"):
                self = name.equalsIgnoringCase("keep-alive") ? .keepAlive : .other
            default: self = .other
            }
        case 14:
            switch name[0] | 0x20 {
            case UInt8(ascii: "c"):
                self = name.equalsIgnoringCase("content-length") ? .contentLength : .other
            case UInt8(ascii: "h"):
                self = name.equalsIgnoringCase("http2-settings") ? .http2Settings : .other
            default: self = .other
            }
        case 15: self = name.equalsIgnoringCase("x-forwarded-for") ? .xForwardedFor : .other
        case 16:
            switch name[0] | 0x20 {
            case UInt8(ascii: "p"):
                self = name.equalsIgnoringCase("proxy-connection") ? .proxyConnection : .other
            case UInt8(ascii: "x"):
                self = name.equalsIgnoringCase("x-forwarded-host") ? .xForwardedHost : .other
            default: self = .other
            }
        case 17:
            switch name[0] | 0x20 {
            case UInt8(ascii: "t"):
                self = name.equalsIgnoringCase("transfer-encoding") ? .transferEncoding : .other
            case UInt8(ascii: "x"):
                self = name.equalsIgnoringCase("x-forwarded-proto") ? .xForwardedProto : .other
            default: self = .other
            }
        case 25:
            self =
                name.equalsIgnoringCase("strict-transport-security")
                ? .strictTransportSecurity : .other
        default: self = .other
        }
    }

    /// The name in lower case, as HTTP/2 has it (RFC 9113 §8.2); nil: only the head knows it.
    var text: StaticString? {
        switch self {
        case .other: nil
        case .connection: "connection"
        case .contentLength: "content-length"
        case .cookie: "cookie"
        case .date: "date"
        case .expect: "expect"
        case .forwarded: "forwarded"
        case .host: "host"
        case .http2Settings: "http2-settings"
        case .keepAlive: "keep-alive"
        case .proxyConnection: "proxy-connection"
        case .referer: "referer"
        case .strictTransportSecurity: "strict-transport-security"
        case .te: "te"
        case .trailer: "trailer"
        case .transferEncoding: "transfer-encoding"
        case .upgrade: "upgrade"
        case .userAgent: "user-agent"
        case .via: "via"
        case .xForwardedFor: "x-forwarded-for"
        case .xForwardedHost: "x-forwarded-host"
        case .xForwardedProto: "x-forwarded-proto"
        }
    }
}
