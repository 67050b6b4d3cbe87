// Which protocols a client may ask the next hop to switch to (RFC 9110 §7.8).

/// The names in an Upgrade field.
enum UpgradeProtocols {
    /// Whether a list of protocols may be passed on: well formed, and without any HTTP or TLS.
    ///
    /// Behind `h2c` a client could send requests that this proxy never sees, past its routes.
    static func areAdmitted(_ list: Bytes) -> Bool {
        var count = 0
        var isAdmitted = true
        list.forEachListElement { element in
            count += 1
            isAdmitted = isAdmitted && self.isAdmitted(element)
        }
        return count > 0 && isAdmitted
    }

    /// Whether `chosen` is one of `offered`: a server may switch to nothing else.
    static func contain(_ offered: Bytes, _ chosen: Bytes) -> Bool {
        var isOffered = false
        offered.forEachListElement { element in
            isOffered = isOffered || element.equalsIgnoringASCIICase(chosen)
        }
        return isOffered
    }

    /// `name [ "/" version ]`, both of them tokens.
    private static func isAdmitted(_ element: Bytes) -> Bool {
        let slash = element.firstIndex(of: UInt8(ascii: "/")) ?? element.count
        let name = element.prefix(slash)
        guard isToken(name) else { return false }
        if slash < element.count, !isToken(element.dropFirst(slash + 1)) { return false }
        return !name.equalsIgnoringCase("h2c") && !name.equalsIgnoringCase("h2")
            && !name.equalsIgnoringCase("http") && !name.equalsIgnoringCase("tls")
    }

    private static func isToken(_ text: Bytes) -> Bool {
        for index in 0..<text.count where !ASCII.isToken(text[index]) { return false }
        return !text.isEmpty
    }
}
