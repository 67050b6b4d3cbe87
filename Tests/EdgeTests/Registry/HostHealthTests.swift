// When a host's breaker opens, who probes, and when it closes.

import Testing

@testable import Edge

@Suite("A host's breaker") struct HostHealthTests {
    private let policy = HealthPolicy()

    private func at(_ milliseconds: Int64) -> Instant {
        Instant(nanoseconds: 1_000_000_000_000 + milliseconds * 1_000_000)
    }

    /// Five failures in a row.
    private func openedAt(_ time: Instant, _ health: borrowing HostHealth) {
        for _ in 0..<4 {
            #expect(whether(!health.failed(.init(), requests: 100, policy, now: time, jitter: 0)))
        }
        #expect(whether(health.failed(.init(), requests: 100, policy, now: time, jitter: 0)))
    }

    @Test("opens at five failures in a row, and an answer in between begins anew")
    func consecutive() {
        let health = HostHealth()
        for _ in 0..<4 {
            #expect(whether(!health.failed(.init(), requests: 9, policy, now: at(0), jitter: 0)))
        }
        #expect(health.failuresInARow == 4)
        health.succeeded(isProbe: false)
        #expect(health.failuresInARow == 0 && health.isClosed)
        openedAt(at(0), health)
        #expect(health.state == .open(until: at(1000)))
    }

    @Test("refuses until its time has passed, then lets one request through")
    func halfOpen() {
        let health = HostHealth()
        openedAt(at(0), health)
        #expect(health.admit(now: at(1)) == .refused(.milliseconds(999)))
        #expect(health.admit(now: at(999)) == .refused(.milliseconds(1)))
        #expect(health.admit(now: at(1000)) == .probes)
        #expect(health.state == .halfOpen)
        #expect(health.admit(now: at(1000)) == .refused(.seconds(1)))
        #expect(health.admit(now: at(9000)) == .refused(.seconds(1)))
        health.succeeded(isProbe: true)
        #expect(health.state == .closed)
        #expect(health.admit(now: at(9000)) == .passes)
    }

    @Test("stays open twice as long after each probe that fails, and one second after recovery")
    func backOff() {
        let health = HostHealth()
        openedAt(at(0), health)
        var now = at(1000)
        for seconds: Int64 in [2, 4, 8, 16, 30, 30] {
            #expect(health.admit(now: now) == .probes)
            #expect(
                whether(
                    health.failed(.init(isProbe: true), requests: 100, policy, now: now, jitter: 0))
            )
            #expect(health.state == .open(until: now + .seconds(seconds)))
            now = now + .seconds(seconds)
        }
        #expect(health.admit(now: now) == .probes)
        health.succeeded(isProbe: true)
        openedAt(now, health)
        #expect(health.state == .open(until: now + .seconds(1)))
    }

    @Test("jitter adds up to a quarter, whatever the number")
    func jitter() {
        var random = SplitMix(state: 4)
        for times in 0..<8 {
            let least = HostHealth.openTime(policy, times: times, jitter: 0)
            for _ in 0..<100 {
                let span = HostHealth.openTime(policy, times: times, jitter: random.next())
                #expect(span >= least)
                #expect(span.nanoseconds <= least.nanoseconds / 4 * 5)
            }
        }
        #expect(HostHealth.openTime(policy, times: .max, jitter: 0) == .seconds(30))
    }

    @Test("what was sent before it opened changes nothing any more")
    func stragglers() {
        let health = HostHealth()
        openedAt(at(0), health)
        #expect(whether(!health.failed(.init(), requests: 100, policy, now: at(900), jitter: 0)))
        health.succeeded(isProbe: false)
        #expect(health.state == .open(until: at(1000)))
        #expect(health.admit(now: at(1000)) == .probes)
        #expect(whether(!health.failed(.init(), requests: 100, policy, now: at(1000), jitter: 0)))
        health.succeeded(isProbe: false)
        #expect(health.state == .halfOpen)
    }

    @Test("a probe whose client leaves hands the turn to the next request")
    func abandoned() {
        let health = HostHealth()
        openedAt(at(0), health)
        #expect(health.admit(now: at(1500)) == .probes)
        health.abandoned(now: at(1600))
        #expect(health.admit(now: at(1600)) == .probes)
        health.succeeded(isProbe: true)
        health.abandoned(now: at(1700))
        #expect(whether(health.isClosed))
    }

    @Test("opens when half of twenty requests fail within ten seconds")
    func rate() {
        let health = HostHealth()
        var requests: UInt64 = 1000
        // Two of three fail, so never five in a row.
        func step(_ now: Instant) -> Bool {
            requests += 3
            let first = health.failed(.init(), requests: requests - 1, policy, now: now, jitter: 0)
            let second = health.failed(.init(), requests: requests, policy, now: now, jitter: 0)
            if !first, !second { health.succeeded(isProbe: false) }
            return first || second
        }
        var opened: [Int] = []
        for turn in 0..<7 where step(at(Int64(turn) * 100)) { opened.append(turn) }
        #expect(opened == [6], "with the twentieth request")
    }

    @Test("few requests, or few failures among many, do not open it")
    func rateNotReached() {
        let health = HostHealth()
        // One of three within the window, for long.
        for turn: UInt64 in 0..<200 {
            #expect(
                whether(
                    !health.failed(
                        .init(), requests: turn * 3 + 1, policy, now: at(Int64(turn) * 50),
                        jitter: 0)))
            health.succeeded(isProbe: false)
        }
        // All but one fail, but only ten in each window.
        let slow = HostHealth()
        for turn: UInt64 in 0..<100 {
            #expect(
                whether(
                    !slow.failed(
                        .init(), requests: turn, policy, now: at(Int64(turn) * 1100), jitter: 0)))
            if turn % 4 == 3 { slow.succeeded(isProbe: false) }
        }
    }

    @Test("connections that were not made count as requests too")
    func unsent() {
        let health = HostHealth()
        var opened = 0
        for turn in 0..<20 {
            if turn % 4 == 3 { health.succeeded(isProbe: false) }
            if health.failed(
                .init(wasSent: false), requests: 50, policy, now: at(0), jitter: 0)
            {
                opened = turn + 1
            }
        }
        #expect(opened == 20)
    }

    @Test(
        "statuses that are failures",
        arguments: [
            (FailureStatuses.none, []), (.gateway, [502, 503, 504]),
            (.all, [500, 501, 502, 503, 504, 599]),
        ] as [(FailureStatuses, [UInt16])])
    func statuses(_ statuses: FailureStatuses, _ failures: [UInt16]) {
        let some: [UInt16] = [101, 200, 404, 429, 499, 500, 501, 502, 503, 504, 599, 600, 999]
        #expect(some.filter { statuses.contains($0) } == failures)
    }

    @Test("of many threads, one opens it and one probes")
    func once() async {
        let key = UpstreamKey(isSecure: false, port: 80, protocols: .http1)
        let client = HostClient(
            identity: UpstreamIdentity(number: 1, key: key, tls: nil), host: Bytes("a"),
            hasher: ByteHash(seed: 1), isPooled: true)
        let policy = policy
        for turn: Int64 in 0..<50 {
            let now = at(turn * 100_000)
            let (opened, probes) = await withTaskGroup(of: (Int, Int).self) { group in
                for _ in 0..<8 {
                    group.addTask {
                        var opened = 0, probes = 0
                        for _ in 0..<5
                        where client.record[].health.failed(
                            .init(), requests: 1, policy, now: now, jitter: 0)
                        { opened += 1 }
                        for _ in 0..<5
                        where client.record[].health.admit(now: now + .seconds(2)) == .probes {
                            probes += 1
                        }
                        return (opened, probes)
                    }
                }
                return await group.reduce((0, 0)) { ($0.0 + $1.0, $0.1 + $1.1) }
            }
            #expect(opened == 1 && probes == 1)
            client.record[].health.succeeded(isProbe: true)
        }
    }
}
