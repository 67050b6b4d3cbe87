import Testing

@testable import Edge

@Suite("A byte queue") struct ByteQueueTests {
    @Test("keeps order and content while it grows, moves down and runs empty")
    func keepsContent() {
        let pool = Ref.allocate(BufferPool())
        defer { pool.destroy() }
        var queue = ByteQueue(pool: pool)
        var expected: [UInt8] = []
        var next: UInt8 = 0
        for round in 0..<2000 {
            for _ in 0..<(round * 7 % 97) {
                queue.append(next)
                expected.append(next)
                next &+= 1
            }
            let taken = min(queue.count, round * 5 % 89)
            #expect(queue.bytes.prefix(taken).array == Array(expected.prefix(taken)))
            queue.consume(taken)
            expected.removeFirst(taken)
        }
        #expect(queue.bytes.array == expected)
        queue.removeAll()
        #expect(pool[].bytesInUse == 0)
    }

    @Test("writes numbers", arguments: [0, 1, 9, 10, 99, 100, 12345, UInt64.max] as [UInt64])
    func numbers(value: UInt64) {
        let pool = Ref.allocate(BufferPool())
        defer { pool.destroy() }
        var queue = ByteQueue(pool: pool)
        queue.append(decimal: value)
        queue.append(UInt8(ascii: " "))
        queue.append(hex: value)
        #expect(queue.bytes.string == "\(value) \(String(value, radix: 16))")
    }
}
