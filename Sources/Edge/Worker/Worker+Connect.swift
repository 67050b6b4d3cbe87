// From a host to a connection: reuse, share, dial, wait.

import DequeModule
import Synchronization

extension Worker {
    /// This worker's pool for a route and id, made now if need be.
    func findPool(_ runtime: RouteRuntime, _ id: Bytes) -> Ref<HostPool>? {
        // The expanded host stands in the scratch of routing, whose bytes are no longer needed.
        let place = unsafe state[].routing.reserve(Limits.hostBytes + 64)
        let count = runtime.template.expandHost(id: id, into: place)
        let host = unsafe Bytes(place, count: count)
        defer { state[].routing.releaseUnused() }
        let hash = table[].hash(runtime.identityNumber, host)
        if let pool = table[].find(hash, runtime.identityNumber, host) { return pool }
        return makePool(runtime.identity, hash, host)
    }

    @inline(never)
    private func makePool(
        _ identity: UpstreamIdentity, _ hash: UInt64, _ host: Bytes
    ) -> Ref<HostPool>? {
        let client = registry.client(identity, host: host, worker: index, now: loop[].now)
        let pool = pools[].insert { token in HostPool(token: token, hash: hash, client: client) }
        guard let pool else { return nil }
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
            table[].find(pool[].hash, pool[].identity, pool[].host) == nil,
            registry.adopt(pool[].client, worker: index)
        else { return }
        table[].insert(pool)
        pool[].isInTable = true
    }

    /// Gives an exchange a connection: one that has room, one that rests, or a place in the queue.
    func connect(_ exchange: Ref<Exchange>, _ pool: Ref<HostPool>) {
        pool[].record[].lastUsed.store(
            loop[].now.nanoseconds / 1_000_000, ordering: .relaxed)
        if exchange[].wantsUpgrade, !pool[].protocols.contains(.http1) {
            // A proxy may ignore Upgrade (RFC 9110 §7.8); these hosts do not speak what has it.
            exchange[].wantsUpgrade = false
        }
        if pool[].waiting == 0,
            pool[].record[].inFlight.load(ordering: .relaxed) < exchange[].policy.maxInFlight
        {
            if !exchange[].wantsUpgrade, let shared = pool[].sharedWithCapacity() {
                return attach(exchange, to: shared)
            }
            if let idle = pool[].idleHead {
                takeIdle(idle)
                return attach(exchange, to: idle)
            }
        }
        // Those whose dials are under way are served by these; the queue is what is behind them.
        let dialling = max(pool[].dialling, pool[].isResolving ? 1 : 0)
        if pool[].record[].waiting.load(ordering: .relaxed) - dialling
            >= exchange[].policy.maxQueue
        {
            return refuse(
                exchange, 503, .queueFull, "too many requests wait for this upstream host")
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
        pool[].record[].waiting.wrappingSubtract(1, ordering: .relaxed)
        counters.close(.waiter)
        if pool[].waiting == 0 {
            pool[].waiters.removeAll(keepingCapacity: true)
            pool[].record[].starving.bitwiseAnd(~workerBit, ordering: .relaxed)
            resolver[].forget(pool[].token)
            pool[].isResolving = false
        }
    }

    var workerBit: UInt64 { 1 << UInt64(index & 63) }

    /// Hands connections to those who wait, oldest first, then dials for the rest.
    func serveWaiters(_ pool: Ref<HostPool>) {
        while pool[].waiting > 0, let token = pool[].waiters.first {
            guard let exchange = exchanges[].resolve(token), exchange[].isWaiting else {
                pool[].waiters.removeFirst()
                continue
            }
            guard
                pool[].record[].inFlight.load(ordering: .relaxed)
                    < exchange[].policy.maxInFlight
            else { break }
            let shared = exchange[].wantsUpgrade ? nil : pool[].sharedWithCapacity()
            guard let connection = shared ?? pool[].idleHead else { break }
            if shared == nil { takeIdle(connection) }
            pool[].waiters.removeFirst()
            stopWaiting(exchange, pool)
            exchange[].record.queue = queueTime(exchange, connection)
            attach(exchange, to: connection)
        }
        dialForWaiters(pool)
        retireIfUnused(pool)
    }

    /// How long an exchange waited for its connection, without that connection's dial.
    private func queueTime(
        _ exchange: Ref<Exchange>, _ connection: Ref<UpstreamConnection>
    ) -> Duration {
        let began = exchange[].waitBegan
        let waited = loop[].now - began
        guard connection[].served == 0 else { return waited }
        let dialled = connection[].readyAt - max(began, connection[].dialledAt)
        return Duration(nanoseconds: max(0, waited.nanoseconds - max(0, dialled.nanoseconds)))
    }

    // MARK: idle connections

    /// An HTTP/1 connection rests: on top of its pool's pile and of the worker's list.
    func putIdle(_ connection: Ref<UpstreamConnection>) {
        let pool = connection[].pool
        connection[].idleSince = loop[].now
        pool[].pushIdle(connection)
        addIdle(connection)
        if connection[].output.isEmpty { connection[].transport.tls?.releaseBuffers() }
        loop[].timers.set(
            &connection[].deadline, connection[].token,
            at: loop[].now + connection[].keepalive)
    }

    private func takeIdle(_ connection: Ref<UpstreamConnection>) {
        let pool = connection[].pool
        pool[].removeIdle(connection)
        removeIdle(connection)
        loop[].timers.clear(&connection[].deadline)
    }

    func addIdle(_ connection: Ref<UpstreamConnection>) {
        guard !connection[].isListed else { return }
        connection[].isListed = true
        connection[].nextUsed = state[].newestIdle
        connection[].previousUsed = nil
        state[].newestIdle?[].previousUsed = connection
        state[].newestIdle = connection
        if state[].oldestIdle == nil { state[].oldestIdle = connection }
    }

    func removeIdle(_ connection: Ref<UpstreamConnection>) {
        guard connection[].isListed else { return }
        connection[].isListed = false
        let next = connection[].nextUsed
        let previous = connection[].previousUsed
        if let next { next[].previousUsed = previous } else { state[].oldestIdle = previous }
        if let previous { previous[].nextUsed = next } else { state[].newestIdle = next }
        connection[].nextUsed = nil
        connection[].previousUsed = nil
    }

    // MARK: dialling

    /// As many dials as the waiters need and the bounds allow.
    private func dialForWaiters(_ pool: Ref<HostPool>) {
        guard pool[].waiting > 0 else { return }
        // Of a host that may multiplex, the first connection decides for all.
        if pool[].mayMultiplex, pool[].waitingForUpgrade == 0, pool[].dialling > 0 { return }
        guard pool[].dialling < pool[].waiting, hasAddresses(pool) else { return }
        let policy = waiterPolicy(pool)
        if pool[].waitingForUpgrade == 0, pool[].sharedWithCapacity() != nil { return }
        // No connection for those that the bound of exchanges would keep from using it.
        let room = policy.maxInFlight - pool[].record[].inFlight.load(ordering: .relaxed)
        let wanted = min(pool[].waiting, room)
        while pool[].dialling < wanted {
            let start = pool[].nextAddress
            pool[].nextAddress = (start + 1) % max(pool[].addresses.count, 1)
            guard
                dial(
                    pool, address: start % pool[].addresses.count,
                    left: pool[].addresses.count - 1, policy)
            else { break }
            if pool[].mayMultiplex, pool[].waitingForUpgrade == 0 { break }
        }
    }

    /// The policy of the oldest waiter, on whose behalf a dial is made.
    private func waiterPolicy(_ pool: Ref<HostPool>) -> ExchangePolicy {
        for token in pool[].waiters {
            if let exchange = exchanges[].resolve(token) { return exchange[].policy }
        }
        return ExchangePolicy()
    }

    /// Whether the host's addresses are known; asks for them if not.
    private func hasAddresses(_ pool: Ref<HostPool>) -> Bool {
        switch resolver[].resolve(pool[].client.host, waiter: pool[].token) {
        case .addresses(let addresses):
            pool[].isResolving = false
            let port = pool[].client.identity.key.port
            pool[].addresses = addresses.map { address in
                var address = address
                address.port = port
                return address
            }
            pool[].client.setAddresses(pool[].addresses)
            return !addresses.isEmpty
        case .pending:
            pool[].isResolving = true
            return false
        case .failed(let failure):
            pool[].isResolving = false
            counters.add(.resolverFailures)
            switch failure {
            case .notFound:
                failWaiters(pool, 404, .dnsError, "the upstream host does not exist")
            case .timedOut:
                failWaiters(
                    pool, 504, .dnsTimeout, "the upstream host's name was not resolved in time")
            default:
                failWaiters(pool, 502, .dnsError, "the upstream host's name cannot be resolved")
            }
            return false
        }
    }

    func namesAnswered(_ token: Token) {
        guard let pool = pools[].resolve(token) else { return }
        pool[].isResolving = false
        dialForWaiters(pool)
        retireIfUnused(pool)
    }

    /// Opens one connection; false when a bound forbids it now.
    func dial(
        _ pool: Ref<HostPool>, address index: Int, left: Int, _ policy: ExchangePolicy
    ) -> Bool {
        guard pool[].record[].reserveConnection(limit: policy.maxConnections) else {
            askForCapacity(pool)
            return false
        }
        if !registry.reserveConnection() {
            // The oldest of the resting makes room for the one that is needed now.
            if let oldest = state[].oldestIdle { closeUpstream(oldest) }
            guard registry.reserveConnection() else {
                pool[].record[].connections.wrappingSubtract(1, ordering: .relaxed)
                askForRoom(pool)
                return false
            }
        }
        let address = pool[].addresses[index]
        counters.add(.upstreamDials)
        pool[].record[].dials.wrappingAdd(1, ordering: .relaxed)
        do throws(SystemFailure) {
            let descriptor = try Socket.connect(address)
            try begin(descriptor, pool, address, index: index, left: left, policy)
            return true
        } catch {
            pool[].record[].connections.wrappingSubtract(1, ordering: .relaxed)
            registry.releaseConnection()
            counters.add(.upstreamDialFailures)
            pool[].lastFailure = Self.reason(error.code)
            if left > 0 {
                return dial(
                    pool, address: (index + 1) % pool[].addresses.count, left: left - 1, policy)
            }
            if pool[].dialling == 0 { dialsFailed(pool) }
            return false
        }
    }

    private func begin(
        _ descriptor: Int32, _ pool: Ref<HostPool>, _ address: SocketAddress, index: Int,
        left: Int, _ policy: ExchangePolicy
    ) throws(SystemFailure) {
        let now = loop[].now
        let connection = upstreams[].insert { token in
            UpstreamConnection(
                token: token, pool: pool, address: address, descriptor: descriptor,
                buffers: buffers, now: now)
        }
        guard let connection else {
            Socket.close(descriptor)
            throw SystemFailure(code: 24, call: "slab")
        }
        do throws(SystemFailure) {
            try loop[].poller.add(descriptor, .connection, connection[].token)
        } catch {
            connection[].transport.close()
            upstreams[].retire(connection[].token)
            throw error
        }
        counters.open(.upstreamSocket)
        pool[].dialling += 1
        pool[].connections += 1
        connection[].addressIndex = index
        connection[].addressesLeft = left
        connection[].keepalive = policy.keepalive
        connection[].handshakeTimeout = policy.handshakeTimeout
        connection[].dialUntil = now + policy.dialTimeout
        connection[].forcesHTTP1 = pool[].waitingForUpgrade > 0
        // Connection attempt delay of happy eyeballs (RFC 8305 §5).
        let next = left > 0 ? now + .milliseconds(300) : connection[].dialUntil
        loop[].timers.set(
            &connection[].deadline, connection[].token, at: min(next, connection[].dialUntil))
    }

    /// What a failed system call means for a request.
    static func reason(_ code: Int32) -> ErrorReason {
        switch code {
        case 111: .connectionRefused  // ECONNREFUSED
        case 110: .connectionTimeout  // ETIMEDOUT
        case 101, 113: .destinationUnroutable  // ENETUNREACH, EHOSTUNREACH
        // ENFILE, EMFILE, ENOMEM, ENOBUFS, ENOSPC; EAGAIN, EADDRNOTAVAIL: no local port is left.
        case 23, 24, 12, 105, 28, 11, 99: .connectionLimitReached
        default: .connectionTerminated
        }
    }

    /// A dial came to nothing: the next address, or the end for those it was made for.
    func dialFailed(_ connection: Ref<UpstreamConnection>, _ reason: ErrorReason) {
        let pool = connection[].pool
        let index = connection[].addressIndex
        let left = connection[].addressesLeft
        let hasStartedNext = connection[].hasStartedNext
        counters.add(.upstreamDialFailures)
        pool[].record[].failures.wrappingAdd(1, ordering: .relaxed)
        pool[].lastFailure = reason
        closeUpstream(connection, servesWaiters: false)
        if left > 0, !hasStartedNext, pool[].waiting > 0 {
            let policy = waiterPolicy(pool)
            let next = (index + 1) % max(pool[].addresses.count, 1)
            if !pool[].addresses.isEmpty, dial(pool, address: next, left: left - 1, policy) {
                return
            }
        }
        if pool[].dialling == 0 { dialsFailed(pool) }
        retireIfUnused(pool)
    }

    /// No dial is under way any more and the last one failed.
    private func dialsFailed(_ pool: Ref<HostPool>) {
        guard pool[].waiting > 0 else { return }
        let reason = pool[].lastFailure
        let onlyOldest = pool[].connections > 0
        switch reason {
        case .connectionTimeout:
            failWaiters(
                pool, 504, reason, "connecting to the upstream took too long", onlyOldest)
        case .connectionLimitReached:
            failWaiters(
                pool, 503, reason, "the system has no room for another connection", onlyOldest)
        case .tlsCertificateError:
            failWaiters(
                pool, 502, reason, "the upstream's certificate was not accepted", onlyOldest)
        case .tlsProtocolError:
            failWaiters(pool, 502, reason, "the TLS handshake with the upstream failed", onlyOldest)
        case .connectionRefused:
            failWaiters(pool, 502, reason, "the upstream refused the connection", onlyOldest)
        default:
            failWaiters(pool, 502, reason, "the connection to the upstream failed", onlyOldest)
        }
    }

    private func failWaiters(
        _ pool: Ref<HostPool>, _ status: UInt16, _ reason: ErrorReason, _ details: StaticString,
        _ onlyOldest: Bool = false
    ) {
        while let token = pool[].waiters.popFirst() {
            guard let exchange = exchanges[].resolve(token), exchange[].isWaiting else { continue }
            exchange[].attempts = max(exchange[].attempts, 1)
            fail(exchange, status, reason, details)
            if onlyOldest { return }
        }
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
        guard pool[].isUnused else { return }
        pool[].hasEnded = true
        resolver[].forget(pool[].token)
        counters.close(.hostClient)
        pools[].retire(pool[].token)
    }

    /// The registry let a host go.
    func hostRetired(_ client: HostClient) {
        guard let pool = pool(of: client), pool[].client === client else { return }
        retireIfUnused(pool)
    }

    /// Another worker gave up a connection to a host that this one waits for.
    func capacityFreed(_ client: HostClient) {
        guard let pool = pool(of: client) else { return }
        serveWaiters(pool)
    }

    /// This worker's pool for a host that another thread speaks of.
    func pool(of client: HostClient) -> Ref<HostPool>? {
        let number = client.identity.number
        return table[].find(
            table[].hash(number, client.hostBytes), number, client.hostBytes)
    }
}
