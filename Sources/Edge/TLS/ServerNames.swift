// Which certificate a name leads to: exact names first, then one-label wildcards.

/// A hash table from host names to small numbers; built once, read without allocation.
///
/// `*.example.com` is kept as `.example.com`, so that a wildcard look-up is the name without its
/// first label. Keys are in lower case and without a trailing dot.
struct ServerNames: Sendable {
    private struct Entry {
        var hash: UInt64
        var start: UInt32
        var count: UInt32
        var value: Int32
    }

    private var entries: [Entry]
    private var text: [UInt8] = []
    private let hash: ByteHash
    private let mask: Int

    /// A table of the names with their values; of equal names the first one stays.
    init(_ names: [(name: [UInt8], value: Int32)], hash: ByteHash) {
        var capacity = 8
        while capacity < names.count * 2 { capacity *= 2 }
        mask = capacity - 1
        self.hash = hash
        entries = Array(
            repeating: Entry(hash: 0, start: 0, count: 0, value: -1), count: capacity)
        for (name, value) in names { insert(name, value) }
    }

    private mutating func insert(_ name: [UInt8], _ value: Int32) {
        let code = name.withBytes { hash.hash($0) }
        var index = Int(truncatingIfNeeded: code) & mask
        while entries[index].value >= 0 {
            if name.withBytes({ matches(entries[index], code, $0) }) { return }
            index = (index + 1) & mask
        }
        entries[index] = Entry(
            hash: code, start: UInt32(text.count), count: UInt32(name.count), value: value)
        text += name
    }

    private func matches(_ entry: Entry, _ code: UInt64, _ name: Bytes) -> Bool {
        guard entry.hash == code, Int(entry.count) == name.count else { return false }
        return text.withBytes {
            $0.slice(Int(entry.start), count: name.count).equals(name)
        }
    }

    private func value(of name: Bytes) -> Int32? {
        let code = hash.hash(name)
        var index = Int(truncatingIfNeeded: code) & mask
        while entries[index].value >= 0 {
            if matches(entries[index], code, name) { return entries[index].value }
            index = (index + 1) & mask
        }
        return nil
    }

    /// The value of a host name in any case, with or without a trailing dot; nil: not covered.
    func find(_ host: Bytes) -> Int32? {
        var count = host.count
        if count > 0, host[count - 1] == UInt8(ascii: ".") { count -= 1 }
        guard count > 0, count <= Limits.hostBytes, host[0] != UInt8(ascii: ".") else { return nil }
        return unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: count) { buffer in
            for index in 0..<count { unsafe buffer[index] = ASCII.lowercase(host[index]) }
            guard let base = buffer.baseAddress else { return nil }
            let name = unsafe Bytes(base, count: count)
            if let exact = value(of: name) { return exact }
            guard let dot = name.firstIndex(of: UInt8(ascii: ".")) else { return nil }
            return value(of: name.dropFirst(dot))
        }
    }
}

/// An IP address in 16 bytes; IPv4 is mapped (RFC 4291 §2.5.5.2).
struct AddressBytes: Equatable, Sendable, BitwiseCopyable {
    private var high: UInt64 = 0
    private var low: UInt64 = 0

    /// From the 4 or 16 bytes of a certificate.
    init?(raw: Bytes) {
        switch raw.count {
        case 4:
            low = 0xFFFF
            for index in 0..<4 { low = low << 8 | UInt64(raw[index]) }
        case 16:
            for index in 0..<8 {
                high = high << 8 | UInt64(raw[index])
                low = low << 8 | UInt64(raw[index + 8])
            }
        default: return nil
        }
    }

    /// Lends the 4 or 16 bytes as a certificate has them.
    func withRaw<Result>(_ body: (Bytes) -> Result) -> Result {
        let isMapped = high == 0 && low >> 32 == 0xFFFF
        var raw = (high.bigEndian, low.bigEndian)
        return unsafe withUnsafeBytes(of: &raw) { buffer in
            let bytes = unsafe Bytes(
                buffer.bindMemory(to: UInt8.self).baseAddress ?? Bytes.empty.base, count: 16)
            return body(isMapped ? bytes.dropFirst(12) : bytes)
        }
    }

    /// From text: dotted quads, or IPv6 with or without brackets (RFC 3986 §3.2.2).
    init?(text: Bytes) {
        if let mapped = Self.quad(text) {
            low = 0xFFFF << 32 | mapped
            return
        }
        var inner = text
        if inner.count > 2, inner[0] == UInt8(ascii: "["),
            inner[inner.count - 1] == UInt8(ascii: "]")
        {
            inner = inner.slice(1, count: inner.count - 2)
        }
        guard inner.firstIndex(of: UInt8(ascii: ":")) != nil else { return nil }
        guard parseGroups(inner) else { return nil }
    }

    private static func quad(_ text: Bytes) -> UInt64? {
        var result: UInt64 = 0
        var start = 0
        for part in 0..<4 {
            let end =
                part < 3 ? text.firstIndex(of: UInt8(ascii: "."), from: start) : text.count
            guard let end, end - start >= 1, end - start <= 3,
                let number = text.slice(start, count: end - start).decimal(), number < 256,
                end - start == 1 || text[start] != UInt8(ascii: "0")
            else { return nil }
            result = result << 8 | number
            start = end + 1
        }
        return result
    }

    private mutating func parseGroups(_ text: Bytes) -> Bool {
        var groups: [8 of UInt16] = .init(repeating: 0)
        var count = 0
        var gap = -1
        var index = 0
        if text.hasPrefix(Bytes("::")) {
            gap = 0
            index = 2
        }
        while index < text.count {
            guard count < 8 else { return false }
            let end = text.firstIndex(of: UInt8(ascii: ":"), from: index) ?? text.count
            let part = text.slice(index, count: end - index)
            if end == text.count, count <= 6, let mapped = Self.quad(part) {
                groups[count] = UInt16(truncatingIfNeeded: mapped >> 16)
                groups[count + 1] = UInt16(truncatingIfNeeded: mapped)
                count += 2
                break
            }
            guard part.count >= 1, part.count <= 4 else { return false }
            for place in 0..<part.count {
                guard let digit = ASCII.hexValue(part[place]) else { return false }
                groups[count] = groups[count] << 4 | UInt16(digit)
            }
            count += 1
            index = end + 1
            guard end < text.count else { break }
            if index < text.count, text[index] == UInt8(ascii: ":") {
                guard gap < 0 else { return false }
                gap = count
                index += 1
            } else if index == text.count {
                return false
            }
        }
        guard gap < 0 ? count == 8 : count < 8 else { return false }
        for place in 0..<8 {
            let moved = 8 - count
            let value: UInt16 =
                gap < 0 || place < gap
                ? groups[place] : place < gap + moved ? 0 : groups[place - moved]
            if place < 4 {
                high = high << 16 | UInt64(value)
            } else {
                low = low << 16 | UInt64(value)
            }
        }
        return true
    }
}
