// All host clients of the process: made once, bounded, evicted when idle.

import Synchronization

/// Bounds of the registry.
struct RegistryLimits: Sendable, Equatable {
    var maxHosts = 10_000
    var maxConnections = 8192
    var maxWaiting = 16_384
    var maxConnectionsPerHost = 256
    var maxInFlightPerHost = 1024
    var maxQueuePerHost = 1024
    var hostIdle = Duration.seconds(600)
    /// Percent of `maxConnections` that one host may hold.
    var maxShare = 25

    var maxConnectionsOfHost: Int { max(1, maxConnections * maxShare / 100) }
}

/// The shared table of host clients.
///
/// Workers come here once per host, keep the client in a pool of their own, and from then on meet
/// it only through its atomics. When the table is full, a new host takes the place of an idle one
/// that never answered; if there is none it is served outside the table, over connections that are
/// not kept, and once it has answered it takes the place of the idle host used longest ago: of one
/// that was asked only once, if there is one. So a scan of names that do not exist moves nobody, a
/// scan of names that do moves hardly more than itself, and busy hosts never leave.
final class Registry: Sendable {
    private struct HostKey: Hashable {
        let identity: UInt32
        let host: String

        init(identity: UInt32, host: String) {
            self.identity = identity
            self.host = host
        }

        init(_ client: HostClient) {
            self.init(identity: client.identity.number, host: client.host)
        }
    }

    private struct Place {
        let client: HostClient
        let serial: UInt64
    }

    private struct Table {
        var clients: [HostKey: Int] = [:]
        /// Nil where a client has left.
        var places: [Place?] = []
        var vacant: [Int] = []
        var order = EvictionOrder()
        var nextSerial: UInt64 = 0
        var identities: [UpstreamKey: UpstreamIdentity] = [:]
        var limits: RegistryLimits
        var nextIdentity: UInt32 = 1
    }

    private let table: Mutex<Table>
    // Safety: written here, freed in deinit; what it points at is atomics.
    nonisolated(unsafe) private let budgetPointer: Ref<ConnectionBudget>
    /// Exchanges of all workers that wait for a connection.
    let waiting = Atomic<Int>(0)
    let evictions = Atomic<UInt64>(0)
    let unpooled = Atomic<UInt64>(0)
    let made = Atomic<UInt64>(0)
    /// Of host names in keys.
    let hasher = ByteHash(seed: SystemProcess.randomSeed())
    private let maxWaiting: Atomic<Int>
    /// Tells the workers in a mask that a client was retired.
    private let onRetire: @Sendable (HostClient, UInt64) -> Void

    init(limits: RegistryLimits, onRetire: @escaping @Sendable (HostClient, UInt64) -> Void) {
        table = Mutex(Table(limits: limits))
        unsafe budgetPointer = .allocate(ConnectionBudget(limits))
        maxWaiting = Atomic(limits.maxWaiting)
        self.onRetire = onRetire
    }

    deinit { unsafe budgetPointer.destroy() }

    /// The upstream connections of all workers and hosts; valid as long as the registry.
    var budget: Ref<ConnectionBudget> { unsafe budgetPointer }

    /// The one identity of a key; `makeTLS` runs when it is new.
    func identity<Failure: Error>(
        for key: UpstreamKey, makeTLS: () throws(Failure) -> TLSClientContext?
    ) throws(Failure) -> UpstreamIdentity {
        if let known = table.withLock({ $0.identities[key] }) { return known }
        let tls = try makeTLS()
        return table.withLock { table in
            if let known = table.identities[key] { return known }
            let identity = UpstreamIdentity(number: table.nextIdentity, key: key, tls: tls)
            table.nextIdentity += 1
            table.identities[key] = identity
            return identity
        }
    }

    var limits: RegistryLimits { table.withLock { $0.limits } }

    func setLimits(_ limits: RegistryLimits) {
        table.withLock { $0.limits = limits }
        budget[].setLimits(limits)
        maxWaiting.store(limits.maxWaiting, ordering: .relaxed)
        trim()
    }

    /// Idle hosts leave while there are more than a reload left room for.
    private func trim() {
        while let (client, workers) = table.withLock({ table -> (HostClient, UInt64)? in
            guard table.clients.count > table.limits.maxHosts else { return nil }
            // Nobody waits for this one: as many looks as it takes.
            return Self.evictAny(
                now: Instant.now().milliseconds, &table, looks: 2 * table.order.count)
        }) {
            evicted(client, workers)
        }
    }

    private func evicted(_ client: HostClient, _ workers: UInt64) {
        evictions.wrappingAdd(1, ordering: .relaxed)
        onRetire(client, workers)
    }

    /// Counts one more waiter unless there are as many as may be.
    func reserveWaiter() -> Bool {
        waiting.take(upTo: maxWaiting.load(ordering: .relaxed)) != nil
    }

    func releaseWaiter() { waiting.wrappingSubtract(1, ordering: .relaxed) }

    /// The client of a host, made now if nobody asked before; `worker` will hold a pool for it.
    func client(
        _ identity: UpstreamIdentity, host: Bytes, worker: Int, now: Instant
    ) -> HostClient {
        let key = HostKey(identity: identity.number, host: host.string)
        let bit = UInt64(1) << UInt64(worker & 63)
        var retired: (HostClient, UInt64)?
        let client = table.withLock { table -> HostClient in
            if let place = table.clients[key], let known = table.places[place]?.client {
                known.record[].workers.bitwiseOr(bit, ordering: .relaxed)
                return known
            }
            // A worker that has not heard of the reload yet asks for what is not kept any more.
            let isWithdrawn = identity.isWithdrawn.load(ordering: .relaxed)
            if isWithdrawn || table.clients.count >= table.limits.maxHosts {
                if !isWithdrawn {
                    retired = Self.evict(
                        [(.unanswered, .max)], now: now.milliseconds, &table)
                }
                if retired == nil {
                    unpooled.wrappingAdd(1, ordering: .relaxed)
                    return HostClient(
                        identity: identity, host: host, hasher: hasher, isPooled: false)
                }
            }
            let fresh = HostClient(
                identity: identity, host: host, hasher: hasher, isPooled: true)
            fresh.record[].workers.store(bit, ordering: .relaxed)
            fresh.record[].lastUsed.store(now.milliseconds, ordering: .relaxed)
            Self.insert(fresh, key, into: &table)
            return fresh
        }
        made.wrappingAdd(1, ordering: .relaxed)
        if let (old, workers) = retired { evicted(old, workers) }
        return client
    }

    /// Gives a host that was served outside the table a place in it, now that it has answered.
    ///
    /// An idle host leaves: one that never answered, one that has not been used for long, one that
    /// was asked only once, or the one used longest ago of all. False when there is none, or when
    /// another client of the same host has a place.
    func adopt(_ client: HostClient, worker: Int) -> Bool {
        let key = HostKey(client)
        var retired: (HostClient, UInt64)?
        let isAdopted = table.withLock { table in
            guard table.clients[key] == nil,
                !client.identity.isWithdrawn.load(ordering: .relaxed)
            else { return false }
            if table.clients.count >= table.limits.maxHosts {
                let now = client.record[].lastUsed.load(ordering: .relaxed)
                retired = Self.evictAny(now: now, &table)
                guard retired != nil else { return false }
            }
            client.record[].workers.store(1 << UInt64(worker & 63), ordering: .relaxed)
            client.adopt()
            Self.insert(client, key, into: &table)
            return true
        }
        if isAdopted { made.wrappingAdd(1, ordering: .relaxed) }
        if let (old, workers) = retired { evicted(old, workers) }
        return isAdopted
    }

    private static func insert(_ client: HostClient, _ key: HostKey, into table: inout Table) {
        let place = table.vacant.popLast() ?? table.places.count
        if place == table.places.count { table.places.append(nil) }
        table.nextSerial += 1
        table.places[place] = Place(client: client, serial: table.nextSerial)
        table.clients[key] = place
        enter(place, into: &table)
    }

    /// Puts a client into the order of eviction.
    private static func enter(_ place: Int, into table: inout Table) {
        guard let entry = table.places[place] else { return }
        let used = entry.client.record[].lastUsed.load(ordering: .relaxed)
        table.order.insert(
            EvictionOrder.Entry(used: used, place: place, serial: entry.serial),
            standing(of: entry.client))
    }

    /// Takes a client out; its pools end when they hear of it.
    private static func remove(_ place: Int, from table: inout Table) -> (HostClient, UInt64)? {
        guard let client = table.places[place]?.client else { return nil }
        table.places[place] = nil
        table.vacant.append(place)
        table.clients[HostKey(client)] = nil
        client.record[].isRetired.store(true, ordering: .releasing)
        return (client, client.record[].workers.load(ordering: .relaxed))
    }

    private static func isBusy(_ client: HostClient) -> Bool {
        let record = client.record
        return record[].inFlight.load(ordering: .relaxed) > 0
            || record[].waiting.load(ordering: .relaxed) > 0
    }

    private static func state(of entry: EvictionOrder.Entry, _ table: Table)
        -> EvictionOrder.State
    {
        guard let place = table.places[entry.place], place.serial == entry.serial else {
            return .gone
        }
        if isBusy(place.client) { return .busy(standing(of: place.client)) }
        let used = place.client.record[].lastUsed.load(ordering: .relaxed)
        return .idle(used: used, standing(of: place.client))
    }

    private static func standing(of client: HostClient) -> EvictionOrder.Standing {
        guard client.record[].hasAnswered.load(ordering: .relaxed) else { return .unanswered }
        return client.record[].requests.load(ordering: .relaxed) > 1 ? .proven : .once
    }

    /// Takes out the idle client that is missed least: one that never answered, one that has not
    /// been used for long, one that was asked only once, or the one used longest ago.
    private static func evictAny(
        now: Int64, _ table: inout Table, looks: Int = Limits.evictionLooks
    ) -> (HostClient, UInt64)? {
        let bound = now - Limits.provenFor.milliseconds
        return evict(
            [(.unanswered, .max), (.proven, bound), (.once, .max), (.proven, .max)], now: now,
            &table, looks: looks)
    }

    /// Takes out an idle client of the first class that has one, the least recently used; each
    /// with the time before which it must have been used last.
    private static func evict(
        _ classes: [(EvictionOrder.Standing, before: Int64)], now: Int64, _ table: inout Table,
        looks: Int = Limits.evictionLooks
    ) -> (HostClient, UInt64)? {
        var order = EvictionOrder()
        swap(&order, &table.order)
        defer { swap(&order, &table.order) }
        for (standing, bound) in classes {
            let outcome = order.take(standing, before: bound, now: now, looks: looks) {
                state(of: $0, table)
            }
            switch outcome {
            case .found(let entry): return remove(entry.place, from: &table)
            case .nobody: continue
            case .undecided: return nil
            }
        }
        return nil
    }

    /// Retires hosts that nobody has asked for during `hostIdle`, and those beyond the bound that
    /// were busy when it was lowered; called now and then.
    func expire(now: Instant) {
        trim()
        var retired: [(HostClient, UInt64)] = []
        table.withLock { table in
            let bound = now.milliseconds - table.limits.hostIdle.milliseconds
            for place in table.places.indices {
                guard let client = table.places[place]?.client, !Self.isBusy(client),
                    client.record[].connections.load(ordering: .relaxed) == 0,
                    client.record[].lastUsed.load(ordering: .relaxed) < bound
                else { continue }
                if let entry = Self.remove(place, from: &table) { retired.append(entry) }
            }
            guard !retired.isEmpty else { return }
            // The order would otherwise keep those that left until somebody is to be evicted.
            table.order.removeAll()
            for place in table.places.indices { Self.enter(place, into: &table) }
        }
        for (client, workers) in retired { onRetire(client, workers) }
    }

    /// Forgets what the configuration in force does not lead to: keys, and hosts of other keys or
    /// of templates that are gone.
    ///
    /// Their pools take nothing new, finish what runs, and close what rests. Reloads are the only
    /// ones to call this, one after the other.
    func keepOnly(_ identities: [UpstreamIdentity], where leads: (HostClient) -> Bool) {
        let kept = Set(identities.map(\.number))
        table.withLock { table in
            for (key, identity) in table.identities where !kept.contains(identity.number) {
                identity.isWithdrawn.store(true, ordering: .relaxed)
                table.identities[key] = nil
            }
        }
        // Outside the lock: this may be many hosts times many routes.
        let leaving = snapshot().filter { !kept.contains($0.identity.number) || !leads($0) }
        let retired = table.withLock { table in
            leaving.compactMap { client -> (HostClient, UInt64)? in
                let key = HostKey(client)
                guard let place = table.clients[key], table.places[place]?.client === client else {
                    return nil
                }
                return Self.remove(place, from: &table)
            }
        }
        for (client, workers) in retired { onRetire(client, workers) }
    }

    var count: Int { table.withLock { $0.clients.count } }

    /// Entries in the order of eviction, those of clients that have left included.
    var standing: Int { table.withLock { $0.order.count } }

    /// All clients, for the live view.
    func snapshot() -> [HostClient] { table.withLock { $0.places.compactMap { $0?.client } } }

    // MARK: looked at without being touched

    /// The client of an identity and a host, if there is one.
    func find(_ identity: UInt32, _ host: String) -> HostClient? {
        table.withLock { table in
            table.clients[HostKey(identity: identity, host: host)].flatMap {
                table.places[$0]?.client
            }
        }
    }

    /// The clients of a host under every identity, those of earlier configurations included.
    func clients(of host: String) -> [HostClient] {
        table.withLock { table in
            (1..<max(table.nextIdentity, 1)).compactMap { identity in
                table.clients[HostKey(identity: identity, host: host)].flatMap {
                    table.places[$0]?.client
                }
            }
        }
    }

    /// Clients from place `first` on that `admits` lets through, `limit` of them at most.
    ///
    /// A client keeps its place as long as it is here: whoever goes on with `next` until it is nil
    /// meets every client that was here all the time exactly once. The lock is held for a few
    /// places at a time, and no more than `Limits.registryScan` places are looked at.
    func page(
        from first: Int, limit: Int, where admits: (HostClient) -> Bool
    ) -> (clients: [HostClient], next: Int?) {
        var found: [HostClient] = []
        var place = first
        while true {
            let (stretch, count) = table.withLock { table -> ([HostClient?], Int) in
                let end = min(place + 256, table.places.count)
                let stretch = place < end ? table.places[place..<end].map { $0?.client } : []
                return (stretch, table.places.count)
            }
            for client in stretch {
                place += 1
                guard let client, admits(client) else { continue }
                found.append(client)
                if found.count == limit { return (found, place < count ? place : nil) }
            }
            guard place < count else { return (found, nil) }
            if place - first >= Limits.registryScan { return (found, place) }
        }
    }
}
