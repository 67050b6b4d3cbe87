// Who may take a place for an upstream connection.

import Testing

@testable import Edge

@Suite("The budget of connections") struct ConnectionBudgetTests {
    private func limits(_ most: Int, share: Int = 100) -> RegistryLimits {
        var limits = RegistryLimits()
        limits.maxConnections = most
        limits.maxShare = share
        return limits
    }

    private let identity = UpstreamIdentity(
        number: 1, key: UpstreamKey(isSecure: false, port: 80, protocols: .http1), tls: nil)

    private func host(_ name: StaticString) -> HostClient {
        HostClient(
            identity: identity, host: Bytes(name), hasher: ByteHash(seed: 1), isPooled: true)
    }

    /// Connections of a host that are begun, up to `count`.
    @discardableResult
    private func open(
        _ count: Int, _ host: HostClient, _ budget: borrowing ConnectionBudget, limit: Int = 1000
    ) -> Int {
        var opened = 0
        while opened < count, budget.hold(host.record, limit: limit) {
            guard budget.reserve() else {
                budget.letGo(host.record)
                break
            }
            opened += 1
        }
        return opened
    }

    private func close(_ host: HostClient, _ budget: borrowing ConnectionBudget) {
        budget.letGo(host.record)
        budget.release()
    }

    @Test("bounds the process, and a reload moves the bound")
    func process() {
        let budget = ConnectionBudget(limits(2))
        let host = host("a")
        #expect(open(5, host, budget) == 2)
        close(host, budget)
        #expect(open(5, host, budget) == 1)
        #expect(budget.count == 2)
        budget.setLimits(limits(4))
        #expect(open(5, host, budget) == 2)
    }

    @Test(
        "one host holds its part of all at most",
        arguments: [(100, 25, 25), (3, 25, 1), (1, 25, 1), (8, 100, 8), (10, 15, 1)])
    func part(_ most: Int, _ share: Int, _ expected: Int) {
        let budget = ConnectionBudget(limits(most, share: share))
        #expect(open(1000, host("a"), budget) == expected)
        #expect(open(1000, host("b"), budget, limit: 2) == min(2, expected, most - expected))
    }

    @Test("above its share is who holds more than all by the hosts that hold any")
    func shares() {
        let budget = ConnectionBudget(limits(12))
        let greedy = host("a")
        let modest = host("b")
        #expect(open(10, greedy, budget) == 10)
        #expect(whether(budget.isWithinShare(greedy.record)), "nobody else holds any")
        #expect(whether(budget.hasToGiveUp(greedy.record)), "but would be, with one more")
        #expect(open(2, modest, budget) == 2)
        #expect(whether(!budget.isWithinShare(greedy.record)))
        #expect(whether(budget.isWithinShare(modest.record)))
        #expect(whether(!budget.hasToGiveUp(modest.record)))
        for _ in 0..<6 { close(greedy, budget) }
        #expect(whether(!budget.hasToGiveUp(greedy.record)), "four are its share of three hosts")
        for _ in 0..<2 { close(modest, budget) }
        #expect(open(12, greedy, budget) == 8)
        #expect(whether(budget.isWithinShare(greedy.record)))
    }

    @Test("with more hosts than places, one each, given up after each exchange")
    func manyHosts() {
        let budget = ConnectionBudget(limits(2))
        let hosts = [host("a"), host("b"), host("c")]
        #expect(hosts.map { open(1, $0, budget) } == [1, 1, 0])
        #expect(whether(budget.hasToGiveUp(hosts[0].record)))
        #expect(
            whether(budget.hold(hosts[2].record, limit: 9) && budget.isWithinShare(hosts[2].record))
        )
    }

    @Test("who was turned away is told once nobody starves")
    func turnedAway() {
        let budget = ConnectionBudget(limits(2))
        #expect(whether(!budget.isContended))
        budget.beginStarving()
        budget.beginStarving()
        #expect(whether(budget.isContended && budget.turnAway()))
        #expect(whether(!budget.endStarving()))
        #expect(whether(budget.endStarving()))
        #expect(whether(!budget.isContended && !budget.turnAway()))
        budget.beginStarving()
        #expect(whether(budget.endStarving()), "it was noted in between")
        budget.beginStarving()
        #expect(whether(!budget.endStarving()), "nobody was turned away")
    }
}
