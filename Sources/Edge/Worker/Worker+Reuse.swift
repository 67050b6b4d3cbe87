// Which connection a request may have without a dial, how long one rests, and how old it gets.

import DequeModule
import Synchronization

extension Worker {
    // MARK: choosing

    /// A connection of the pool for an exchange; nil when none will do.
    ///
    /// A request that can be repeated takes what comes: the end of a resting connection may be in
    /// its socket already, and then it is sent again. Any other pays a system call to find out.
    @inline(__always)
    func readyConnection(
        for exchange: Ref<Exchange>, in pool: Ref<HostPool>
    ) -> Ref<UpstreamConnection>? {
        guard exchange[].isRepeatable else { return checkedConnection(for: exchange, in: pool) }
        return candidate(for: exchange, in: pool)
    }

    @inline(__always)
    private func candidate(
        for exchange: Ref<Exchange>, in pool: Ref<HostPool>
    ) -> Ref<UpstreamConnection>? {
        let since = exchange[].freshSince
        if !exchange[].wantsUpgrade, let shared = pool[].sharedWithCapacity(since: since) {
            return shared
        }
        // One that was just dialled for somebody who asks for that is on top.
        let idle = since == .zero ? pool[].idleToUse : pool[].idleHead
        guard let idle else { return nil }
        if since != .zero, idle[].history.served > 0 || idle[].history.readyAt < since {
            return nil
        }
        return idle
    }

    /// Passes over connections that rest and have ended.
    ///
    /// What is there to be read is read: the peer's end, or bytes that nobody asked for, close the
    /// connection; tickets of TLS and frames of HTTP/2 that end nothing leave it in use.
    @inline(never)
    private func checkedConnection(
        for exchange: Ref<Exchange>, in pool: Ref<HostPool>
    ) -> Ref<UpstreamConnection>? {
        while let connection = candidate(for: exchange, in: pool) {
            guard connection[].exchangeCount == 0, connection[].history.readyAt < loop[].now,
                !Socket.isQuiet(connection[].transport.descriptor)
            else { return connection }
            // The event that tells of it is still to come in this iteration or the next.
            connection[].transport.noteReadable(endsSoon: false)
            readUpstream(connection)
            if connection[].isIdle || connection[].hasStreamCapacity { return connection }
            counters.add(.upstreamStale)
        }
        return nil
    }

    /// No new connection can be had: those who wait for one take any.
    func settleForAny(_ pool: Ref<HostPool>) {
        for token in pool[].waiters {
            guard let exchange = exchanges[].resolve(token), exchange[].isWaiting else { continue }
            exchange[].freshSince = .zero
        }
        pool[].waitingForFresh = 0
        serveWaiters(pool)
    }

    // MARK: resting

    /// Until when a connection that came to rest at `idleSince` is kept.
    @inline(__always)
    func restEnds(_ upstream: Ref<UpstreamConnection>) -> Instant {
        var keepalive = upstream[].history.keepalive
        if let rest = upstream[].pool[].record[].memory.rest(loop[].now) {
            keepalive = min(keepalive, rest)
        }
        return min(upstream[].idleSince + keepalive, upstream[].history.retiresAt)
    }

    /// The host says how long this connection may rest.
    func noteAnnouncedRest(_ upstream: Ref<UpstreamConnection>, seconds: UInt32) {
        let limit = Limits.safeRest(.seconds(Int64(seconds)))
        upstream[].history.keepalive = min(upstream[].history.keepalive, limit)
    }

    /// The host has ended a connection that rested, or that had rested until the request which met
    /// its end: all workers learn how long that was.
    func noteEndOfRest(_ upstream: Ref<UpstreamConnection>) {
        guard upstream[].phase == .ready, upstream[].history.served > 0 else { return }
        var end = loop[].now
        if let exchange = exchanges[].resolve(upstream[].firstExchange) {
            guard !upstream[].isHTTP2, exchange[].record.isReused, !exchange[].hasResponseBytes
            else { return }
            end = exchange[].dispatched
        }
        upstream[].pool[].record[].memory.noteClose(after: end - upstream[].idleSince, loop[].now)
    }

    // MARK: age

    /// When a connection begun now takes its last exchange: up to a tenth earlier or later than
    /// `max_age` says, so that those begun together do not end together.
    func retirement(_ upkeep: ConnectionUpkeep) -> Instant {
        let age = upkeep.maxAge.nanoseconds
        guard age > 0 else { return .never }
        let tenth = age / 10
        return loop[].now + Duration(nanoseconds: .random(in: age - tenth...age + tenth))
    }
}
