import Testing

@testable import Edge

@Suite("Free blocks") struct FreeBlocksTests {
    @Test("come back last in, first out, and none beyond the room there is")
    func order() {
        var free = FreeBlocks(capacity: 3)
        let blocks = unsafe (0..<4).map { _ in
            UnsafeMutableRawPointer.allocate(byteCount: 16, alignment: 16)
        }
        defer { for index in 0..<4 { unsafe blocks[index].deallocate() } }
        #expect(unsafe free.pop() == nil)
        for index in 0..<3 { #expect(unsafe free.push(blocks[index])) }
        #expect(unsafe !free.push(blocks[3]))
        var seen = 0
        unsafe free.forEach { _ in seen += 1 }
        #expect(seen == 3)
        for index in [2, 1, 0] { #expect(unsafe free.pop() == blocks[index]) }
        #expect(unsafe free.pop() == nil)
    }
}
