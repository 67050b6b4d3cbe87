// Sizes of memory as the configuration writes them.

/// A number of bytes; a bare integer is never a size.
struct ByteCount: Comparable, Hashable, BitwiseCopyable, Sendable {
    var bytes: Int

    static func mebibytes(_ count: Int) -> ByteCount { ByteCount(bytes: count << 20) }

    static func < (left: ByteCount, right: ByteCount) -> Bool { left.bytes < right.bytes }

    private static let units: [(name: String, shift: Int)] = [
        ("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10),
    ]

    init(bytes: Int) { self.bytes = bytes }

    /// `512MiB`: in the largest unit that divides it.
    var text: String {
        for unit in Self.units where bytes > 0 && bytes & (1 << unit.shift - 1) == 0 {
            return "\(bytes >> unit.shift)\(unit.name)"
        }
        return "\(bytes)"
    }

    /// Reads `64KiB`, `512MiB`, `2GiB`: digits and one unit.
    init?(text: String) {
        let digits = text.utf8.prefix { ASCII.isDigit($0) }.count
        guard (1...12).contains(digits), let number = Int(text.prefix(digits)),
            let unit = Self.units.first(where: { $0.name == text.dropFirst(digits) })
        else { return nil }
        let (bytes, overflow) = number.multipliedReportingOverflow(by: 1 << unit.shift)
        guard !overflow else { return nil }
        self.init(bytes: bytes)
    }
}
