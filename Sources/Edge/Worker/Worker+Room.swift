// When all connections of a host or of the process are taken: who has one that rests gives it up.

import Synchronization

extension Worker {
    /// Counts one more connection of a host; if it has all that it may, workers in which one rests
    /// are asked for it.
    private func holdOrAsk(_ pool: Ref<HostPool>, limit: Int) -> Bool {
        if budget[].hold(pool[].record, limit: limit) { return true }
        stopStarving(pool)
        let before = pool[].record[].starving.bitwiseOr(
            workerBit, ordering: .sequentiallyConsistent)
        // One that was closed in between has told nobody.
        if budget[].hold(pool[].record, limit: limit) { return true }
        if before.oldValue & workerBit == 0 { askForCapacity(pool) }
        return false
    }

    private func askForCapacity(_ pool: Ref<HostPool>) {
        let holders = pool[].record[].workers.load(ordering: .relaxed) & ~workerBit
        post(.yield(pool[].client), to: holders)
    }

    /// Another worker lacks a connection to a host: one that rests here is closed.
    func yieldConnection(_ client: HostClient) {
        if let pool = pool(of: client), let idle = idleConnection(of: pool) { closeUpstream(idle) }
    }

    /// A connection of the pool without an exchange.
    func idleConnection(of pool: Ref<HostPool>) -> Ref<UpstreamConnection>? {
        if let idle = pool[].idleHead { return idle }
        var shared = pool[].sharedHead
        while let connection = shared {
            if connection[].exchangeCount == 0 { return connection }
            shared = connection[].nextIdle
        }
        return nil
    }

    /// Whether the host may have one more exchange; if not, whoever ends one tells this worker.
    @inline(__always)
    func mayBegin(_ pool: Ref<HostPool>, limit: Int) -> Bool {
        pool[].record[].inFlight.load(ordering: .relaxed) < limit || isFree(pool, limit)
    }

    /// Asks to be told, and then looks once more: the last exchange may have ended in between.
    @inline(never)
    private func isFree(_ pool: Ref<HostPool>, _ limit: Int) -> Bool {
        pool[].record[].crowded.bitwiseOr(workerBit, ordering: .sequentiallyConsistent)
        return pool[].record[].inFlight.load(ordering: .sequentiallyConsistent) < limit
    }

    /// An exchange has ended: workers whose waiters the bound of exchanges holds back try again.
    ///
    /// Those of this worker do so a turn later, or they would always be first.
    @inline(never)
    func tellCrowded(_ pool: Ref<HostPool>) {
        let crowded = pool[].record[].crowded.exchange(0, ordering: .sequentiallyConsistent)
        guard crowded & ~workerBit != 0 else { return }
        pool[].yieldsTurn = pool[].waiting > 0
        post(.capacity(pool[].client), to: pool[].waiting > 0 ? crowded | workerBit : crowded)
    }

    /// Takes a place for one more connection of a host; false when it has to wait for one.
    func takePlace(_ pool: Ref<HostPool>, _ policy: ExchangePolicy) -> Bool {
        guard holdOrAsk(pool, limit: policy.maxConnections) else { return false }
        // Those that starve go first: who comes meanwhile waits until they have what they lack.
        if budget[].isContended, !pool[].isStarving, budget[].turnAway() {
            letGo(pool[].client)
            awaitRoom(pool)
            return false
        }
        if !budget[].reserve() {
            // The oldest of the resting makes room for the one that is needed now.
            if let oldest = state[].oldestIdle { closeUpstream(oldest) }
            guard budget[].reserve() else {
                askForRoom(pool)
                letGo(pool[].client)
                return false
            }
        }
        stopStarving(pool)
        return true
    }

    /// All connections of the process are taken: other workers are asked for one that rests, and
    /// hosts above their share for one that becomes free.
    private func askForRoom(_ pool: Ref<HostPool>) {
        awaitRoom(pool)
        if !pool[].isStarving, budget[].isWithinShare(pool[].record) {
            pool[].isStarving = true
            budget[].beginStarving()
        }
        for other in mailboxes.indices where other != index {
            mailboxes[other].post(.reclaim(worker: index))
        }
    }

    private func awaitRoom(_ pool: Ref<HostPool>) {
        guard !pool[].isStarved else { return }
        pool[].isStarved = true
        state[].starved.append(pool[].token)
    }

    /// The pool has what it lacked, or nobody in it wants it any more.
    func stopStarving(_ pool: Ref<HostPool>) {
        guard pool[].isStarving else { return }
        pool[].isStarving = false
        guard budget[].endStarving() else { return }
        for mailbox in mailboxes { mailbox.post(.room) }
    }

    /// Of a host that has to make room, one HTTP/2 connection at a time takes nothing new.
    func giveUpShared(_ upstream: Ref<UpstreamConnection>) {
        guard givesUp(upstream[].pool) else { return }
        var shared = upstream[].pool[].sharedHead
        while let connection = shared {
            if connection[].isDraining { return }
            shared = connection[].nextIdle
        }
        upstream[].isDraining = true
    }

    /// Whether a connection that becomes free has to make room for a host below its share.
    @inline(__always)
    func givesUp(_ pool: Ref<HostPool>) -> Bool {
        budget[].isContended && budget[].hasToGiveUp(pool[].record)
    }

    /// A connection was closed here, or one came to rest: whoever lacks one may have its place.
    func roomFreed() {
        if !state[].starved.isEmpty { state[].mayServeStarved = true }
        guard state[].reclaimers != 0 else { return }
        let reclaimers = state[].reclaimers
        state[].reclaimers = 0
        if let oldest = state[].oldestIdle { closeUpstream(oldest) }
        post(.room, to: reclaimers)
    }

    /// Tells every worker that has its bit in a mask.
    func post(_ message: WorkerMessage, to workers: UInt64) {
        for other in mailboxes.indices where workers >> UInt64(other & 63) & 1 == 1 {
            mailboxes[other].post(message)
        }
    }

    /// A connection is gone: those that lack one, of its host or of any, may have its place.
    func freePlace(_ client: HostClient) {
        budget[].release()
        letGo(client)
        roomFreed()
    }

    /// A host has one connection less, or one that was to be: other workers with waiters for it may
    /// have its place.
    func letGo(_ client: HostClient) {
        budget[].letGo(client.record)
        let starving = client.record[].starving.load(ordering: .sequentiallyConsistent)
        let others = starving & ~workerBit
        guard others != 0 else { return }
        client.record[].starving.bitwiseAnd(~others, ordering: .relaxed)
        post(.capacity(client), to: others)
    }

    /// A connection has come to rest without an exchange's end: it may be wanted elsewhere.
    func offer(_ connection: Ref<UpstreamConnection>) {
        guard connection[].isListed else { return }
        let pool = connection[].pool
        let starving = pool[].record[].starving.load(ordering: .relaxed)
        if starving & ~workerBit != 0 || givesUp(pool) {
            closeUpstream(connection, servesWaiters: false)
        } else {
            roomFreed()
        }
    }

    /// Another worker has nothing to rest and lacks a connection.
    func reclaim(for worker: Int) {
        // One that was closed in between has told nobody.
        if budget[].hasRoom { return post(.room, to: 1 << UInt64(worker & 63)) }
        state[].reclaimers |= 1 << UInt64(worker & 63)
        if state[].oldestIdle != nil { roomFreed() }
    }

    /// Tries again for the pools that could not dial; at the end of an iteration.
    func serveStarved() {
        state[].mayServeStarved = false
        let starved = state[].starved
        state[].starved = []
        for token in starved {
            guard let pool = pools[].resolve(token) else { continue }
            pool[].isStarved = false
            serveWaiters(pool)
            if !pool[].isStarved { stopStarving(pool) }
        }
    }
}
