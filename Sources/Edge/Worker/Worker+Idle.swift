// Upstream connections that rest: the piles of their pools, and the worker's list of all.

import Synchronization

extension Worker {
    /// An HTTP/1 connection rests: on top of its pool's pile and of the worker's list.
    func putIdle(_ connection: Ref<UpstreamConnection>) {
        let pool = connection[].pool
        pool[].pushIdle(connection)
        beginRest(connection)
        if connection[].output.isEmpty { connection[].transport.tls?.releaseBuffers() }
        loop[].timers.set(
            &connection[].deadline, connection[].token, at: nextLook(connection))
    }

    func takeIdle(_ connection: Ref<UpstreamConnection>) {
        let pool = connection[].pool
        pool[].removeIdle(connection)
        removeIdle(connection)
        loop[].timers.clear(&connection[].deadline)
    }

    func addIdle(_ connection: Ref<UpstreamConnection>) {
        guard !connection[].isListed else { return }
        connection[].isListed = true
        let pool = connection[].pool
        pool[].idleCount += 1
        pool[].record[].idle.wrappingAdd(1, ordering: .relaxed)
        pool[].record[].noteRest(in: index)
        connection[].nextUsed = state[].newestIdle
        connection[].previousUsed = nil
        state[].newestIdle?[].previousUsed = connection
        state[].newestIdle = connection
        if state[].oldestIdle == nil { state[].oldestIdle = connection }
    }

    func removeIdle(_ connection: Ref<UpstreamConnection>) {
        guard connection[].isListed else { return }
        connection[].pool[].record[].idle.wrappingSubtract(1, ordering: .relaxed)
        unlist(connection)
    }

    private func unlist(_ connection: Ref<UpstreamConnection>) {
        connection[].isListed = false
        let pool = connection[].pool
        pool[].idleCount -= 1
        let next = connection[].nextUsed
        let previous = connection[].previousUsed
        if let next { next[].previousUsed = previous } else { state[].oldestIdle = previous }
        if let previous { previous[].nextUsed = next } else { state[].newestIdle = next }
        connection[].nextUsed = nil
        connection[].previousUsed = nil
    }

    /// Without exchanges, an HTTP/2 connection rests like any other.
    func armSharedIdle(_ upstream: Ref<UpstreamConnection>) {
        beginRest(upstream)
        armWatch(upstream)
        roomFreed()
    }

    /// After an exchange has left an HTTP/2 connection.
    func restShared(_ upstream: Ref<UpstreamConnection>) {
        guard upstream[].exchangeCount == 0, upstream[].phase == .ready else { return }
        let pool = upstream[].pool
        if upstream[].isDraining || loop[].now >= upstream[].history.retiresAt
            || !pool[].isInTable || state[].hasToldAll
            || pool[].record[].isRetired.load(ordering: .relaxed)
            || pool[].record[].starving.load(ordering: .relaxed) & ~workerBit != 0
        {
            closeUpstream(upstream, servesWaiters: false)
        } else {
            armSharedIdle(upstream)
        }
    }

    // MARK: how long

    /// A connection has come to rest.
    private func beginRest(_ connection: Ref<UpstreamConnection>) {
        let pool = connection[].pool
        connection[].idleSince = loop[].now
        addIdle(connection)
        connection[].surplusAt = .never
        if pool[].record[].idle.load(ordering: .relaxed) > pool[].idleCount {
            // Others rest in other workers: of a quiet host one worker's are enough.
            connection[].surplusAt = loop[].now + Limits.surplusRest
            connection[].requestsAtRest = pool[].record[].requests.load(ordering: .relaxed)
        }
    }

    /// When the rest of a connection is to be looked at again.
    @inline(__always)
    func nextLook(_ connection: Ref<UpstreamConnection>) -> Instant {
        min(restEnds(connection), connection[].surplusAt)
    }

    /// The deadline of a resting HTTP/1 connection has come.
    func restPassed(_ connection: Ref<UpstreamConnection>) {
        if restIsOver(connection) { return closeUpstream(connection) }
        loop[].timers.set(
            &connection[].deadline, connection[].token, at: nextLook(connection))
    }

    /// Whether a connection has rested too long, or more of them rest than its host needs.
    func restIsOver(_ connection: Ref<UpstreamConnection>) -> Bool {
        let now = loop[].now
        guard now < restEnds(connection) else { return true }
        guard now >= connection[].surplusAt else { return false }
        let requests = connection[].pool[].record[].requests.load(ordering: .relaxed)
        let isQuiet = requests &- connection[].requestsAtRest < Limits.surplusRequests
        if isQuiet, givesUpSurplus(connection) { return true }
        connection[].requestsAtRest = requests
        connection[].surplusAt = now + Limits.surplusRest
        return false
    }

    /// Takes a connection off the count of those that rest, if others do in other workers: of those
    /// who try at the same time, one fails.
    private func givesUpSurplus(_ connection: Ref<UpstreamConnection>) -> Bool {
        let pool = connection[].pool
        let resting = pool[].record[].idle.wrappingSubtract(1, ordering: .relaxed).oldValue
        guard resting > pool[].idleCount else {
            pool[].record[].idle.wrappingAdd(1, ordering: .relaxed)
            return false
        }
        unlist(connection)
        return true
    }
}
