// Fields that are meant for everyone on the way, by what RFC 9110 says of them.

/// Which fields neither a Connection field may take away nor a trailer section may bring.
enum FieldRole {
    /// Whether a name steers how the message is framed, routed, authorised or read.
    ///
    /// RFC 9110 §6.5.1 keeps these out of trailers, where only some readers would heed them; §7.6.1
    /// forbids to name them in Connection, by which a client could make the next hop read another
    /// message than the proxy did. `known` is the name's own.
    static func isControl(_ name: Bytes, known: FieldName) -> Bool {
        if known != .other { return true }
        return switch name.count {
        case 3: name.equalsIgnoringCase("age")
        case 4: name.equalsIgnoringCase("vary")
        case 5: name.equalsIgnoringCase("range")
        case 6: name.equalsIgnoringCase("pragma")
        case 7: name.equalsIgnoringCase("expires")
        case 8:
            name.equalsIgnoringCase("location") || name.equalsIgnoringCase("if-match")
                || name.equalsIgnoringCase("if-range")
        case 10: name.equalsIgnoringCase("set-cookie")
        case 11: name.equalsIgnoringCase("retry-after")
        case 12:
            name.equalsIgnoringCase("content-type") || name.equalsIgnoringCase("max-forwards")
        case 13:
            name.equalsIgnoringCase("authorization") || name.equalsIgnoringCase("cache-control")
                || name.equalsIgnoringCase("content-range")
                || name.equalsIgnoringCase("if-none-match")
        case 16:
            name.equalsIgnoringCase("content-encoding")
                || name.equalsIgnoringCase("www-authenticate")
        case 17: name.equalsIgnoringCase("if-modified-since")
        case 19: name.equalsIgnoringCase("if-unmodified-since")
        default: false
        }
    }

    /// Whether a trailer section may bring a field of this name to the next hop.
    static func isAdmittedInTrailers(_ name: Bytes, known: FieldName) -> Bool {
        guard !isControl(name, known: known) else { return false }
        // Between two neighbours only (RFC 9110 §11.7).
        return switch name.count {
        case 18: !name.equalsIgnoringCase("proxy-authenticate")
        case 19: !name.equalsIgnoringCase("proxy-authorization")
        default: true
        }
    }
}
