// Finding the id in a request.

/// Looks for an id in each of its places; the text it returns is not checked yet.
enum RequestID {
    /// The value of the query parameter `name`, which is compared as raw text.
    static func inQuery(_ query: Bytes, name: Bytes) throws(IDFault) -> Bytes {
        var found: Bytes?
        var start = 0
        while start <= query.count {
            let end = query.firstIndex(of: UInt8(ascii: "&"), from: start) ?? query.count
            let parameter = query.slice(start, count: end - start)
            start = end + 1
            let equals = parameter.firstIndex(of: UInt8(ascii: "=")) ?? parameter.count
            let key = parameter.prefix(equals)
            if key.equals(name) {
                guard found == nil else { throw .duplicate }
                found = parameter.dropFirst(equals + 1)
            } else if key.count > name.count, isSpelling(key, of: name) {
                throw .encodedName
            }
        }
        guard let found else { throw .missing }
        return found
    }

    /// Whether `key` is `name` with some characters percent-encoded.
    private static func isSpelling(_ key: Bytes, of name: Bytes) -> Bool {
        var index = 0
        var matched = 0
        while index < key.count {
            guard matched < name.count else { return false }
            let byte: UInt8
            if let value = key.percentDecoded(index) {
                byte = value
                index += 3
            } else {
                byte = key[index]
                index += 1
            }
            guard byte == name[matched] else { return false }
            matched += 1
        }
        return matched == name.count
    }

    /// Segment `number`, counted from 1, of a path that starts with `/`.
    static func inSegment(_ path: Bytes, number: Int) throws(IDFault) -> Bytes {
        var start = 1
        var current = 1
        while current < number {
            guard let slash = path.firstIndex(of: UInt8(ascii: "/"), from: start) else {
                throw .missing
            }
            start = slash + 1
            current += 1
        }
        let end = path.firstIndex(of: UInt8(ascii: "/"), from: start) ?? path.count
        return path.slice(start, count: end - start)
    }

    /// The value of the only line with the lower-case `name`.
    static func inField(_ head: borrowing Head, name: Bytes) throws(IDFault) -> Bytes {
        var found: Int?
        for index in 0..<head.fields.count {
            let line = head.fields[index]
            // Configured names may have any character of a token, `^` and `~` among them.
            guard head.name(line).equalsIgnoringASCIICase(name) else { continue }
            guard found == nil else { throw .duplicate }
            found = index
        }
        guard let found else { throw .missing }
        return head.value(head.fields[found])
    }

    /// The first label of an authority that is a name, not an address.
    static func inHost(_ authority: Bytes) throws(IDFault) -> Bytes {
        guard !authority.isEmpty else { throw .missing }
        guard authority[0] != UInt8(ascii: "[") else { throw .notAName }
        let hostCount = authority.firstIndex(of: UInt8(ascii: ":")) ?? authority.count
        let host = authority.prefix(hostCount)
        guard !endsInNumber(host) else { throw .notAName }
        return host.prefix(host.firstIndex(of: UInt8(ascii: ".")) ?? host.count)
    }

    /// Whether the last label consists of digits: then it is an IPv4 address, however odd.
    private static func endsInNumber(_ host: Bytes) -> Bool {
        var end = host.count
        if end > 0, host[end - 1] == UInt8(ascii: ".") { end -= 1 }
        var start = end
        while start > 0, ASCII.isDigit(host[start - 1]) { start -= 1 }
        return start < end && (start == 0 || host[start - 1] == UInt8(ascii: "."))
    }
}
