// Dialling a host again that has refused: it may be starting anew.

import Synchronization

extension Worker {
    /// All addresses have refused: whether they will be tried again before the waiters are told.
    ///
    /// Only for a host that has answered before, and only once until it answers again: a dead one
    /// costs its first waiters a fraction of a second and those after them nothing.
    func redialsSoon(_ pool: Ref<HostPool>) -> Bool {
        guard pool[].redials < Limits.redials,
            pool[].lastFailure == .connectionRefused || pool[].lastFailure == .connectionTerminated,
            pool[].record[].hasAnswered.load(ordering: .relaxed)
        else { return false }
        let pause = Limits.redialPause.nanoseconds << Int64(pool[].redials)
        pool[].redials += 1
        counters.add(.upstreamRedials)
        loop[].timers.set(
            &pool[].redial, pool[].token, at: loop[].now + Duration(nanoseconds: pause))
        return true
    }

    func redialDue(_ pool: Ref<HostPool>) {
        dialForWaiters(pool)
        retireIfUnused(pool)
    }

    /// A dial has come to a connection that can serve.
    func dialSucceeded(_ upstream: Ref<UpstreamConnection>) {
        let pool = upstream[].pool
        countDialled(upstream)
        pool[].redials = 0
        loop[].timers.cancel(&pool[].redial)
        addressAnswered(upstream)
    }
}
