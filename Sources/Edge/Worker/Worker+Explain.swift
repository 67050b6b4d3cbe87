// What would become of a request in this worker now: looked at, never done.

import Synchronization

/// The host that a request is explained for, and by which bounds.
struct ExplainedTarget: Sendable {
    let identity: UpstreamIdentity
    let host: String
    let policy: ExchangePolicy
    let needsHTTP1: Bool
}

extension Worker {
    /// `/explain`: by this worker's routes, then by every worker's pools.
    func explain(_ exchange: Ref<Exchange>, _ query: Bytes) {
        do throws(AdminMistake) {
            let (request, asJSON) = try ExplainRequest.read(query)
            let snapshot = state[].snapshot
            let (explanation, needsHTTP1) = Explainer(snapshot).explain(request)
            guard let key = explanation.key, explanation.answer == nil else {
                return answer(exchange, explanation, asJSON: asJSON)
            }
            let runtime = snapshot.runtimes[explanation.route - 1]
            let target = ExplainedTarget(
                identity: runtime.identity, host: key.host, policy: runtime.policy,
                needsHTTP1: needsHTTP1 && runtime.identity.key.protocols.contains(.http1))
            ask(.explain(explanation, target, asJSON: asJSON), of: [key.host], for: exchange)
        } catch {
            answerMistake(exchange, error)
        }
    }

    func answer(_ exchange: Ref<Exchange>, _ explanation: Explanation, asJSON: Bool) {
        if asJSON {
            answerPage(
                exchange, 200, RegistryPage.contentType, Array(explanation.json.utf8))
        } else {
            answerPage(
                exchange, 200, "text/plain; charset=utf-8", Array(explanation.text.utf8))
        }
    }

    /// Adds the host's state, now that every worker has said its part.
    func complete(
        _ explanation: Explanation, _ target: ExplainedTarget, _ inquiry: HostInquiry
    ) -> Explanation {
        let client = registry.find(target.identity.number, target.host)
        let host = client.map { view($0) }
        var state = HostStateView()
        state.isInRegistry = client != nil
        state.learned = host?.learned
        state.health = host?.health ?? .closed
        state.hosts = UseView(used: registry.count, most: registry.limits.maxHosts)
        state.connections = UseView(
            used: host?.connections ?? 0, most: mostConnections(target.policy))
        state.inFlight = UseView(used: host?.inFlight ?? 0, most: target.policy.maxInFlight)
        state.waiting = UseView(used: host?.waiting ?? 0, most: target.policy.maxQueue)
        state.allConnections = UseView(
            used: budget[].count, most: registry.limits.maxConnections)
        state.name = NameView(facts(target.identity, target.host))
        state.pools = inquiry.pools
            .filter { $0.client.identity === target.identity }.map(\.view)
        state.outcomes = inquiry.outcomes
        var explanation = explanation
        explanation.state = state
        return explanation
    }

    /// What `connect`, `dialForWaiters` and `dial` would do for one more exchange, in their order.
    func forecast(_ target: ExplainedTarget) -> Outcome {
        if isOutOfMemory {
            return .refused(status: 503, reason: "the proxy has no memory for another request")
        }
        let policy = target.policy
        guard let client = registry.find(target.identity.number, target.host) else {
            return named(target) ?? roomForDial(place: 1, policy)
        }
        let pool = pool(of: client)
        let record = client.record
        let waiting = record[].waiting.load(ordering: .relaxed)
        let place = waiting + 1
        if policy.health.isEnabled, isOpen(client) {
            return .refused(status: 503, reason: "\(Self.isIll)")
        }
        let hasRoom = record[].inFlight.load(ordering: .relaxed) < policy.maxInFlight
        if hasRoom, let pool, pool[].waiting == pool[].waitingForFresh {
            if !target.needsHTTP1, pool[].sharedWithCapacity() != nil { return .share }
            if pool[].idleHead != nil { return .reuse }
        }
        let dialling = pool.map { max($0[].dialling, $0[].isResolving ? 1 : 0) } ?? 0
        guard waiting - dialling < policy.maxQueue else {
            return .refused(
                status: 503, reason: "too many requests wait for this upstream host")
        }
        guard hasRoom else {
            return .wait(
                place: place, most: policy.maxQueue, why: "the host has its most in flight")
        }
        if let pool {
            if pool[].redial.isSet { return .awaitRedial }
            if pool[].dialling > 0, pool[].mayMultiplex(loop[].now),
                pool[].waitingForUpgrade == 0, !target.needsHTTP1
            {
                return .awaitDial
            }
        }
        if !target.needsHTTP1, mayBorrow(client, pool) { return .takeOver }
        if let outcome = named(target) { return outcome }
        guard record[].connections.load(ordering: .relaxed) < mostConnections(policy) else {
            return .wait(
                place: place, most: policy.maxQueue, why: "the host has its most connections")
        }
        return roomForDial(place: place, policy)
    }

    /// Whether the host's breaker keeps requests from it; one that lets a probe pass does not.
    private func isOpen(_ client: HostClient) -> Bool {
        switch client.record[].health.state {
        case .closed: false
        case .halfOpen: true
        case .open(let until): loop[].now < until
        }
    }

    private func mostConnections(_ policy: ExchangePolicy) -> Int {
        min(policy.maxConnections, registry.limits.maxConnectionsOfHost)
    }

    /// Whether a connection of another worker would be asked for (`borrows`).
    private func mayBorrow(_ client: HostClient, _ pool: Ref<HostPool>?) -> Bool {
        let record = client.record
        return record[].isQuiet(loop[].now) && pool?[].isBorrowing != true
            && pool?[].waitingForUpgrade ?? 0 == 0
            && record[].idle.load(ordering: .relaxed) > pool?[].idleCount ?? 0
            && record[].workers.load(ordering: .relaxed) & ~workerBit != 0
    }

    /// What the name alone decides; nil when its addresses are at hand.
    private func named(_ target: ExplainedTarget) -> Outcome? {
        let facts = facts(target.identity, target.host)
        switch facts.state {
        case .literal, .fresh, .stale: return nil
        case .expired, .unknown: return .resolve
        case .negative:
            switch facts.failure {
            case .notFound: return .refused(status: 404, reason: "the upstream host does not exist")
            case .timedOut:
                return .refused(
                    status: 504, reason: "the upstream host's name was not resolved in time")
            default:
                return .refused(
                    status: 502, reason: "the upstream host's name cannot be resolved")
            }
        }
    }

    private func roomForDial(place: Int, _ policy: ExchangePolicy) -> Outcome {
        let isFull =
            budget[].count >= registry.limits.maxConnections && state[].oldestIdle == nil
        guard isFull || budget[].isContended else { return .dial }
        return .wait(
            place: place, most: policy.maxQueue, why: "the process has its most connections")
    }
}
