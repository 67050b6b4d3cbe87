import Testing

@testable import Edge

@Suite("The gauge of ClientHellos") struct HelloGaugeTests {
    private func record(_ body: [UInt8], type: UInt8 = 22) -> [UInt8] {
        [type, 3, 1, UInt8(body.count >> 8), UInt8(body.count & 255)] + body
    }

    private func message(_ type: UInt8, announced: Int, actual: Int) -> [UInt8] {
        [type, UInt8(announced >> 16), UInt8(announced >> 8 & 255), UInt8(announced & 255)]
            + [UInt8](repeating: 1, count: actual)
    }

    /// Feeds the bytes in pieces of so many.
    private func gauge(_ bytes: [UInt8], pieces: Int) -> (first: Bool, second: Bool) {
        var gauge = HelloGauge()
        var start = 0
        while start < bytes.count {
            let end = min(start + pieces, bytes.count)
            Array(bytes[start..<end]).withBytes { gauge.read($0) }
            start = end
        }
        return (gauge.isFirstTooLarge, gauge.isSecondTooLarge)
    }

    @Test("sees the first one's size, however it arrives", arguments: [1, 2, 5, 7, 4096])
    func first(pieces: Int) {
        let most = HelloGauge.mostBytes
        for (announced, isTooLarge) in [(0, false), (most, false), (most + 1, true)] {
            let hello = message(1, announced: announced, actual: min(announced, 20))
            #expect(gauge(record(hello), pieces: pieces) == (isTooLarge, false))
            // Four records for the header, an empty one and another kind between them.
            let header = hello.prefix(4).flatMap {
                record([$0]) + record([]) + record([9], type: 20)
            }
            #expect(gauge(header, pieces: pieces) == (isTooLarge, false))
        }
    }

    @Test("sees the second one's size behind the whole of the first", arguments: [1, 3, 4096])
    func second(pieces: Int) {
        let first = record(message(1, announced: 300, actual: 300))
        let second = message(1, announced: 0xFFFF, actual: 4)
        #expect(gauge(first + record(second), pieces: pieces) == (false, true))
        #expect(
            gauge(first + record([1], type: 20) + record(second), pieces: pieces) == (false, true))
        let other = message(16, announced: 0xFFFF, actual: 4)
        #expect(gauge(first + record(other), pieces: pieces) == (false, false))
        #expect(gauge(first + record(other) + record(second), pieces: pieces) == (false, false))
        // What stands within a message is no header.
        let inside =
            message(1, announced: 300, actual: 0) + second.prefix(8)
            + [UInt8](repeating: 0, count: 292)
        #expect(gauge(record(inside), pieces: pieces) == (false, false))
    }

    @Test("takes any bytes")
    func noise() {
        var random = SplitMix(state: 7)
        for _ in 0..<2000 {
            let bytes = (0..<Int.random(in: 0..<200, using: &random)).map { _ in
                UInt8.random(in: 0...255, using: &random)
            }
            _ = gauge(bytes, pieces: Int.random(in: 1..<20, using: &random))
        }
    }
}
