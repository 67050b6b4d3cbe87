import Testing

@testable import Edge

@Suite("A spread over addresses") struct AddressSpreadTests {
    private let now = Instant(nanoseconds: 1_000_000_000_000)

    private func addresses(_ count: Int, from first: Int = 1) -> [SocketAddress] {
        (first..<first + count).compactMap { SocketAddress(numeric: "10.0.0.\($0)", port: 80) }
    }

    private func spread(_ ranks: [(priority: UInt16, share: UInt32)]) -> AddressSpread {
        var spread = AddressSpread(turn: 0)
        spread.replace(
            with: ResolvedAddresses(
                addresses(ranks.count),
                ranks: ranks.map { ServiceRank(priority: $0.priority, share: $0.share) }))
        return spread
    }

    private func equal(_ count: Int) -> AddressSpread {
        var spread = AddressSpread(turn: 0)
        spread.replace(with: ResolvedAddresses(addresses(count)))
        return spread
    }

    /// Gives exchanges to addresses that all have an idle connection; how many each got.
    private func deal(_ spread: inout AddressSpread, _ exchanges: Int) -> [Int] {
        var counts = [Int](repeating: 0, count: spread.count)
        for _ in 0..<exchanges {
            var best = 0
            for index in 1..<spread.count where spread.precedes(index, 0, best, 0) { best = index }
            spread.took(best)
            counts[best] += 1
        }
        return counts
    }

    @Test("gives exchanges in turn, in proportion to shares")
    func shares() {
        var three = equal(3)
        #expect(deal(&three, 300) == [100, 100, 100])
        var weighted = spread([(0, 192), (0, 64), (0, 1)])
        let counts = deal(&weighted, 2570)
        #expect((1910...1930).contains(counts[0]) && (630...650).contains(counts[1]))
        #expect(counts[2] >= 9)
    }

    @Test("who joins late does not get all that it missed")
    func late() {
        var two = equal(2)
        for _ in 0..<1000 { two.took(0) }
        two.opened(1)
        let counts = deal(&two, 100)
        #expect(counts[1] <= 52, "\(counts)")
        two.replace(with: ResolvedAddresses(addresses(3)))
        two.opened(2)
        #expect(deal(&two, 300).allSatisfy { (98...102).contains($0) })
    }

    @Test("dials where there are the fewest connections, and nowhere twice in one wave")
    func dials() {
        var three = equal(3)
        for count in 1...9 {
            guard let index = three.start(now) else { return #expect(Bool(false)) }
            three.opened(index)
            #expect(three.unconnected(now) == nil || count < 3)
        }
        three.closed(1)
        #expect(three.start(now) == 1)
        var tried: UInt32 = 1 << 1
        #expect(three.next(after: 1, tried: tried, now) == 2)
        tried |= 1 << 2
        #expect(three.next(after: 2, tried: tried, now) == 0)
        #expect(three.next(after: 0, tried: tried | 1, now) == nil)
        #expect(AddressSpread(turn: 3).isEmpty)
        var none = AddressSpread(turn: 3)
        #expect(none.start(now) == nil)
    }

    @Test("passes over an address whose dials failed, for twice as long each time, up to a minute")
    func avoidance() {
        var two = equal(2)
        var later = now
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] as [Int64] {
            two.dialFailed(0, later)
            #expect(two.start(later) == 1 && two.start(later) == 1)
            #expect(two.next(after: 1, tried: 0b10, later) == 0, "when nothing else is left")
            later = later + .seconds(seconds)
            two.opened(1)
            #expect(two.unconnected(later + .milliseconds(-1)) == nil)
            #expect(two.unconnected(later) == 0)
        }
        two.dialSucceeded(0)
        two.dialFailed(0, later)
        #expect(two.unconnected(later + .seconds(1)) == 0)
    }

    @Test("goes to a later priority only when the first has nothing, and notices it")
    func priorities() {
        var tiers = spread([(1, 64), (1, 64), (2, 6400)])
        #expect(tiers.firstChoices == 2)
        for _ in 0..<4 {
            guard let index = tiers.start(now) else { return #expect(Bool(false)) }
            #expect(index < 2)
            tiers.opened(index)
        }
        #expect(!tiers.usesLaterChoices)
        tiers.dialFailed(0, now)
        tiers.dialFailed(1, now)
        #expect(tiers.start(now) == 2)
        tiers.opened(2)
        #expect(tiers.usesLaterChoices)
        #expect(tiers.precedes(0, 100, 2, 0), "a busy first choice before an idle later one")
        #expect(tiers.start(now + .seconds(1)) != 2)
    }

    @Test("other addresses are noticed, another order of the same is not")
    func difference() {
        let three = equal(3)
        #expect(!three.differs(from: ResolvedAddresses(addresses(3).reversed())))
        #expect(three.differs(from: ResolvedAddresses(addresses(2))))
        #expect(three.differs(from: ResolvedAddresses(addresses(3, from: 2))))
        let ranks = [ServiceRank](repeating: ServiceRank(priority: 0, share: 5), count: 3)
        #expect(three.differs(from: ResolvedAddresses(addresses(3), ranks: ranks)))
    }

    @Test("an address that is not in a part of an answer takes its turn with the others")
    func unknown() {
        var two = equal(2)
        #expect(two.precedes(-1, 0, 0, 1))
        two.took(0)
        #expect(two.precedes(1, 0, 0, 0))
        #expect(!two.precedes(-1, 1, 0, 0))
    }
}
