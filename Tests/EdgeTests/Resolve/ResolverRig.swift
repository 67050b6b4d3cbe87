// Workers' resolvers on real loops, turned by the test's own thread.

import Synchronization
import Testing

@testable import Edge

/// What the cache's notifications leave for the rigs.
final class Notifications: Sendable {
    private let workers = Mutex<Set<Int>>([])
    func post(_ worker: Int) { workers.withLock { _ = $0.insert(worker) } }
    func take(_ worker: Int) -> Bool { workers.withLock { $0.remove(worker) != nil } }
}

/// One worker: its loop, its resolver, and the waiters that were told.
final class ResolverRig {
    let loop: Ref<EventLoop>
    let resolver: Ref<Resolver>
    private let worker: Int
    private let notifications: Notifications
    var told: [Token] = []

    init(_ cache: NameCache, worker: Int, _ notifications: Notifications) throws {
        loop = Ref.allocate(try EventLoop())
        resolver = Ref.allocate(try Resolver(cache: cache, worker: worker, loop: loop))
        self.worker = worker
        self.notifications = notifications
    }

    /// Rigs with one cache whose servers are `server` alone.
    static func make(
        _ count: Int = 1, server: ScriptedDNS?,
        _ change: (inout ResolverSettings) -> Void = { _ in }
    ) throws -> (rigs: [ResolverRig], cache: NameCache) {
        var settings = ResolverSettings()
        settings.servers = server.map { ["127.0.0.1:\($0.port)"] } ?? ["127.0.0.1:9"]
        settings.usesSearch = false
        settings.timeout = .milliseconds(1500)
        settings.minTTL = .milliseconds(100)
        change(&settings)
        let notifications = Notifications()
        let cache = NameCache(settings, workers: count) { notifications.post($0) }
        let rigs = try (0..<count).map { try ResolverRig(cache, worker: $0, notifications) }
        return (rigs, cache)
    }

    static func waiter(_ number: Int) -> Token { Token(.exchange, slot: UInt32(number)) }

    /// One iteration without waiting; whether anything happened.
    func turn() -> Bool {
        let count = loop[].wait(hasWork: true)
        for index in 0..<count {
            resolver[].ready(loop[].poller.token(index), loop[].poller.readiness(index))
        }
        let now = loop[].now
        var happened = count > 0
        while let token = loop[].timers.nextExpired(now: now) {
            #expect(token == Token(.resolver, slot: .max))
            resolver[].deadlinePassed()
            happened = true
        }
        if notifications.take(worker) {
            resolver[].delivered()
            happened = true
        }
        while let token = resolver[].nextCompletion() {
            told.append(token)
            happened = true
        }
        return happened
    }

    /// Turns the rigs until `condition` holds; false when ten seconds have not been enough.
    static func run(_ rigs: [ResolverRig], until condition: () -> Bool) -> Bool {
        let end = Instant.now() + .seconds(10)
        while !condition() {
            guard Instant.now() < end else { return false }
            var happened = false
            for rig in rigs where rig.turn() { happened = true }
            if !happened { _ = rigs[0].loop[].poller.wait(milliseconds: 1) }
        }
        return true
    }

    /// Asks until there is an answer.
    func answer(_ name: String, isService: Bool = false) -> NameLookup {
        let waiter = Self.waiter(1_000_000)
        var lookup = resolver[].resolve(name, isService: isService, waiter: waiter)
        let done = Self.run([self]) {
            guard told.contains(waiter) else { return lookup != .pending }
            told.removeAll { $0 == waiter }
            lookup = resolver[].resolve(name, isService: isService, waiter: waiter)
            return lookup != .pending
        }
        #expect(done, "\(name) was not answered")
        return lookup
    }

    /// Waits until `time` has passed on the loop's clock.
    func pass(_ time: Edge.Duration) {
        let end = Instant.now() + time
        _ = Self.run([self]) { Instant.now() >= end }
    }

    /// Shuts down and expects that nothing is left.
    func finish() {
        resolver[].shutDown()
        while resolver[].nextCompletion() != nil {}
        #expect(resolver[].queriesOpened == resolver[].queriesClosed)
        #expect(resolver[].waiterCount == 0)
        #expect(loop[].timers.count == 0)
        resolver.destroy()
        loop.destroy()
    }
}

func addresses(_ texts: String...) -> NameLookup {
    .addresses(ResolvedAddresses(texts.compactMap { SocketAddress(numeric: $0, port: 0) }))
}
