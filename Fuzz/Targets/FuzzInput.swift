// Decisions taken from the bytes of an input.

/// Reads small decisions from the front of an input; zeros when it is over.
struct FuzzInput {
    private let bytes: [UInt8]
    private(set) var place = 0

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    var isAtEnd: Bool { place >= bytes.count }

    mutating func byte() -> UInt8 {
        guard place < bytes.count else { return 0 }
        place += 1
        return bytes[place - 1]
    }

    mutating func word() -> UInt16 { UInt16(byte()) << 8 | UInt16(byte()) }

    mutating func long() -> UInt32 { UInt32(word()) << 16 | UInt32(word()) }

    mutating func take(_ count: Int) -> [UInt8] {
        let end = min(place + count, bytes.count)
        defer { place = end }
        return Array(bytes[place..<end])
    }

    mutating func rest() -> [UInt8] { take(bytes.count - place) }

    /// Where to cut `count` bytes; ascending, from up to seven bytes of the input.
    ///
    /// The first byte says how many there are: none at all, one at every byte, or so many.
    mutating func cuts(of count: Int) -> [Int] {
        let number = Int(byte() & 15)
        if number == 15 { return count > 1 ? Array(1..<count) : [] }
        var cuts: [Int] = []
        for _ in 0..<number / 2 { cuts.append(count * Int(byte()) / 256) }
        return cuts.sorted()
    }
}
