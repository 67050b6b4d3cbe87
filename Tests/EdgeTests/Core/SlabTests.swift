import Testing

@testable import Edge

@Suite("A slab") struct SlabTests {
    @Test("stops resolving a token at retirement and reuses the slot after reaping")
    func generations() throws {
        var slab = Slab<Int>(kind: .front, capacity: 2)
        var first = Token.none
        let one = slab.insert { token in
            first = token
            return 1
        }
        #expect(one?[] == 1)
        #expect(slab.insert { _ in 2 } != nil)
        #expect(slab.insert { _ in 3 } == nil)
        slab.retire(first)
        #expect(slab.resolve(first) == nil)
        #expect(slab.insert { _ in 3 } == nil, "a retired slot is not free before it is reaped")
        slab.reap()
        var second = Token.none
        #expect(
            slab.insert { token in
                second = token
                return 4
            } != nil)
        #expect(second.slot == first.slot)
        #expect(second != first)
        #expect(slab.resolve(second)?[] == 4)
        #expect(slab.count == 2)
        #expect(slab.resolve(.none) == nil)
    }
}
