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
    ///
    /// `cache` belongs to the client's connection: most of its requests get the same fields.
    static func prepareRequest(
        _ head: inout Head, origin: Origin, underscores: UnderscorePolicy,
        cache: inout ForwardedFields
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
        if origin.isTrusted {
            appendForwarded(&head, origin, hasProto: hasProto, hasHost: hasHost)
        } else if !cache.append(to: &head) {
            let start = head.text.count
            let first = head.fields.count
            appendForwarded(&head, origin, hasProto: false, hasHost: false)
            cache.keep(head, text: start, lines: first)
        }
        return true
    }

    /// What Max-Forwards says about a request.
    enum Hop { case goesOn, endsHere, malformed }

    /// Counts this hop in the Max-Forwards field of a TRACE or OPTIONS (RFC 9110 §7.6.2).
    static func countHop(_ head: inout Head) -> Hop {
        var found = -1
        for index in 0..<head.fields.count
        where head.name(head.fields[index]).equalsIgnoringCase("max-forwards") {
            guard found < 0 else { return .malformed }
            found = index
        }
        guard found >= 0 else { return .goesOn }
        guard let hops = head.value(head.fields[found]).decimal() else { return .malformed }
        guard hops > 0 else { return .endsHere }
        let start = head.text.count
        head.text.append(decimal: hops - 1)
        head.fields[found].valueStart = UInt32(truncatingIfNeeded: start)
        head.fields[found].valueCount = UInt32(truncatingIfNeeded: head.text.count - start)
        return .goesOn
    }

    /// Prepares a response's fields.
    static func prepareResponse(_ head: inout Head) {
        if head.nominatesFields { dropNominated(&head) }
        for index in 0..<head.fields.count {
            switch head.fields[index].name {
            case .connection, .keepAlive, .proxyConnection, .te, .transferEncoding, .upgrade,
                .contentLength, .http2Settings:
                head.fields[index].isDropped = true
            case .strictTransportSecurity: noteTransportSecurity(&head, index)
            default: break
            }
        }
        appendVia(&head)
    }

    /// The first line counts, and any other would not be looked at (RFC 6797 §8.1).
    @inline(never)
    private static func noteTransportSecurity(_ head: inout Head, _ index: Int) {
        guard !head.fields[index].isDropped else { return }
        if head.statesTransportSecurity { head.fields[index].isDropped = true }
        head.statesTransportSecurity = true
    }

    /// Prepares a request's trailers: names with an underscore go unless the policy lets them pass.
    static func prepareTrailers(_ head: inout Head, underscores: UnderscorePolicy) {
        guard underscores != .pass else { return }
        for index in 0..<head.fields.count
        where head.name(head.fields[index]).firstIndex(of: UInt8(ascii: "_")) != nil {
            head.fields[index].isDropped = true
        }
    }

    /// Drops every field that a Connection field names (RFC 9110 §7.6.1), except those that are
    /// meant for everyone: who names Cookie or X-Forwarded-For wants the next hop not to see it.
    private static func dropNominated(_ head: inout Head) {
        for index in 0..<head.fields.count where head.fields[index].name == .connection {
            let value = head.value(head.fields[index])
            var start = 0
            while start <= value.count {
                let end = value.firstIndex(of: UInt8(ascii: ","), from: start) ?? value.count
                let token = value.slice(start, count: end - start).trimmed()
                start = end + 1
                for other in 0..<head.fields.count {
                    let line = head.fields[other]
                    let name = head.name(line)
                    if name.equalsIgnoringASCIICase(token),
                        !FieldRole.isControl(name, known: line.name)
                    {
                        head.fields[other].isDropped = true
                    }
                }
            }
        }
    }

    /// `Via: 1.1 edge-proxy` (RFC 9110 §7.6.3), beside whatever earlier proxies wrote.
    private static func appendVia(_ head: inout Head) {
        let line: StaticString =
            switch head.version {
            case .http10: "via: 1.0 edge-proxy\r\n"
            case .http11: "via: 1.1 edge-proxy\r\n"
            case .http2: "via: 2.0 edge-proxy\r\n"
            }
        let start = head.text.count
        head.text.append(line)
        _ = head.fields.append(
            FieldLine(
                name: TextRange(start: start, count: 3),
                value: TextRange(start: start + 5, count: 14), known: .via))
    }

    /// X-Forwarded-For, Forwarded (RFC 7239), X-Forwarded-Proto and -Host.
    ///
    /// Written as they stand in HTTP/1.1, so that its writer copies them in one run. What a trusted
    /// peer sent of the first two is continued in the same line; its last two stay as they are.
    private static func appendForwarded(
        _ head: inout Head, _ origin: Origin, hasProto: Bool, hasHost: Bool
    ) {
        let proto: StaticString = head.isSecure ? "https" : "http"
        var name = beginLine(&head, "x-forwarded-for")
        if origin.isTrusted { joinEarlier(&head, .xForwardedFor) }
        head.text.append(origin.client)
        endLine(&head, name, .xForwardedFor)

        name = beginLine(&head, "forwarded")
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
            appendAuthority(&head)
            head.text.append("\"")
        }
        head.text.append(";proto=")
        head.text.append(proto)
        endLine(&head, name, .forwarded)

        if !hasProto {
            name = beginLine(&head, "x-forwarded-proto")
            head.text.append(proto)
            endLine(&head, name, .xForwardedProto)
        }
        if !hasHost, !head.authority.isEmpty {
            name = beginLine(&head, "x-forwarded-host")
            appendAuthority(&head)
            endLine(&head, name, .xForwardedHost)
        }
    }

    private static func appendAuthority(_ head: inout Head) {
        // The text may move while it grows: room first, then a copy from itself.
        head.text.ensureRoom(Int(head.authority.count))
        head.text.append(head.bytes(head.authority))
    }

    private static func beginLine(_ head: inout Head, _ name: StaticString) -> TextRange {
        let range = head.append(Bytes(name))
        head.text.append(": ")
        return range
    }

    private static func endLine(_ head: inout Head, _ name: TextRange, _ known: FieldName) {
        let start = Int(name.start) + Int(name.count) + 2
        let value = TextRange(start: start, count: head.text.count - start)
        head.text.append("\r\n")
        _ = head.fields.append(FieldLine(name: name, value: value, known: known))
    }

    /// Copies the values of earlier lines with `name` to the end of the text, comma-separated, and
    /// drops those lines.
    private static func joinEarlier(_ head: inout Head, _ name: FieldName) {
        for index in 0..<head.fields.count {
            let line = head.fields[index]
            guard line.name == name, !line.isDropped else { continue }
            head.fields[index].isDropped = true
            head.text.ensureRoom(Int(line.valueCount) + 2)
            head.text.append(head.value(line))
            head.text.append(", ")
        }
    }
}

/// The forwarding fields that a connection's last request was given, for the next one.
///
/// They depend on the client's address, which is the connection's, and on the request's authority
/// and scheme, which rarely change; 256 bytes hold all but very long names.
struct ForwardedFields: BitwiseCopyable {
    private static let capacity = 256

    private var text: [256 of UInt8] = .init(repeating: 0)
    private var count = 0
    private var lines: [4 of FieldLine] = .init(
        repeating: FieldLine(name: TextRange(), value: TextRange(), known: .other))
    private var lineCount = 0
    private var isSecure = false

    init() {}

    /// Appends them if they are right for this request; false when they have to be written.
    mutating func append(to head: inout Head) -> Bool {
        // Without an authority there are three lines, and nothing to compare.
        guard lineCount == 4, isSecure == head.isSecure else { return false }
        let host = lines[3]
        let authority = head.bytes(head.authority)
        let have = count
        let start = head.text.count
        let isSame = unsafe withUnsafeBytes(of: &text) { raw in
            guard let base = raw.baseAddress else { return false }
            let bytes = unsafe Bytes(base.assumingMemoryBound(to: UInt8.self), count: have)
            guard bytes.slice(Int(host.valueStart), count: Int(host.valueCount)).equals(authority)
            else { return false }
            head.text.append(bytes)
            return true
        }
        guard isSame else { return false }
        for index in 0..<4 {
            var line = lines[index]
            line.nameStart += UInt32(truncatingIfNeeded: start)
            line.valueStart += UInt32(truncatingIfNeeded: start)
            _ = head.fields.append(line)
        }
        return true
    }

    /// Remembers the lines from `lines` on, whose text begins at `text`.
    mutating func keep(_ head: borrowing Head, text start: Int, lines first: Int) {
        lineCount = 0
        count = head.text.count - start
        guard head.fields.count - first == 4, count <= Self.capacity else { return }
        let bytes = head.text.bytes.slice(start, count: count)
        for index in 0..<count { text[index] = bytes[index] }
        for index in 0..<4 {
            var line = head.fields[first + index]
            line.nameStart -= UInt32(truncatingIfNeeded: start)
            line.valueStart -= UInt32(truncatingIfNeeded: start)
            lines[index] = line
        }
        lineCount = 4
        isSecure = head.isSecure
    }
}
