// Which fields go on to the other side, and which ones the proxy adds (RFC 9110 §7.6).

/// What to do with field names that contain an underscore: servers that map names to variables
/// cannot tell `x_a` from `x-a`.
enum UnderscorePolicy: Sendable {
    case drop, pass, reject

    /// The policy of that name; no raw value, which `!=` would compare as text for every line.
    init?(name: String) {
        switch name {
        case "drop": self = .drop
        case "pass": self = .pass
        case "reject": self = .reject
        default: return nil
        }
    }
}

/// The rules of a proxy between two messages, the same for every pairing of versions.
///
/// Marks lines of a head's table as dropped and appends the proxy's own; writers then copy what is
/// left. Host, content-length, transfer-encoding and the like are written from the head's facts, so
/// their lines are always dropped here.
enum Forwarding {
    /// What a request's forwarding fields say about its client.
    struct Origin: BitwiseCopyable {
        /// The client's address without port.
        var client: Bytes
        /// Whether what the client itself says in forwarding fields is believed and extended.
        var isTrusted: Bool
    }

    /// Prepares a request's fields; false when the policy on underscores rejects it.
    static func prepareRequest(
        _ head: inout Head, origin: Origin, underscores: UnderscorePolicy
    ) -> Bool {
        var hasProto = false
        var hasHost = false
        for index in 0..<head.fields.count {
            let line = head.fields[index]
            switch line.name {
            case .connection, .keepAlive, .proxyConnection, .te, .transferEncoding, .upgrade,
                .host, .contentLength, .http2Settings:
                head.fields[index].isDropped = true
            case .xForwardedFor, .forwarded:
                if !origin.isTrusted { head.fields[index].isDropped = true }
            case .xForwardedHost:
                if origin.isTrusted { hasHost = true } else { head.fields[index].isDropped = true }
            case .xForwardedProto:
                if origin.isTrusted { hasProto = true } else { head.fields[index].isDropped = true }
            case .other:
                if underscores != .pass, head.name(line).firstIndex(of: UInt8(ascii: "_")) != nil {
                    if underscores == .reject { return false }
                    head.fields[index].isDropped = true
                }
            default: break
            }
        }
        if head.nominatesFields { dropNominated(&head) }
        appendVia(&head)
        appendForwarded(&head, origin)
        if !hasProto {
            let proto: StaticString = head.isSecure ? "https" : "http"
            _ = head.appendField(Bytes("x-forwarded-proto"), Bytes(proto), known: .other)
        }
        if !hasHost, !head.authority.isEmpty {
            let name = head.append(Bytes("x-forwarded-host"))
            _ = head.fields.append(FieldLine(name: name, value: head.authority, known: .other))
        }
        return true
    }

    /// Prepares a response's fields.
    static func prepareResponse(_ head: inout Head) {
        for index in 0..<head.fields.count {
            switch head.fields[index].name {
            case .connection, .keepAlive, .proxyConnection, .te, .transferEncoding, .upgrade,
                .contentLength, .http2Settings:
                head.fields[index].isDropped = true
            default: break
            }
        }
        if head.nominatesFields { dropNominated(&head) }
        appendVia(&head)
    }

    /// Drops every field that a Connection field names (RFC 9110 §7.6.1).
    private static func dropNominated(_ head: inout Head) {
        for index in 0..<head.fields.count where head.fields[index].name == .connection {
            let value = head.value(head.fields[index])
            var start = 0
            while start <= value.count {
                let end = value.firstIndex(of: UInt8(ascii: ","), from: start) ?? value.count
                let token = value.slice(start, count: end - start).trimmed()
                start = end + 1
                for other in 0..<head.fields.count
                where sameName(head.name(head.fields[other]), token) {
                    head.fields[other].isDropped = true
                }
            }
        }
    }

    private static func sameName(_ left: Bytes, _ right: Bytes) -> Bool {
        guard left.count == right.count else { return false }
        for index in 0..<left.count
        where ASCII.lowercase(left[index]) != ASCII.lowercase(right[index]) {
            return false
        }
        return true
    }

    /// `Via: 1.1 edge-proxy` (RFC 9110 §7.6.3), beside whatever earlier proxies wrote.
    private static func appendVia(_ head: inout Head) {
        let value: StaticString =
            switch head.version {
            case .http10: "1.0 edge-proxy"
            case .http11: "1.1 edge-proxy"
            case .http2: "2.0 edge-proxy"
            }
        _ = head.appendField(Bytes("via"), Bytes(value), known: .via)
    }

    /// X-Forwarded-For and Forwarded (RFC 7239), each in one line with what a trusted peer sent.
    private static func appendForwarded(_ head: inout Head, _ origin: Origin) {
        let name = head.append(Bytes("x-forwarded-for"))
        var start = head.text.count
        if origin.isTrusted { joinEarlier(&head, .xForwardedFor) }
        head.text.append(origin.client)
        var value = TextRange(start: start, count: head.text.count - start)
        _ = head.fields.append(FieldLine(name: name, value: value, known: .other))

        let forwarded = head.append(Bytes("forwarded"))
        start = head.text.count
        if origin.isTrusted { joinEarlier(&head, .forwarded) }
        // Node identifiers with a colon are quoted (RFC 7239 §6), and so are hosts with a port.
        let isV6 = origin.client.firstIndex(of: UInt8(ascii: ":")) != nil
        if origin.client.equals("unix") {
            head.text.append("for=unknown")
        } else {
            head.text.append(isV6 ? "for=\"[" : "for=")
            head.text.append(origin.client)
            if isV6 { head.text.append("]\"") }
        }
        if !head.authority.isEmpty {
            head.text.append(";host=\"")
            let authority = head.authority
            // The text may move while it grows: reserve first, then copy from itself.
            _ = unsafe head.text.reserve(Int(authority.count))
            head.text.append(head.bytes(authority))
            head.text.append("\"")
        }
        head.text.append(head.isSecure ? ";proto=https" : ";proto=http")
        value = TextRange(start: start, count: head.text.count - start)
        _ = head.fields.append(FieldLine(name: forwarded, value: value, known: .other))
    }

    /// Copies the values of earlier lines with `name` to the end of the text, comma-separated, and
    /// drops those lines.
    private static func joinEarlier(_ head: inout Head, _ name: FieldName) {
        for index in 0..<head.fields.count {
            let line = head.fields[index]
            guard line.name == name, !line.isDropped else { continue }
            head.fields[index].isDropped = true
            _ = unsafe head.text.reserve(Int(line.valueCount) + 2)
            head.text.append(head.value(line))
            head.text.append(", ")
        }
    }
}
