// Hosts that fail: what counts as a failure, and who is kept from them until they are well.

import DequeModule
import Synchronization

extension Worker {
    // MARK: the way in

    /// Whether a request may go to a host whose breaker is not closed; answers it if not.
    @inline(never)
    func passesBreaker(_ exchange: Ref<Exchange>, _ pool: Ref<HostPool>) -> Bool {
        guard !exchange[].isProbe else { return true }
        guard exchange[].policy.health.isEnabled else {
            // Switched off by a reload.
            pool[].record[].health.close()
            return true
        }
        switch pool[].record[].health.admit(now: loop[].now) {
        case .passes: return true
        case .probes:
            exchange[].isProbe = true
            return true
        case .refused(let wait):
            refuse(exchange, 503, .circuitOpen, Self.isIll, retryAfter: wait)
            return false
        }
    }

    static let isIll: StaticString = "the upstream host has failed repeatedly"

    /// Answers those that waited for a host when its breaker opened.
    @inline(never)
    func refuseWaiters(_ pool: Ref<HostPool>) {
        guard case .open(let until) = pool[].record[].health.state else { return }
        let waiters = pool[].waiters
        for token in waiters {
            guard let exchange = exchanges[].resolve(token), exchange[].isWaiting,
                !exchange[].isProbe, exchange[].policy.health.isEnabled
            else { continue }
            exchange[].record.queue = loop[].now - exchange[].waitBegan
            fail(exchange, 503, .circuitOpen, Self.isIll, retryAfter: until - loop[].now)
        }
    }

    // MARK: the way out

    /// The final head of a service's answer is here.
    @inline(__always)
    func hostAnswered(_ exchange: Ref<Exchange>, _ pool: Ref<HostPool>, status: UInt16) {
        if exchange[].policy.health.statuses.contains(status) { return hostFailed(exchange) }
        pool[].record[].health.succeeded(isProbe: exchange[].isProbe)
        exchange[].isProbe = false
    }

    /// A request has failed by its host's fault: no answer in time, none before the connection's
    /// end, none that is HTTP, or one that says so.
    @inline(never)
    func hostFailed(_ exchange: Ref<Exchange>) {
        guard let pool = exchange[].pool else { return }
        let isProbe = exchange[].isProbe
        exchange[].isProbe = false
        noteFailure(pool, exchange[].policy.health, .init(isProbe: isProbe))
    }

    /// Whether the loss of a connection says that the host is ill.
    ///
    /// A kept one may end at any time before its answer begins: that says nothing, unless it has
    /// not ended but is silent. Nor does a cut answer, or want of memory here.
    func isHostsFault(_ exchange: Ref<Exchange>, _ reason: ErrorReason) -> Bool {
        let mayHaveEnded = exchange[].record.isReused && !exchange[].hasResponseBytes
        return reason != .internalError && exchange[].responseProgress == .none
            && (!mayHaveEnded || reason == .connectionReadTimeout)
    }

    /// No address of the host could be connected to, on behalf of those who wait.
    ///
    /// Want of descriptors, ports or memory here is not its fault.
    @inline(never)
    func hostUnreachable(_ pool: Ref<HostPool>) {
        guard pool[].lastFailure != .connectionLimitReached, pool[].lastFailure != .internalError
        else { return }
        var policy: HealthPolicy?
        for token in pool[].waiters {
            guard let exchange = exchanges[].resolve(token), exchange[].isWaiting else { continue }
            policy = exchange[].policy.health
            if exchange[].isProbe {
                exchange[].isProbe = false
                return noteFailure(
                    pool, exchange[].policy.health, .init(isProbe: true, wasSent: false))
            }
            if pool[].record[].health.isClosed { break }
        }
        if let policy { noteFailure(pool, policy, .init(wasSent: false)) }
    }

    private func noteFailure(
        _ pool: Ref<HostPool>, _ policy: HealthPolicy, _ failure: HostHealth.Failure
    ) {
        guard policy.isEnabled,
            pool[].record[].health.failed(
                failure, requests: pool[].record[].requests.load(ordering: .relaxed), policy,
                now: loop[].now, jitter: .random(in: 0...UInt64.max))
        else { return }
        counters.add(.breakersOpened)
        // Whoever waits for it, here too, is told outside of what is being done now.
        post(.capacity(pool[].client), to: pool[].record[].workers.load(ordering: .relaxed))
    }

    // MARK: retries

    /// Whether a request that could be sent once more may be: the host's budget decides.
    ///
    /// One that the host has not begun, because it never left or came after a GOAWAY, costs it
    /// nothing.
    @inline(never)
    func mayRetry(_ exchange: Ref<Exchange>, _ verdict: RetryVerdict) -> Bool {
        guard verdict != .unsent, verdict != .goawayAboveLast,
            let record = exchange[].pool?[].record
        else { return true }
        let isAllowed = record[].retries.take(
            requests: record[].requests.load(ordering: .relaxed), exchange[].policy.retries,
            now: loop[].now)
        if !isAllowed {
            exchange[].record.retry = .overBudget
            counters.retry(.overBudget)
        }
        return isAllowed
    }
}
