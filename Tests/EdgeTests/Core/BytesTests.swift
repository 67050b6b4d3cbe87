import Testing

@testable import Edge

@Suite("Bytes compared without case") struct BytesTests {
    /// Every length that takes another way through the words, around 4, 8 and 16.
    @Test("are equal when only the case of letters differs", arguments: 0...26)
    func equal(count: Int) {
        let lower = Array("x-forwarded-for1:/=abcdefghij".utf8.prefix(count))
        let upper = lower.map { $0 >= 0x61 && $0 <= 0x7A ? $0 - 0x20 : $0 }
        lower.withBytes { lower in
            upper.withBytes { #expect($0.equalsIgnoringCase(lower)) }
            #expect(lower.equalsIgnoringCase(lower))
        }
    }

    /// A byte with bit 5 changed is the other case of a letter, and of nothing else.
    @Test("differ by any other byte, wherever it stands", arguments: 1...26)
    func different(count: Int) {
        let lower = Array("x-forwarded-for1:/=abcdefghij".utf8.prefix(count))
        lower.withBytes { literal in
            for place in 0..<count {
                let isLetter = lower[place] >= 0x61 && lower[place] <= 0x7A
                for value in UInt8.min...UInt8.max where value != lower[place] {
                    if isLetter, value == lower[place] - 0x20 { continue }
                    var other = lower
                    other[place] = value
                    #expect(!other.withBytes { $0.equalsIgnoringCase(literal) })
                }
            }
        }
    }

    @Test("are recognised as the names they are, in any case, and carry their own text")
    func names() {
        for code in UInt8.min...UInt8.max {
            guard let name = FieldName(rawValue: code), let text = name.text else { continue }
            let lower = Bytes(text)
            let upper = lower.array.map { $0 >= 0x61 && $0 <= 0x7A ? $0 - 0x20 : $0 }
            #expect(FieldName(lower) == name)
            #expect(upper.withBytes { FieldName($0) } == name)
        }
    }
}
