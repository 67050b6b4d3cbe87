import Synchronization
import Testing

@testable import Edge

@Suite("The registry") struct RegistryTests {
    private final class Retired: Sendable {
        let hosts = Mutex<[String]>([])
    }

    private func registry(hosts: Int, _ retired: Retired = Retired()) -> Registry {
        var limits = RegistryLimits()
        limits.maxHosts = hosts
        return Registry(limits: limits) { client, _ in
            retired.hosts.withLock { $0.append(client.host) }
        }
    }

    private func identity(_ registry: Registry, port: UInt16 = 80) -> UpstreamIdentity {
        registry.identity(for: UpstreamKey(isSecure: false, port: port, protocols: .http1)) { nil }
    }

    private func client(
        _ registry: Registry, _ host: String, at second: Int64 = 0, answered: Bool = true
    ) -> HostClient {
        let client = host.withBytes {
            registry.client(
                identity(registry), host: $0, worker: 0,
                now: Instant(nanoseconds: second * 1_000_000_000))
        }
        client.record[].hasAnswered.store(answered, ordering: .relaxed)
        return client
    }

    @Test("makes one client per key, and one key per port")
    func oneClientPerKey() {
        let registry = registry(hosts: 10)
        #expect(client(registry, "a") === client(registry, "a"))
        #expect(identity(registry) === identity(registry))
        #expect(identity(registry) !== identity(registry, port: 81))
        let other = "a".withBytes {
            registry.client(identity(registry, port: 81), host: $0, worker: 0, now: .zero)
        }
        #expect(other !== client(registry, "a"))
        #expect(registry.count == 2)
    }

    @Test("at the bound, a host that never answered leaves first")
    func unansweredLeavesFirst() {
        let retired = Retired()
        let registry = registry(hosts: 2, retired)
        _ = client(registry, "known", at: 1)
        _ = client(registry, "guess", at: 2, answered: false)
        #expect(client(registry, "new", at: 3).isPooled)
        #expect(retired.hosts.withLock { $0 } == ["guess"])
    }

    @Test("a full table of hosts that answered gives a newcomer a place only once it has answered")
    func adoption() {
        let retired = Retired()
        let registry = registry(hosts: 2, retired)
        _ = client(registry, "old", at: 1)
        _ = client(registry, "young", at: 2)
        let fresh = client(registry, "new", at: 3)
        #expect(!fresh.isPooled)
        #expect(registry.count == 2)
        #expect(retired.hosts.withLock { $0 }.isEmpty)
        #expect(registry.adopt(fresh, worker: 0))
        #expect(retired.hosts.withLock { $0 } == ["old"])
        #expect(client(registry, "new", at: 4) === fresh)
        #expect(fresh.isPooled, "to every worker that asks for it from now on")
        #expect(!registry.adopt(fresh, worker: 0), "it has a place already")
    }

    /// Asks a host once more, at a time.
    private func ask(_ client: HostClient, at second: Int64) {
        client.record[].requests.wrappingAdd(1, ordering: .relaxed)
        client.record[].lastUsed.store(second * 1000, ordering: .relaxed)
    }

    @Test("exactly the host used longest ago leaves, wherever it stands")
    func leastRecentlyUsed() {
        let retired = Retired()
        let registry = registry(hosts: 400, retired)
        let known = (0..<400).map { client(registry, "h\($0)", at: Int64($0)) }
        // All but one are used again, in another order than that of their making.
        for (index, host) in known.enumerated() where index != 250 {
            ask(host, at: 1000 + Int64((index * 7) % 400))
        }
        var fresh: [HostClient] = []
        for number in 0..<8 {
            let new = client(registry, "n\(number)", at: 1030)
            ask(new, at: 1030)
            ask(new, at: 1030)
            // Looking costs at most 128 hosts at a time: who finds none comes again.
            while !registry.adopt(new, worker: 0) {}
            fresh.append(new)
        }
        let oldest = (0..<400).filter { $0 != 250 }.sorted { ($0 * 7) % 400 < ($1 * 7) % 400 }
        #expect(
            retired.hosts.withLock { $0 } == ["h250"] + oldest.prefix(7).map { "h\($0)" })
    }

    @Test("hosts that came back stay while others were asked only once, for a minute")
    func proven() {
        let retired = Retired()
        let registry = registry(hosts: 4, retired)
        for number in 0..<4 {
            let host = client(registry, "hot\(number)", at: Int64(number))
            for _ in 0..<2 { ask(host, at: Int64(number)) }
        }
        for number in 0..<20 {
            let scanned = client(registry, "scan\(number)", at: 30)
            ask(scanned, at: 30)
            #expect(registry.adopt(scanned, worker: 0))
        }
        let left = retired.hosts.withLock { $0 }
        #expect(left == ["hot0"] + (0..<19).map { "scan\($0)" })
        let late = client(registry, "late", at: 65)
        ask(late, at: 65)
        #expect(registry.adopt(late, worker: 0))
        #expect(retired.hosts.withLock { $0 }.last == "hot1", "unused for more than a minute")
    }

    @Test("the order of eviction forgets who has left")
    func forgotten() {
        let registry = registry(hosts: 100)
        for second in stride(from: Int64(0), to: 100_000, by: 1000) {
            for number in 0..<50 { _ = client(registry, "h\(number)", at: second) }
            registry.expire(now: Instant(nanoseconds: (second + 900) * 1_000_000_000))
            #expect(registry.count == 0)
            #expect(registry.standing == 0)
        }
    }

    @Test("waiters of the process are bounded")
    func waiters() {
        let registry = registry(hosts: 1)
        var limits = registry.limits
        limits.maxWaiting = 1
        registry.setLimits(limits)
        #expect(registry.reserveWaiter())
        #expect(!registry.reserveWaiter())
        registry.releaseWaiter()
        #expect(registry.reserveWaiter())
    }

    @Test("busy hosts never leave")
    func busyStay() {
        let registry = registry(hosts: 1)
        let busy = client(registry, "busy")
        busy.record[].inFlight.wrappingAdd(1, ordering: .relaxed)
        let fresh = client(registry, "new")
        #expect(!fresh.isPooled)
        #expect(!registry.adopt(fresh, worker: 0))
        #expect(client(registry, "busy") === busy)
    }

    @Test("busy hosts do not hide the idle one")
    func busyBesideIdle() {
        let retired = Retired()
        let registry = registry(hosts: 3, retired)
        for name in ["busy", "too"] {
            client(registry, name, at: 1).record[].inFlight.wrappingAdd(1, ordering: .relaxed)
        }
        _ = client(registry, "idle", at: 5)
        #expect(registry.adopt(client(registry, "new", at: 9), worker: 0))
        #expect(retired.hosts.withLock { $0 } == ["idle"])
    }

    @Test("hosts without traffic and connections are forgotten")
    func expiry() {
        let retired = Retired()
        let registry = registry(hosts: 10, retired)
        let kept = client(registry, "connected", at: 0)
        kept.record[].connections.wrappingAdd(1, ordering: .relaxed)
        _ = client(registry, "idle", at: 0)
        _ = client(registry, "recent", at: 500)
        registry.expire(now: Instant(nanoseconds: 700 * 1_000_000_000))
        #expect(retired.hosts.withLock { $0 } == ["idle"])
    }

    @Test("keys that no route has any more are withdrawn, with their hosts, busy ones too")
    func withdrawal() {
        let retired = Retired()
        let registry = registry(hosts: 10, retired)
        let old = identity(registry), kept = identity(registry, port: 81)
        let busy = client(registry, "busy")
        busy.record[].inFlight.wrappingAdd(1, ordering: .relaxed)
        let other = "other".withBytes {
            registry.client(kept, host: $0, worker: 0, now: .zero)
        }
        registry.keepOnly([kept]) { _ in true }
        #expect(retired.hosts.withLock { $0 } == ["busy"])
        let isRetired = busy.record[].isRetired.load(ordering: .relaxed)
        #expect(isRetired)
        #expect(registry.snapshot().map(\.host) == ["other"])
        #expect(other.identity === kept)
        #expect(identity(registry, port: 81) === kept)
        // A worker that still has the old snapshot is served, and leaves nothing.
        let late = "late".withBytes { registry.client(old, host: $0, worker: 0, now: .zero) }
        #expect(!late.isPooled)
        #expect(!registry.adopt(late, worker: 0))
        let again = identity(registry)
        #expect(again !== old)
        #expect(again.number != old.number)
    }

    @Test("hosts that no template leads to leave, though their key stays")
    func unreachable() {
        let retired = Retired()
        let registry = registry(hosts: 10, retired)
        for host in ["a", "b", "c"] { _ = client(registry, host) }
        registry.keepOnly([identity(registry)]) { $0.host == "b" }
        #expect(retired.hosts.withLock { Set($0) } == ["a", "c"])
        #expect(registry.snapshot().map(\.host) == ["b"])
    }

    @Test("a lowered bound: idle hosts leave at once, busy ones when they are idle")
    func trimming() {
        let retired = Retired()
        let registry = registry(hosts: 300, retired)
        let hosts = (0..<300).map { client(registry, "h\($0)") }
        for busy in hosts.prefix(5) { busy.record[].inFlight.wrappingAdd(1, ordering: .relaxed) }
        var limits = registry.limits
        limits.maxHosts = 2
        registry.setLimits(limits)
        #expect(registry.count == 5)
        hosts[3].record[].inFlight.wrappingSubtract(1, ordering: .relaxed)
        registry.expire(now: .zero)
        #expect(registry.count == 4)
        #expect(retired.hosts.withLock { $0.count } == 296)
    }
}
