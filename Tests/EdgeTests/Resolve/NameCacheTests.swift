import Synchronization
import Testing

@testable import Edge

@Suite("A name cache") struct NameCacheTests {
    private static let address = SocketAddress(numeric: "10.0.0.1", port: 0) ?? .unix
    private static let other = SocketAddress(numeric: "10.0.0.2", port: 0) ?? .unix
    private let start = Instant(nanoseconds: 1_000_000_000_000)

    private func make(
        maxNames: Int = 100, firstSeen: Int = 0, notified: Counter = Counter()
    ) -> NameCache {
        var settings = ResolverSettings()
        settings.maxNames = maxNames
        settings.firstSeenPerSecond = firstSeen
        return NameCache(settings, workers: 3) { notified.add($0) }
    }

    private final class Counter: Sendable {
        private let counts = Mutex([0, 0, 0])
        func add(_ worker: Int) { counts.withLock { $0[worker] += 1 } }
        var values: [Int] { counts.withLock { $0 } }
    }

    private func look(
        _ cache: NameCache, _ key: String = "a", worker: Int = 0, after: Edge.Duration = .zero,
        mayAsk: Bool = true
    ) -> CacheAnswer {
        cache.look(up: key, worker: worker, now: start + after, mayAsk: mayAsk)
    }

    @Test("lets one worker ask and tells each other waiting worker once")
    func singleFlight() {
        let notified = Counter()
        let cache = make(notified: notified)
        #expect(look(cache) == .ask)
        #expect(look(cache) == .lookup(.pending))
        for _ in 0..<3 { #expect(look(cache, worker: 1) == .lookup(.pending)) }
        #expect(look(cache, "b", worker: 2) == .ask)
        #expect(look(cache, "b", worker: 1) == .lookup(.pending))
        cache.settle("a", .addresses([Self.address], ttl: .seconds(60)), now: start)
        cache.settle("b", .failed(.notFound), now: start)
        #expect(notified.values == [0, 1, 0])
        #expect(cache.takeFinished(worker: 1) == ["a", "b"])
        #expect(cache.takeFinished(worker: 1) == [])
        #expect(look(cache, worker: 1) == .lookup(.addresses([Self.address])))
        #expect(look(cache, "b", worker: 1) == .lookup(.failed(.notFound)))
    }

    @Test("holds back names of which nothing is known, in their order, and no others")
    func firstSeen() {
        let cache = make(firstSeen: 2)
        #expect(look(cache, "known") == .ask)
        cache.settle("known", .addresses([Self.address], ttl: .seconds(5)), now: start)
        #expect(look(cache, "gone") == .ask)
        cache.settle("gone", .failed(.notFound), now: start)
        for number in 3...11 { #expect(look(cache, "n\(number)", worker: number % 3) == .ask) }
        for (number, at) in [(12, 500), (13, 1000), (14, 1500)] as [(Int, Int64)] {
            let turn = look(cache, "n\(number)", worker: number % 3)
            #expect(turn == .askLater(start + .milliseconds(at)))
        }
        #expect(look(cache, "n14", worker: 2) == .lookup(.pending))
        let count = cache.count
        #expect(look(cache, "n15") == .lookup(.failed(.tooManyNames)))
        #expect(cache.count == count, "who is refused takes no place")
        #expect(look(cache, "gone") == .lookup(.failed(.notFound)))
        #expect(look(cache, "known") == .lookup(.addresses([Self.address])))
        let host = cache.look(up: "host", worker: 0, now: start, mayAsk: true, isKnown: true)
        #expect(host == .ask, "a host that has answered before")
        #expect(look(cache, "n15", after: .milliseconds(1)) == .askLater(start + .seconds(2)))
    }

    @Test("asks for an expired answer at once, for an expired verdict in its turn")
    func expiredTurns() {
        let cache = make(firstSeen: 1)
        #expect(look(cache, "known") == .ask)
        cache.settle("known", .addresses([Self.address], ttl: .seconds(1)), now: start)
        #expect(look(cache, "gone") == .ask)
        cache.settle("gone", .failed(.notFound), now: start)
        for number in 0..<30 { _ = look(cache, "n\(number)", after: .seconds(6)) }
        #expect(look(cache, "gone", after: .seconds(6)) == .lookup(.failed(.tooManyNames)))
        #expect(look(cache, "known", after: .seconds(6)) == .ask)
    }

    @Test("clamps times to live, and no answer expires at once")
    func clamps() {
        let cache = make()
        for (ttl, life) in [(0, 1), (30, 30), (100_000, 300)] as [(Int64, Int64)] {
            let key = "ttl\(ttl)"
            #expect(look(cache, key) == .ask)
            cache.settle(key, .addresses([Self.address], ttl: .seconds(ttl)), now: start)
            let last = Edge.Duration.seconds(life).nanoseconds - 1
            #expect(
                look(cache, key, after: .init(nanoseconds: last), mayAsk: false)
                    == .lookup(.addresses([Self.address])))
            #expect(look(cache, key, after: .seconds(life)) == .ask)
        }
        var settings = ResolverSettings()
        settings.minTTL = .zero
        let hasty = NameCache(settings, workers: 1) { _ in }
        #expect(look(hasty) == .ask)
        hasty.settle("a", .addresses([Self.address], ttl: .zero), now: start)
        #expect(look(hasty, after: .milliseconds(99)) == .lookup(.addresses([Self.address])))
    }

    @Test("renews a long answer before it expires, once, and serves it meanwhile")
    func renewal() {
        let cache = make()
        let known = CacheAnswer.lookup(.addresses([Self.address]))
        #expect(look(cache) == .ask)
        cache.settle("a", .addresses([Self.address], ttl: .seconds(100)), now: start)
        #expect(look(cache, after: .seconds(89)) == known)
        #expect(look(cache, after: .seconds(90)) == .serveAndAsk([Self.address]))
        #expect(look(cache, worker: 1, after: .seconds(91)) == known)
        cache.settle("a", .failed(.timedOut), now: start + .seconds(92))
        #expect(look(cache, after: .seconds(92)) == known)
        #expect(look(cache, after: .seconds(93)) == .serveAndAsk([Self.address]))
        cache.settle(
            "a", .addresses([Self.other], ttl: .seconds(100)), now: start + .seconds(94))
        #expect(look(cache, after: .seconds(150)) == .lookup(.addresses([Self.other])))
    }

    @Test("uses an expired answer only once renewing has failed, and asks beside it")
    func stale() {
        let cache = make()
        let known = CacheAnswer.lookup(.addresses([Self.address]))
        #expect(look(cache) == .ask)
        cache.settle("a", .addresses([Self.address], ttl: .seconds(5)), now: start)
        #expect(look(cache, after: .seconds(6)) == .ask)
        #expect(look(cache, worker: 1, after: .seconds(6)) == .lookup(.pending))
        cache.settle("a", .failed(.serverFailure), now: start + .seconds(8))
        #expect(look(cache, worker: 1, after: .seconds(8)) == known)
        #expect(look(cache, after: .seconds(9)) == .serveAndAsk([Self.address]))
        #expect(look(cache, worker: 1, after: .seconds(9)) == known)
        cache.settle("a", .failed(.timedOut), now: start + .seconds(34))
        #expect(look(cache, after: .milliseconds(34_999)) == known)
        #expect(look(cache, after: .seconds(35)) == .ask)
        cache.settle("a", .failed(.timedOut), now: start + .seconds(36))
        #expect(look(cache, after: .seconds(36)) == .lookup(.failed(.timedOut)))
        #expect(look(cache, after: .seconds(37)) == .ask)
    }

    @Test("forgets a query that was abandoned, and keeps what was known before")
    func abandoned() {
        let notified = Counter()
        let cache = make(notified: notified)
        #expect(look(cache) == .ask)
        #expect(look(cache, worker: 2) == .lookup(.pending))
        cache.settle("a", .abandoned, now: start)
        #expect(cache.count == 0)
        #expect(cache.takeFinished(worker: 2) == ["a"])
        #expect(look(cache, worker: 2) == .ask)
        cache.settle("a", .addresses([Self.address], ttl: .seconds(100)), now: start)
        #expect(look(cache, after: .seconds(95)) == .serveAndAsk([Self.address]))
        cache.settle("a", .abandoned, now: start + .seconds(96))
        #expect(
            look(cache, after: .seconds(97), mayAsk: false) == .lookup(.addresses([Self.address])))
    }

    @Test("evicts failures before answers, the least recently used first, never what is asked for")
    func eviction() {
        let cache = make(maxNames: 3)
        for key in ["a", "b"] {
            #expect(look(cache, key) == .ask)
            cache.settle(key, .addresses([Self.address], ttl: .seconds(60)), now: start)
        }
        #expect(look(cache, "no") == .ask)
        cache.settle("no", .failed(.notFound), now: start)
        #expect(look(cache, "c") == .ask)
        cache.settle("c", .addresses([Self.address], ttl: .seconds(60)), now: start)
        #expect(look(cache, "a") == .lookup(.addresses([Self.address])))
        #expect(look(cache, "d") == .ask)
        #expect(look(cache, "a", mayAsk: false) == .lookup(.addresses([Self.address])))
        #expect(look(cache, "b", mayAsk: false) == .lookup(.failed(.unavailable)))
        #expect(look(cache, "e") == .ask)
        #expect(look(cache, "f") == .ask)
        #expect(look(cache, "g") == .lookup(.failed(.unavailable)))
        #expect(cache.count == 3)
        cache.settle("e", .abandoned, now: start)
        #expect(look(cache, "g") == .ask)
    }

    @Test("stays within its bound whatever happens", arguments: 1...4)
    func random(seed: Int) {
        let cache = make(maxNames: 16)
        var random = SplitMix(state: UInt64(seed))
        var asked: [String] = []
        var now = Edge.Duration.zero
        for _ in 0..<20_000 {
            now.nanoseconds += Int64(random.next() % 500_000_000)
            let key = "n\(random.next() % 40)"
            switch look(cache, key, worker: Int(random.next() % 3), after: now) {
            case .ask, .askLater, .serveAndAsk:
                #expect(!asked.contains(key))
                asked.append(key)
            case .lookup: break
            }
            #expect(cache.count <= 16 && asked.count <= cache.count)
            guard !asked.isEmpty, random.next() % 3 > 0 else { continue }
            let settled = asked.remove(at: Int(random.next() % UInt64(asked.count)))
            let ttl = Edge.Duration.seconds(Int64(random.next() % 40))
            let outcomes: [QueryOutcome] = [
                .addresses([Self.address], ttl: ttl), .failed(.notFound), .failed(.timedOut),
                .abandoned,
            ]
            cache.settle(settled, outcomes[Int(random.next() % 4)], now: start + now)
            _ = cache.takeFinished(worker: Int(random.next() % 3))
        }
    }
}
