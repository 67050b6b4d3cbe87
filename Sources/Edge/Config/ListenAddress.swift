// Addresses that are listened on or asked, as the configuration writes them.

/// An address to bind: all interfaces, an IP address, or a path.
enum ListenAddress: Hashable, Sendable {
    /// All addresses of both families.
    case any(port: UInt16)
    case ip(AddressLiteral, port: UInt16)
    case unix(path: String)

    /// Reads `host:port`, `[v6]:port`, `:port` or `unix:/path`; nil when it is none of them.
    ///
    /// The only name is `localhost`, for 127.0.0.1: a listener must not depend on a resolver.
    init?(_ text: String) {
        if text.hasPrefix("unix:") {
            let path = String(text.dropFirst(5))
            // 107 bytes: what sockaddr_un holds beside its terminator.
            guard path.hasPrefix("/"), path.utf8.count <= 107, !path.utf8.contains(0) else {
                return nil
            }
            self = .unix(path: path)
            return
        }
        guard let (host, port) = splitPort(text), let port else { return nil }
        if host.isEmpty {
            self = .any(port: port)
        } else if host == "localhost" {
            self = .ip(AddressLiteral(isIPv4: true, high: 0, low: 0x7F00_0001), port: port)
        } else if let literal = hostLiteral(host) {
            self = .ip(literal, port: port)
        } else {
            return nil
        }
    }

    var port: UInt16? {
        switch self {
        case .any(let port): port
        case .ip(_, let port): port
        case .unix: nil
        }
    }

    /// Reachable from this machine only.
    var isLocal: Bool {
        switch self {
        case .any: false
        case .ip(let address, _):
            address.isIPv4
                ? address.low >> 24 == 127 : address.high == 0 && address.low == 1
        case .unix: true
        }
    }

    /// As the configuration writes it, in normal form.
    var text: String {
        switch self {
        case .any(let port): ":\(port)"
        case .ip(let address, let port): address.text(port: port)
        case .unix(let path): "unix:\(path)"
        }
    }
}

/// A DNS server: IP address and port, 53 unless given.
struct ServerAddress: Hashable, Sendable {
    let address: AddressLiteral
    let port: UInt16

    init?(_ text: String) {
        if let address = text.withBytes({ AddressLiteral($0) }) ?? hostLiteral(text) {
            self.address = address
            port = 53
        } else {
            guard let (host, port) = splitPort(text), let port, port > 0,
                let address = hostLiteral(host)
            else { return nil }
            self.address = address
            self.port = port
        }
    }

    /// `address:port`, with brackets around IPv6.
    var text: String { address.text(port: port) }
}

/// A range of addresses (CIDR).
struct AddressRange: Hashable, BitwiseCopyable, Sendable {
    private let address: AddressLiteral
    private let prefix: Int

    /// Reads `10.0.0.0/8`, `fd00::/8` or a single address; nil when bits behind the prefix are set.
    init?(_ text: String) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count <= 2, let address = String(parts[0]).withBytes({ AddressLiteral($0) })
        else { return nil }
        let width = address.isIPv4 ? 32 : 128
        var prefix = width
        if parts.count == 2 {
            guard parts[1].utf8.allSatisfy(ASCII.isDigit), parts[1].utf8.count <= 3,
                let number = Int(parts[1]), number <= width
            else { return nil }
            prefix = number
        }
        self.address = address
        self.prefix = address.isIPv4 ? prefix + 96 : prefix
        let mask = self.mask
        guard address.high & ~mask.high == 0, address.low & ~mask.low == 0 else { return nil }
    }

    private var mask: (high: UInt64, low: UInt64) {
        // Smart shifts: 64 and more give zero.
        (~(UInt64.max >> UInt64(min(prefix, 64))), ~(UInt64.max >> UInt64(max(prefix - 64, 0))))
    }

    /// Whether an address of 4 or 16 bytes in network order lies in the range.
    ///
    /// IPv4 addresses mapped into IPv6 (RFC 4291 §2.5.5.2) count as IPv4.
    func contains(_ network: Bytes) -> Bool {
        guard let other = AddressLiteral(network: network) else { return false }
        let isMapped = !other.isIPv4 && other.high == 0 && other.low >> 32 == 0xFFFF
        guard address.isIPv4 == (other.isIPv4 || isMapped) else { return false }
        let low = isMapped ? other.low & 0xFFFF_FFFF : other.low
        let mask = mask
        return other.high & mask.high == address.high && low & mask.low == address.low
    }
}

/// Splits `host:port` at the last colon; port is nil when it is not a number up to 65535.
private func splitPort(_ text: String) -> (host: String, port: UInt16?)? {
    guard let colon = text.lastIndex(of: ":") else { return nil }
    let digits = text[text.index(after: colon)...]
    let isNumber = !digits.isEmpty && digits.utf8.allSatisfy(ASCII.isDigit)
    return (String(text[..<colon]), isNumber ? UInt16(digits) : nil)
}

/// An IPv4 address, or an IPv6 address in brackets.
private func hostLiteral(_ host: String) -> AddressLiteral? {
    let isBracketed = host.hasPrefix("[") && host.hasSuffix("]") && host.utf8.count > 2
    let inner = isBracketed ? String(host.dropFirst().dropLast()) : host
    guard let literal = inner.withBytes({ AddressLiteral($0) }), literal.isIPv4 != isBracketed
    else {
        return nil
    }
    return literal
}

extension AddressLiteral {
    /// Dotted decimal, or eight groups with the longest run of zeros left out (RFC 5952).
    var text: String {
        if isIPv4 {
            let bytes = [24, 16, 8, 0].map { shift in String(low >> UInt64(shift) & 0xFF) }
            return bytes.joined(separator: ".")
        }
        var groups: [UInt64] = []
        for half in [high, low] {
            for shift in [48, 32, 16, 0] { groups.append(half >> UInt64(shift) & 0xFFFF) }
        }
        var longest = 0..<0
        var start = 0
        for index in 0...8 where index == 8 || groups[index] != 0 {
            if index - start > max(longest.count, 1) { longest = start..<index }
            start = index + 1
        }
        let texts = groups.map { String($0, radix: 16) }
        guard !longest.isEmpty else { return texts.joined(separator: ":") }
        return texts[..<longest.lowerBound].joined(separator: ":") + "::"
            + texts[longest.upperBound...].joined(separator: ":")
    }

    func text(port: UInt16) -> String { isIPv4 ? "\(text):\(port)" : "[\(text)]:\(port)" }
}
