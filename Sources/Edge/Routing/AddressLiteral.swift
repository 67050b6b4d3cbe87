// IP addresses as text: dotted IPv4 and RFC 4291 IPv6.

/// An IP address, always as 128 bits; IPv4 stands in the last 32 of them.
struct AddressLiteral: Hashable, BitwiseCopyable, Sendable {
    let isIPv4: Bool
    let high: UInt64
    let low: UInt64

    init(isIPv4: Bool, high: UInt64, low: UInt64) {
        self.isIPv4 = isIPv4
        self.high = high
        self.low = low
    }

    /// Reads an address without brackets, port or zone; nil when it is none.
    init?(_ text: Bytes) {
        if text.firstIndex(of: UInt8(ascii: ":")) == nil {
            guard let value = Self.ipv4(text) else { return nil }
            self.init(isIPv4: true, high: 0, low: UInt64(value))
        } else {
            guard let value = Self.ipv6(text) else { return nil }
            self.init(isIPv4: false, high: value.high, low: value.low)
        }
    }

    /// Takes 4 or 16 bytes in network order; nil for any other number.
    init?(network: Bytes) {
        guard network.count == 4 || network.count == 16 else { return nil }
        var high: UInt64 = 0
        var low: UInt64 = 0
        for index in 0..<network.count {
            high = high << 8 | low >> 56
            low = low << 8 | UInt64(network[index])
        }
        self.init(isIPv4: network.count == 4, high: high, low: low)
    }

    /// Four decimal numbers without leading zeros.
    private static func ipv4(_ text: Bytes) -> UInt32? {
        var value: UInt32 = 0
        var start = 0
        for part in 0..<4 {
            let end =
                part < 3 ? text.firstIndex(of: UInt8(ascii: "."), from: start) : text.count
            guard let end, end > start, end - start <= 3 else { return nil }
            let digits = text.slice(start, count: end - start)
            guard let number = digits.decimal(), number <= 255,
                digits.count == 1 || digits[0] != UInt8(ascii: "0")
            else { return nil }
            value = value << 8 | UInt32(number)
            start = end + 1
        }
        return value
    }

    private static func ipv6(_ text: Bytes) -> (high: UInt64, low: UInt64)? {
        let colon = UInt8(ascii: ":")
        var groups: [8 of UInt16] = .init(repeating: 0)
        var count = 0
        var gap: Int?
        var index = 0
        if text.count >= 2, text[0] == colon {
            guard text[1] == colon else { return nil }
            gap = 0
            index = 2
        }
        while index < text.count {
            guard count < 8 else { return nil }
            let end = text.firstIndex(of: colon, from: index) ?? text.count
            let part = text.slice(index, count: end - index)
            if end == text.count, part.firstIndex(of: UInt8(ascii: ".")) != nil {
                guard count <= 6, let tail = ipv4(part) else { return nil }
                groups[count] = UInt16(tail >> 16)
                groups[count + 1] = UInt16(truncatingIfNeeded: tail)
                count += 2
                index = end
                break
            }
            guard let group = hexadecimal(part) else { return nil }
            groups[count] = group
            count += 1
            index = end
            guard index < text.count else { break }
            index += 1
            guard index < text.count else { return nil }
            if text[index] == colon {
                guard gap == nil else { return nil }
                gap = count
                index += 1
            }
        }
        guard gap == nil ? count == 8 : count < 8 else { return nil }
        let shift = 8 - count
        var high: UInt64 = 0
        var low: UInt64 = 0
        for position in 0..<8 {
            var group: UInt16 = 0
            if let gap {
                if position < gap { group = groups[position] }
                if position >= gap + shift { group = groups[position - shift] }
            } else {
                group = groups[position]
            }
            high = high << 16 | low >> 48
            low = low << 16 | UInt64(group)
        }
        return (high, low)
    }

    private static func hexadecimal(_ text: Bytes) -> UInt16? {
        guard !text.isEmpty, text.count <= 4 else { return nil }
        var value: UInt16 = 0
        for index in 0..<text.count {
            guard let digit = ASCII.hexValue(text[index]) else { return nil }
            value = value << 4 | UInt16(digit)
        }
        return value
    }
}
