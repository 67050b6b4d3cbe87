import Testing

@testable import Edge

@Suite("Counters") struct CountersTests {
    @Test("the layout has a cell for every case")
    func layout() {
        #expect(CounterLayout.retries == Counter.allCases.count)
        #expect(CounterLayout.errors - CounterLayout.retries == RetryVerdict.allCases.count)
        #expect(CounterLayout.timeouts - CounterLayout.errors == ErrorReason.allCases.count)
        #expect(CounterLayout.oddities - CounterLayout.timeouts == TimeoutKind.allCases.count)
        #expect(CounterLayout.floods - CounterLayout.oddities == Oddity.allCases.count)
        #expect(CounterLayout.refusals - CounterLayout.floods == Oddity.allCases.count)
        #expect(
            CounterLayout.durations - CounterLayout.refusals == ConnectionRefusal.allCases.count)
        #expect(CounterLayout.opened - CounterLayout.closed == LedgerKind.allCases.count)
        #expect(CounterLayout.closed < CounterLayout.opened)
    }

    @Test("are summed over workers, the control plane and the log's thread")
    func sums() {
        let counters = Counters(workers: 3)
        counters[0].add(.frontAccepted)
        counters[2].add(.frontAccepted, 4)
        counters.control.add(.reloadsFailed)
        counters.logWriter.add(.accessLogLines, 7)
        let totals = counters.totals()
        #expect(totals[.frontAccepted] == 5)
        #expect(totals[.reloadsFailed] == 1)
        #expect(totals[.accessLogLines] == 7)
        #expect(totals[.frontClosed] == 0)
    }

    @Test("keep requests by protocol and exact status, and all odd statuses in one cell")
    func requests() {
        let counters = Counters(workers: 1)
        let worker = counters[0]
        worker.request(.http2, status: 200, took: .microseconds(10))
        worker.request(.http2, status: 599, took: .milliseconds(1))
        worker.request(.http11, status: 100, took: .microseconds(1001))
        for status in [0, -1, 99, 600, 999, Int.max, Int.min] {
            worker.request(.http10, status: status, took: .seconds(100))
        }
        let totals = counters.totals()
        #expect(totals.requests(.http2, status: 200) == 1)
        #expect(totals.requests(.http2, status: 599) == 1)
        #expect(totals.requests(.http11, status: 100) == 1)
        #expect(totals.requests(.http11, status: 200) == 0)
        #expect(totals.requests(.http10, status: 0) == 7)
        #expect(totals.durations(0) == 2)
        #expect(totals.durations(1) == 1)
        #expect(totals.durations(15) == 7)
    }

    @Test("buckets double from a millisecond on")
    func buckets() {
        #expect(CounterLayout.bucket(.zero) == 0)
        #expect(CounterLayout.bucket(Duration(nanoseconds: -5)) == 0)
        for bucket in 0..<CounterLayout.buckets - 1 {
            let bound = Duration.milliseconds(1 << Int64(bucket))
            #expect(CounterLayout.bucket(bound) == bucket)
            let above = Duration(nanoseconds: bound.nanoseconds + 1000)
            #expect(CounterLayout.bucket(above) == bucket + 1)
        }
        #expect(CounterLayout.bucket(Duration(nanoseconds: .max)) == 15)
    }

    @Test("the ledger balances across workers")
    func ledger() {
        let counters = Counters(workers: 2)
        for kind in LedgerKind.allCases {
            for _ in 0...kind.rawValue { counters[0].open(kind) }
            counters[1].close(kind)
        }
        let totals = counters.totals()
        for kind in LedgerKind.allCases {
            #expect(totals.opened(kind) == UInt64(kind.rawValue + 1))
            #expect(totals.closed(kind) == 1)
            #expect(totals.live(kind) == Int64(kind.rawValue))
        }
        counters[0].close(.frontSocket)
        #expect(counters.totals().live(.frontSocket) == -1)
    }

    @Test("can be read while they are written")
    func concurrent() async {
        let counters = Counters(workers: 2)
        await withTaskGroup(of: Void.self) { group in
            for worker in 0..<2 {
                group.addTask {
                    for _ in 0..<20_000 {
                        counters[worker].open(.exchange)
                        counters[worker].close(.exchange)
                    }
                }
            }
            group.addTask {
                for _ in 0..<50 { #expect(counters.totals().live(.exchange) >= 0) }
            }
        }
        #expect(counters.totals().opened(.exchange) == 40_000)
        #expect(counters.totals().live(.exchange) == 0)
    }

    @Test("words are in snake case and unique")
    func words() {
        let reasons = ErrorReason.allCases.map { $0.name.description }
        let kinds = LedgerKind.allCases.map { $0.name.description }
        let timeouts = TimeoutKind.allCases.map { $0.name.description }
        let verdicts = RetryVerdict.allCases.map { $0.name.description }
        let oddities = Oddity.allCases.map { $0.name.description }
        let refusals = ConnectionRefusal.allCases.map { $0.name.description }
        for words in [reasons, kinds, timeouts, verdicts, oddities, refusals] {
            #expect(Set(words).count == words.count)
            for word in words {
                #expect(
                    word.utf8.allSatisfy {
                        ASCII.isLowercase($0) || ASCII.isDigit($0) || $0 == 0x5F
                    })
            }
        }
    }
}
