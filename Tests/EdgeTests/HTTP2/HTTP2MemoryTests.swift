// What happens to blocks, and to the session that wanted one, when there are none.

import Testing

@testable import Edge

@Suite("HTTP/2 memory that runs out") struct HTTP2MemoryTests {
    /// More than any system has.
    private static let tooMuch = Int.max / 2

    @Test("what is given back then keeps its contents, stays unlent and counts once, even if twice")
    func withheldBlocks() throws {
        let memory = Ref.allocate(HTTP2Memory())
        defer { memory.destroy() }
        let first = try unsafe #require(memory[].take(100))
        let second = try unsafe #require(memory[].take(100))
        let used = memory[].bytesInUse
        unsafe first.storeBytes(of: 0x1122_3344_5566_7788, as: UInt64.self)
        #expect(unsafe memory[].take(Self.tooMuch) == nil)
        #expect(memory[].isExhausted && memory[].bytesInUse == used)
        unsafe memory[].give(first)
        unsafe memory[].give(second)
        unsafe memory[].give(first)
        #expect(unsafe first.load(as: UInt64.self) == 0x1122_3344_5566_7788)
        let third = try unsafe #require(memory[].take(100))
        #expect(unsafe third != first && third != second)
        #expect(memory[].bytesInUse == used / 2 * 3)
        memory[].recover()
        #expect(!memory[].isExhausted && memory[].bytesInUse == used / 2)
        let fourth = try unsafe #require(memory[].take(100))
        let fifth = try unsafe #require(memory[].take(100))
        #expect(unsafe fourth != fifth)
        unsafe memory[].give(third)
        unsafe memory[].give(fourth)
        unsafe memory[].give(fifth)
        #expect(memory[].bytesInUse == 0)
    }

    @Test("large blocks begin pages of their own, and come back whole")
    func largeBlocks() throws {
        let memory = Ref.allocate(HTTP2Memory())
        defer { memory.destroy() }
        for size in [4096, 8176, 8177, 16_410, 20_464, 20_465, 70_000] {
            let first = try unsafe #require(memory[].take(size))
            let second = try unsafe #require(memory[].take(size))
            unsafe first.initializeMemory(as: UInt8.self, repeating: 1, count: size)
            unsafe second.initializeMemory(as: UInt8.self, repeating: 2, count: size)
            let larger = try unsafe #require(memory[].resize(first, size + 5000))
            #expect(unsafe larger.load(fromByteOffset: size - 1, as: UInt8.self) == 1)
            #expect(unsafe second.load(as: UInt8.self) == 2)
            if size > 8176 { #expect(UInt(bitPattern: second) % 4096 == 16) }
            unsafe memory[].give(larger)
            unsafe memory[].give(second)
            #expect(memory[].bytesInUse == 0)
        }
    }

    @Test("a session that wanted a block ends, whatever nghttp2 made of it, and gives all back")
    func endOfSession() throws {
        let wire = HTTP2Wire()
        let outlet = wire.outlet(1, [UInt8](repeating: 7, count: 5000), ended: false)
        let stream = try #require(wire.request(wire.head(method: "POST"), outlet))
        wire.pump()
        let used = wire.memory[].bytesInUse
        #expect(unsafe wire.memory[].take(Self.tooMuch) == nil)
        wire.client.session[].ping()
        #expect(wire.client.session[].hasFailed && wire.client.session[].isFinished)
        #expect(!wire.memory[].isExhausted && wire.memory[].bytesInUse < used)
        // Nothing of this may reach nghttp2 any more.
        wire.append([1], to: outlet, on: wire.client, ends: true)
        wire.client.session[].reset(stream, code: HTTP2Code.cancel)
        wire.client.session[].detach(stream)
        #expect(wire.request(wire.head(), nil) == nil)
        #expect(!wire.carry(wire.client, wire.server, 1000))
        // The other one goes on.
        wire.server.session[].goAway(code: HTTP2Code.noError)
        #expect(wire.server.session[].wantsWrite && !wire.server.session[].hasFailed)
        #expect(wire.tearDown() == [0, 0, 0])
    }

    @Test("a block that was missing within a read ends its session, as want of memory")
    func missedWithinRead() throws {
        let wire = HTTP2Wire()
        _ = try #require(wire.request(wire.head(), nil))
        var queue = ByteQueue(pool: wire.pool)
        _ = try wire.client.session[].write(into: &queue, upTo: 10_000)
        let bytes = queue.bytes.array
        queue.removeAll()
        #expect(unsafe wire.memory[].take(Self.tooMuch) == nil)
        wire.feed(bytes, wire.server)
        #expect(wire.server.failure?.isOutOfMemory == true)
        #expect(wire.server.session[].hasFailed && !wire.memory[].isExhausted)
        #expect(wire.tearDown() == [0, 0, 0])
    }
}
