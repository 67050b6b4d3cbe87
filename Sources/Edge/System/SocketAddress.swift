// IP addresses with ports, in a form that is small and compares fast.

import CLinux
import Glibc

/// An IPv4 or IPv6 address with its port; 24 bytes, no allocation.
struct SocketAddress: Hashable, BitwiseCopyable, Sendable {
    enum Family: UInt8, Sendable { case v4, v6, unix }

    var family: Family
    /// Host byte order.
    var port: UInt16
    var scope: UInt32 = 0
    /// The address in network byte order, v4 in the first four bytes.
    var words: (UInt64, UInt64) { (high, low) }
    private var high: UInt64
    private var low: UInt64

    /// 0.0.0.0 or ::, which no host has; to connect to it means this machine.
    var isUnspecified: Bool { family != .unix && high == 0 && low == 0 }

    /// The unnamed peer of a unix-domain socket.
    static let unix = SocketAddress(family: .unix, port: 0, high: 0, low: 0)

    private init(family: Family, port: UInt16, scope: UInt32 = 0, high: UInt64, low: UInt64) {
        self.family = family
        self.port = port
        self.scope = scope
        self.high = high
        self.low = low
    }

    /// An address from its bytes in network order: 4 of them or 16.
    init?(bytes: Bytes, port: UInt16) {
        guard bytes.count == 4 || bytes.count == 16 else { return nil }
        var high: UInt64 = 0
        var low: UInt64 = 0
        for index in 0..<min(bytes.count, 8) { high |= UInt64(bytes[index]) << UInt64(index * 8) }
        for index in 8..<max(bytes.count, 8) {
            low |= UInt64(bytes[index]) << UInt64((index - 8) * 8)
        }
        self.init(family: bytes.count == 4 ? .v4 : .v6, port: port, high: high, low: low)
    }

    /// Parses a numeric address without brackets; nil when it is a name.
    init?(numeric text: String, port: UInt16) {
        var v4 = in_addr()
        var v6 = in6_addr()
        if unsafe inet_pton(AF_INET, text, &v4) == 1 {
            self.init(family: .v4, port: port, high: UInt64(v4.s_addr), low: 0)
        } else if unsafe inet_pton(AF_INET6, text, &v6) == 1 {
            let words = unsafe unsafeBitCast(v6, to: (UInt64, UInt64).self)
            self.init(family: .v6, port: port, high: words.0, low: words.1)
        } else {
            return nil
        }
    }

    /// From what accept or getsockname filled in; an IPv4-mapped address becomes IPv4.
    init(_ storage: sockaddr_storage) {
        switch Int32(storage.ss_family) {
        case AF_INET:
            let address = unsafe unsafeBitCast(storage, to: Prefix.self)
            let high = UInt64(UInt32(truncatingIfNeeded: address.first >> 32))
            let port = UInt16(truncatingIfNeeded: address.first >> 16).byteSwapped
            self.init(family: .v4, port: port, high: high, low: 0)
        case AF_INET6:
            let address = unsafe unsafeBitCast(storage, to: Prefix.self)
            let port = UInt16(truncatingIfNeeded: address.first >> 16).byteSwapped
            if address.second == 0, UInt32(truncatingIfNeeded: address.third) == 0xFFFF_0000 {
                self.init(family: .v4, port: port, high: address.third >> 32, low: 0)
            } else {
                self.init(
                    family: .v6, port: port, scope: UInt32(truncatingIfNeeded: address.fourth),
                    high: address.second, low: address.third)
            }
        default: self = .unix
        }
    }

    private struct Prefix {
        var first: UInt64
        var second: UInt64
        var third: UInt64
        var fourth: UInt64
        var rest:
            (
                UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64,
                UInt64,
                UInt64
            )
    }

    /// Fills a kernel structure and returns its length.
    func fill(_ storage: inout sockaddr_storage) -> socklen_t {
        storage = sockaddr_storage()
        return unsafe withUnsafeMutableBytes(of: &storage) { raw in
            switch family {
            case .v4:
                unsafe raw.storeBytes(of: sa_family_t(AF_INET), as: sa_family_t.self)
                unsafe raw.storeBytes(of: port.bigEndian, toByteOffset: 2, as: UInt16.self)
                unsafe raw.storeBytes(
                    of: UInt32(truncatingIfNeeded: high), toByteOffset: 4, as: UInt32.self)
                return socklen_t(MemoryLayout<sockaddr_in>.size)
            case .v6:
                unsafe raw.storeBytes(of: sa_family_t(AF_INET6), as: sa_family_t.self)
                unsafe raw.storeBytes(of: port.bigEndian, toByteOffset: 2, as: UInt16.self)
                unsafe raw.storeBytes(of: high, toByteOffset: 8, as: UInt64.self)
                unsafe raw.storeBytes(of: low, toByteOffset: 16, as: UInt64.self)
                unsafe raw.storeBytes(of: scope, toByteOffset: 24, as: UInt32.self)
                return socklen_t(MemoryLayout<sockaddr_in6>.size)
            case .unix:
                unsafe raw.storeBytes(of: sa_family_t(AF_UNIX), as: sa_family_t.self)
                return socklen_t(MemoryLayout<sa_family_t>.size)
            }
        }
    }

    /// Writes the address without its port into `place` (46 bytes at least); returns its length.
    func write(to place: UnsafeMutablePointer<UInt8>) -> Int {
        if family == .unix {
            unsafe copyMemory(place, Bytes("unix").base, 4)
            return 4
        }
        var words = (high, low)
        return unsafe withUnsafeBytes(of: &words) { raw in
            unsafe place.withMemoryRebound(to: CChar.self, capacity: 46) { text in
                let kind = family == .v4 ? AF_INET : AF_INET6
                guard unsafe inet_ntop(kind, raw.baseAddress, text, 46) != nil else { return 0 }
                return unsafe strlen(text)
            }
        }
    }

    /// The bytes of the address, 4 or 16, in network order, for the duration of `body`.
    func withAddressBytes<Result>(_ body: (Bytes) -> Result) -> Result {
        var words = (high, low)
        return unsafe withUnsafeBytes(of: &words) { raw in
            guard let base = raw.baseAddress else { return body(.empty) }
            return unsafe body(
                Bytes(base.assumingMemoryBound(to: UInt8.self), count: family == .v4 ? 4 : 16))
        }
    }

    /// `127.0.0.1`, `::1`: the address alone, for the control plane.
    var host: String {
        unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 64) { buffer in
            guard let base = buffer.baseAddress else { return "" }
            return unsafe Bytes(base, count: write(to: base)).string
        }
    }

    /// `127.0.0.1:80`, `[::1]:80`: for the control plane.
    var text: String {
        switch family {
        case .v4: "\(host):\(port)"
        case .v6: "[\(host)]:\(port)"
        case .unix: "unix"
        }
    }
}
