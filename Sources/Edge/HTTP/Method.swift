// Request methods (RFC 9110 §9).

/// A method that the proxy has to tell apart, or `other`; the text stays in the head.
enum Method: UInt8, Sendable {
    case get, head, post, put, delete, connect, options, trace, patch, other

    /// Methods are case-sensitive (RFC 9110 §9.1).
    init(_ text: Bytes) {
        switch text.count {
        case 3:
            self = text.equals("GET") ? .get : text.equals("PUT") ? .put : .other
        case 4:
            self = text.equals("POST") ? .post : text.equals("HEAD") ? .head : .other
        case 5:
            self = text.equals("PATCH") ? .patch : text.equals("TRACE") ? .trace : .other
        case 6: self = text.equals("DELETE") ? .delete : .other
        case 7:
            self = text.equals("OPTIONS") ? .options : text.equals("CONNECT") ? .connect : .other
        default: self = .other
        }
    }

    /// Whether repeating the request has the effect of sending it once (RFC 9110 §9.2.2).
    var isIdempotent: Bool {
        switch self {
        case .get, .head, .put, .delete, .options, .trace: true
        case .post, .connect, .patch, .other: false
        }
    }
}

/// The protocol version of one side of an exchange.
enum Version: UInt8, Sendable {
    case http10, http11, http2

    /// As ALPN and Via name it, for logs.
    var name: StaticString {
        switch self {
        case .http10: "HTTP/1.0"
        case .http11: "HTTP/1.1"
        case .http2: "HTTP/2.0"
        }
    }
}
