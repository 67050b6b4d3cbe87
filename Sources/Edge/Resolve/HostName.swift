// Which texts are addresses, which are host names, and which are neither.

/// A host as it stands in a URL, sorted out before anything is asked.
enum HostName: Equatable {
    case numeric(SocketAddress)
    /// Lower case without the final dot; `isAbsolute` when there was one.
    case name(String, isAbsolute: Bool)
    case unusable

    /// Letters, digits, `-` and `_` in labels of 1 to 63 bytes, 253 in all (RFC 1035 §2.3.4).
    init(_ text: String) {
        let bracketed = text.hasPrefix("[") && text.hasSuffix("]") && text.utf8.count > 2
        if let address = SocketAddress(
            numeric: bracketed ? String(text.dropFirst().dropLast()) : text, port: 0)
        {
            self = !bracketed || address.family == .v6 ? .numeric(address) : .unusable
            return
        }
        var bytes = Array(text.utf8)
        let isAbsolute = bytes.last == UInt8(ascii: ".")
        if isAbsolute { bytes.removeLast() }
        guard 1...Limits.hostBytes ~= bytes.count else {
            self = .unusable
            return
        }
        var labelBytes = 0
        for index in bytes.indices {
            switch bytes[index] {
            case UInt8(ascii: "A")...UInt8(ascii: "Z"): bytes[index] |= 0x20
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
                UInt8(ascii: "-"), UInt8(ascii: "_"):
                break
            case UInt8(ascii: ".") where labelBytes > 0:
                labelBytes = 0
                continue
            default:
                self = .unusable
                return
            }
            labelBytes += 1
            guard labelBytes <= 63 else {
                self = .unusable
                return
            }
        }
        guard labelBytes > 0 else {
            self = .unusable
            return
        }
        self = .name(String(decoding: bytes, as: UTF8.self), isAbsolute: isAbsolute)
    }
}
