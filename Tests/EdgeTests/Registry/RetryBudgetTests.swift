// How many retries a host's budget allows.

import Testing

@testable import Edge

@Suite("A host's retry budget") struct RetryBudgetTests {
    private let start = Instant(nanoseconds: 77_000_000_000_000)

    /// How many of `count` retries are allowed.
    private func taken(
        _ budget: borrowing RetryBudget, _ count: Int, after requests: UInt64,
        _ policy: RetryPolicy,
        _ now: Instant
    ) -> Int {
        var allowed = 0
        for _ in 0..<count where budget.take(requests: requests, policy, now: now) { allowed += 1 }
        return allowed
    }

    @Test("all that is in flight may be lost at once, then a fifth of the requests")
    func share() {
        let budget = RetryBudget()
        let policy = RetryPolicy(percent: 20, perSecond: 0, burst: 50)
        #expect(taken(budget, 1000, after: 0, policy, start) == 50)
        #expect(taken(budget, 1000, after: 4, policy, start) == 0)
        #expect(taken(budget, 1000, after: 100, policy, start) == 20)
        #expect(taken(budget, 1000, after: 1_000_000, policy, start) == 50, "no more is saved")
    }

    @Test("a few in each second, however few the requests")
    func perSecond() {
        let budget = RetryBudget()
        let policy = RetryPolicy(percent: 20, perSecond: 10, burst: 5)
        #expect(taken(budget, 100, after: 1, policy, start) == 5)
        #expect(taken(budget, 100, after: 1, policy, start + .milliseconds(99)) == 0)
        #expect(taken(budget, 100, after: 1, policy, start + .milliseconds(100)) == 1)
        #expect(taken(budget, 100, after: 1, policy, start + .milliseconds(400)) == 3)
        #expect(taken(budget, 100, after: 1, policy, start + .seconds(60)) == 5)
    }

    @Test("over a long time, retries stay within their share of the requests")
    func longRun() {
        let budget = RetryBudget()
        let policy = RetryPolicy(percent: 20, perSecond: 0, burst: 10)
        var retries = 0
        for request: UInt64 in 1...10_000
        where budget.take(requests: request + UInt64(retries), policy, now: start) { retries += 1 }
        // Retries are requests too: a fifth of all is a quarter of the first tries.
        #expect((2000...2512).contains(retries))
    }

    @Test("none at all, when so configured")
    func none() {
        let budget = RetryBudget()
        let policy = RetryPolicy(percent: 0, perSecond: 0, burst: 10)
        #expect(taken(budget, 10, after: 1_000_000, policy, start) == 0)
    }

    @Test("a reload to a smaller share does not end retries for good")
    func reload() {
        let budget = RetryBudget()
        let large = RetryPolicy(percent: 100, perSecond: 0, burst: 10)
        #expect(taken(budget, 100, after: 1_000_000, large, start) == 10)
        let small = RetryPolicy(percent: 10, perSecond: 0, burst: 10)
        #expect(taken(budget, 100, after: 1_000_000, small, start) == 0)
        #expect(taken(budget, 100, after: 1_000_050, small, start) == 5)
        #expect(taken(budget, 100, after: 1_000_050, large, start) == 10)
    }
}
