// What a Host field or the authority of an absolute target may look like (RFC 9110 §7.2).

/// `uri-host [ ":" port ]` of RFC 3986 §3.2, without userinfo.
enum AuthorityGrammar {
    /// Whether an authority is well formed and short enough to be a name.
    ///
    /// A registered name may hold what RFC 3986 allows except the comma, which would make two
    /// joined Host lines look like one; an IP literal is IPv6 in brackets without a zone.
    @inline(__always)
    static func isValid(_ text: Bytes) -> Bool {
        let end = unsafe text.base + text.count
        let stop = unsafe ByteScan.endOfUnreserved(text.base, end) - text.base
        guard stop > 0, stop == text.count, stop <= Limits.hostBytes + 1 else {
            return isValidInDetail(text, plain: stop)
        }
        return true
    }

    @inline(never)
    private static func isValidInDetail(_ text: Bytes, plain: Int) -> Bool {
        guard !text.isEmpty else { return false }
        var end = plain
        if text[0] == UInt8(ascii: "[") {
            guard let literal = endOfLiteral(text) else { return false }
            end = literal
        } else {
            while end < text.count, text[end] != UInt8(ascii: ":") {
                guard let next = endOfNamePart(text, end) else { return false }
                end = next
            }
        }
        guard end > 0, end <= Limits.hostBytes + 1 else { return false }
        guard end < text.count else { return true }
        return isPort(text.dropFirst(end))
    }

    /// The index after one character or percent triplet of a registered name.
    private static func endOfNamePart(_ text: Bytes, _ index: Int) -> Int? {
        switch text[index] {
        case let byte where ByteScan.isUnreserved(byte): return index + 1
        case UInt8(ascii: "!"), UInt8(ascii: "$"), UInt8(ascii: "&"), UInt8(ascii: "'"),
            UInt8(ascii: "("), UInt8(ascii: ")"), UInt8(ascii: "*"), UInt8(ascii: "+"),
            UInt8(ascii: ";"), UInt8(ascii: "="):
            return index + 1
        case UInt8(ascii: "%"):
            guard index + 2 < text.count, ASCII.hexValue(text[index + 1]) != nil,
                ASCII.hexValue(text[index + 2]) != nil
            else { return nil }
            return index + 3
        default: return nil
        }
    }

    /// The index after the closing bracket of an IPv6 literal.
    private static func endOfLiteral(_ text: Bytes) -> Int? {
        // 45 characters hold the longest IPv6 address, one with an embedded IPv4 address.
        guard let close = text.firstIndex(of: UInt8(ascii: "]")), close >= 3, close <= 46 else {
            return nil
        }
        var colons = 0
        for index in 1..<close {
            let byte = text[index]
            if byte == UInt8(ascii: ":") {
                colons += 1
            } else if ASCII.hexValue(byte) == nil, byte != UInt8(ascii: ".") {
                return nil
            }
        }
        return colons >= 2 && colons <= 8 ? close + 1 : nil
    }

    /// A colon and up to five digits that make a port; the digits may be missing.
    private static func isPort(_ text: Bytes) -> Bool {
        guard text[0] == UInt8(ascii: ":"), text.count <= 6 else { return false }
        guard text.count > 1 else { return true }
        guard let port = text.dropFirst(1).decimal() else { return false }
        return port <= 65535
    }
}
