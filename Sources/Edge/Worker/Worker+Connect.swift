// From a host to a connection: reuse, share, dial, wait.

import DequeModule
import Synchronization

extension Worker {
    /// This worker's pool for a route and id, made now if need be; the exchange gets its key.
    func findPool(
        _ runtime: RouteRuntime, _ id: Bytes, for exchange: Ref<Exchange>
    ) -> Ref<HostPool>? {
        // The expanded host stands in the scratch of routing, whose bytes are no longer needed.
        let place = unsafe state[].routing.reserve(Limits.hostBytes + 64)
        let count = runtime.template.expandHost(id: id, into: place)
        let host = unsafe Bytes(place, count: count)
        defer { state[].routing.releaseUnused() }
        let key = ConnectionKey(
            identity: runtime.identityNumber, host: registry.hasher.hash(host))
        exchange[].key = key
        if let pool = table[].find(key, host) { return pool }
        return makePool(runtime, host)
    }

    @inline(never)
    private func makePool(_ runtime: RouteRuntime, _ host: Bytes) -> Ref<HostPool>? {
        let client = registry.client(runtime.identity, host: host, worker: index, now: loop[].now)
        let pool = pools[].insert { token in
            HostPool(token: token, client: client, worker: index)
        }
        guard let pool else { return nil }
        pool[].id = runtime.template.id(in: pool[].host)
        counters.open(.hostClient)
        if client.isPooled {
            table[].insert(pool)
            pool[].isInTable = true
        } else {
            counters.add(.upstreamUnpooled)
        }
        return pool
    }

    /// A host that was served outside the registry has answered: from now on it is part of it.
    func adopt(_ pool: Ref<HostPool>) {
        guard !pool[].record[].isRetired.load(ordering: .relaxed),
            table[].find(pool[].key, pool[].host) == nil,
            registry.adopt(pool[].client, worker: index)
        else { return }
        table[].insert(pool)
        pool[].isInTable = true
    }

    /// Gives an exchange a connection: one that has room, one that rests, or a place in the queue.
    func connect(_ exchange: Ref<Exchange>, _ pool: Ref<HostPool>) {
        pool[].isQuiet = pool[].record[].isQuiet(loop[].now)
        pool[].record[].noteUse(loop[].now)
        if exchange[].wantsUpgrade, !pool[].protocols.contains(.http1) {
            // A proxy may ignore Upgrade (RFC 9110 §7.8); these hosts do not speak what has it.
            exchange[].wantsUpgrade = false
        }
        if pool[].renewAt <= loop[].now { renewAddresses(pool) }
        if !pool[].record[].health.isClosed, !passesBreaker(exchange, pool) { return }
        if pool[].waiting == pool[].waitingForFresh,
            mayBegin(pool, limit: exchange[].policy.maxInFlight),
            let connection = readyConnection(for: exchange, in: pool)
        {
            if !connection[].isHTTP2 { takeIdle(connection) }
            return attach(exchange, to: connection)
        }
        // Those whose dials are under way are served by these; the queue is what is behind them.
        let dialling = max(pool[].dialling, pool[].isResolving ? 1 : 0)
        if pool[].record[].waiting.load(ordering: .relaxed) - dialling
            >= exchange[].policy.maxQueue
        {
            return refuse(
                exchange, 503, .queueFull, "too many requests wait for this upstream host")
        }
        guard registry.reserveWaiter() else {
            return refuse(exchange, 503, .queueFull, "too many requests wait for upstream hosts")
        }
        wait(exchange, pool)
        dialForWaiters(pool)
    }

    private func wait(_ exchange: Ref<Exchange>, _ pool: Ref<HostPool>) {
        exchange[].isWaiting = true
        exchange[].waitBegan = loop[].now
        pool[].waiters.append(exchange[].token)
        pool[].waiting += 1
        if exchange[].wantsUpgrade { pool[].waitingForUpgrade += 1 }
        if exchange[].freshSince != .zero { pool[].waitingForFresh += 1 }
        pool[].record[].waiting.wrappingAdd(1, ordering: .relaxed)
        counters.open(.waiter)
        refreshDeadline(exchange)
    }

    /// The exchange waits no longer, for whatever reason.
    func stopWaiting(_ exchange: Ref<Exchange>, _ pool: Ref<HostPool>) {
        guard exchange[].isWaiting else { return }
        exchange[].isWaiting = false
        pool[].waiting -= 1
        if exchange[].wantsUpgrade { pool[].waitingForUpgrade -= 1 }
        if exchange[].freshSince != .zero { pool[].waitingForFresh -= 1 }
        pool[].record[].waiting.wrappingSubtract(1, ordering: .relaxed)
        registry.releaseWaiter()
        counters.close(.waiter)
        if pool[].waiting == 0 {
            pool[].waiters.removeAll(keepingCapacity: true)
            pool[].record[].starving.bitwiseAnd(~workerBit, ordering: .relaxed)
            pool[].record[].crowded.bitwiseAnd(~workerBit, ordering: .relaxed)
            stopStarving(pool)
            if pool[].isResolving { resolver[].forget(pool[].token) }
            pool[].isResolving = false
            loop[].timers.cancel(&pool[].redial)
        }
    }

    var workerBit: UInt64 { 1 << UInt64(index & 63) }

    /// Hands connections to those who wait, oldest first, then dials for the rest.
    func serveWaiters(_ pool: Ref<HostPool>) {
        if !pool[].record[].health.isClosed { refuseWaiters(pool) }
        guard !pool[].isServing else { return }
        if pool[].waiting > 0, !pool[].yieldsTurn {
            pool[].isServing = true
            handConnections(pool)
            pool[].isServing = false
        }
        dialForWaiters(pool)
        retireIfUnused(pool)
    }

    private func handConnections(_ pool: Ref<HostPool>) {
        // Who waits for a new connection does not hold up those behind.
        var passed = 0
        while passed < pool[].waiters.count {
            let token = pool[].waiters[passed]
            guard let exchange = exchanges[].resolve(token), exchange[].isWaiting else {
                pool[].waiters.remove(at: passed)
                continue
            }
            guard mayBegin(pool, limit: exchange[].policy.maxInFlight) else { return }
            guard let connection = readyConnection(for: exchange, in: pool) else {
                guard exchange[].freshSince != .zero else { return }
                passed += 1
                continue
            }
            if !connection[].isHTTP2 { takeIdle(connection) }
            pool[].waiters.remove(at: passed)
            stopWaiting(exchange, pool)
            exchange[].record.queue = queueTime(exchange, connection)
            attach(exchange, to: connection)
        }
    }

    /// How long an exchange waited for its connection, without that connection's dial.
    private func queueTime(
        _ exchange: Ref<Exchange>, _ connection: Ref<UpstreamConnection>
    ) -> Duration {
        let began = exchange[].waitBegan
        let waited = loop[].now - began
        guard connection[].history.served == 0 else { return waited }
        let dialled = connection[].history.readyAt - max(began, connection[].history.dialledAt)
        return Duration(nanoseconds: max(0, waited.nanoseconds - max(0, dialled.nanoseconds)))
    }

    // MARK: the pool's end

    /// Ends a pool that nothing needs: of a retired host, or of one that was never in the table.
    func retireIfUnused(_ pool: Ref<HostPool>) {
        guard !pool[].hasEnded, !pool[].isEnding else { return }
        let isRetired = pool[].record[].isRetired.load(ordering: .acquiring)
        guard isRetired || !pool[].isInTable else { return }
        // Closing its connections comes back here.
        pool[].isEnding = true
        defer { pool[].isEnding = false }
        let before = pool[].connections
        while let idle = pool[].idleHead { closeUpstream(idle, servesWaiters: false) }
        var shared = pool[].sharedHead
        while let connection = shared {
            shared = connection[].nextIdle
            connection[].isDraining = true
            if connection[].exchangeCount == 0 { closeUpstream(connection, servesWaiters: false) }
        }
        if pool[].isInTable {
            // Whoever asks for the host from now on gets the registry's new client for it.
            table[].remove(pool)
            pool[].isInTable = false
        }
        // Waiters may have lacked what was closed, and whoever lost it finds it closed.
        if pool[].connections < before { dialForWaiters(pool) }
        guard pool[].isUnused else { return }
        pool[].hasEnded = true
        resolver[].forget(pool[].token)
        foldTally(pool)
        counters.close(.hostClient)
        pools[].retire(pool[].token)
    }

    /// The registry let a host go.
    func hostRetired(_ client: HostClient) {
        guard let pool = pool(of: client) else { return }
        retireIfUnused(pool)
    }

    /// Another worker gave up a connection to a host that this one waits for.
    func capacityFreed(_ client: HostClient) {
        guard let pool = pool(of: client) ?? retiredPool(of: client) else { return }
        pool[].yieldsTurn = false
        serveWaiters(pool)
    }

    /// The pool of a host that has left the registry, and hence the table, while exchanges wait.
    private func retiredPool(of client: HostClient) -> Ref<HostPool>? {
        guard client.record[].isRetired.load(ordering: .relaxed) else { return nil }
        var found: Ref<HostPool>?
        pools[].forEach { if $0[].client === client, $0[].waiting > 0 { found = $0 } }
        return found
    }

    /// This worker's pool for a host that another thread speaks of.
    func pool(of client: HostClient) -> Ref<HostPool>? {
        let pool = table[].find(client.key, client.hostBytes)
        return pool?[].client === client ? pool : nil
    }
}
