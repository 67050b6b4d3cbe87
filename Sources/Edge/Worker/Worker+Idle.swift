// Upstream connections that rest: the piles of their pools, and the worker's list of all.

import Synchronization

extension Worker {
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

    func takeIdle(_ connection: Ref<UpstreamConnection>) {
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

    /// Without exchanges, an HTTP/2 connection rests like any other.
    func armSharedIdle(_ upstream: Ref<UpstreamConnection>) {
        upstream[].idleSince = loop[].now
        addIdle(upstream)
        loop[].timers.set(
            &upstream[].deadline, upstream[].token, at: loop[].now + upstream[].keepalive)
        roomFreed()
    }

    /// After an exchange has left an HTTP/2 connection.
    func restShared(_ upstream: Ref<UpstreamConnection>) {
        guard upstream[].exchangeCount == 0, upstream[].phase == .ready else { return }
        let pool = upstream[].pool
        if upstream[].isDraining || !pool[].isInTable || state[].isDraining
            || pool[].record[].isRetired.load(ordering: .relaxed)
            || pool[].record[].starving.load(ordering: .relaxed) & ~workerBit != 0
        {
            closeUpstream(upstream, servesWaiters: false)
        } else {
            armSharedIdle(upstream)
        }
    }
}
