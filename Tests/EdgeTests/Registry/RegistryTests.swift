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
        #expect(!registry.adopt(fresh, worker: 0), "it has a place already")
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
