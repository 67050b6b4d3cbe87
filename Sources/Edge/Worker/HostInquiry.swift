// A question about a few hosts that every worker answers from its own pools.

import Synchronization

/// What the workers know of some hosts; nothing is made, moved or counted for it.
///
/// Whoever asks posts it to every worker; the last one to add its part tells the worker that asked.
final class HostInquiry: Sendable {
    enum Purpose: Sendable {
        /// `/registry/ID`.
        case id(String)
        /// `/explain`, of which everything but the state of the host is known.
        case explain(Explanation, ExplainedTarget, asJSON: Bool)
    }

    struct Part: Sendable {
        var pools: [(client: HostClient, view: PoolView)] = []
        /// What would become of the request in this worker; only for `/explain`.
        var outcome: WorkerOutcome?
    }

    let hosts: [String]
    let purpose: Purpose
    /// The exchange that waits for the answer, and the worker it belongs to.
    let exchange: Token
    let worker: Int
    private let gathering: Gathering<Part>

    init(hosts: [String], purpose: Purpose, exchange: Token, worker: Int, workers: Int) {
        self.hosts = hosts
        self.purpose = purpose
        self.exchange = exchange
        self.worker = worker
        gathering = Gathering(workers: workers)
    }

    /// Adds one worker's part; true for the last.
    func add(_ part: Part) -> Bool { gathering.add(part) }

    /// Of all workers, in their order.
    var pools: [(client: HostClient, view: PoolView)] {
        gathering.parts.flatMap(\.pools).sorted { $0.view.worker < $1.view.worker }
    }

    var outcomes: [WorkerOutcome] {
        gathering.parts.compactMap(\.outcome).sorted { $0.worker < $1.worker }
    }
}

extension Worker {
    /// Puts a question to every worker.
    func ask(_ purpose: HostInquiry.Purpose, of hosts: [String], for exchange: Ref<Exchange>) {
        let inquiry = HostInquiry(
            hosts: hosts, purpose: purpose, exchange: exchange[].token, worker: index,
            workers: mailboxes.count)
        for mailbox in mailboxes { mailbox.post(.inquiry(inquiry)) }
    }

    /// Adds what this worker knows.
    func answer(_ inquiry: HostInquiry) {
        var part = HostInquiry.Part()
        var found: [Ref<HostPool>] = []
        pools[].forEach { pool in
            if inquiry.hosts.contains(where: { $0 == pool[].client.host }) { found.append(pool) }
        }
        let connections = found.isEmpty ? [] : connections(of: found)
        for (pool, rows) in zip(found, connections) {
            part.pools.append((pool[].client, view(pool, rows)))
        }
        if case .explain(_, let target, _) = inquiry.purpose {
            part.outcome = WorkerOutcome(worker: index, outcome: forecast(target))
        }
        if inquiry.add(part) { mailboxes[inquiry.worker].post(.inquired(inquiry)) }
    }

    /// Everyone has answered: the page can be written.
    func answerInquiry(_ inquiry: HostInquiry) {
        guard let exchange = exchanges[].resolve(inquiry.exchange),
            exchange[].responseProgress == .none
        else { return }
        switch inquiry.purpose {
        case .id(let id):
            let hosts = details(inquiry)
            guard !hosts.isEmpty else {
                return answerPage(
                    exchange, 404, "text/plain; charset=utf-8",
                    Array("no host client of id '\(id)'\n".utf8))
            }
            answerPage(
                exchange, 200, RegistryPage.contentType, HostPage.render(id: id, hosts))
        case .explain(let explanation, let target, let asJSON):
            answer(exchange, complete(explanation, target, inquiry), asJSON: asJSON)
        }
    }

    /// The host clients in the registry, and those that only have pools any more.
    private func details(_ inquiry: HostInquiry) -> [HostDetail] {
        var clients = inquiry.hosts.flatMap { registry.clients(of: $0) }
        let known = clients.count
        let pools = inquiry.pools
        for (client, _) in pools where !clients.contains(where: { $0 === client }) {
            clients.append(client)
        }
        return clients.enumerated().map { index, client in
            let key = client.identity.key
            var detail = HostDetail()
            detail.host = view(client)
            detail.isInRegistry = index < known
            detail.ca = key.caPath
            detail.serverName = key.serverName
            detail.verifies = key.verifies
            detail.name = NameView(facts(client.identity, client.host))
            detail.pools = pools.filter { $0.client === client }.map(\.view)
            return detail
        }
    }

    private func view(
        _ pool: Ref<HostPool>, _ rows: (connections: [ConnectionView], count: Int)
    ) -> PoolView {
        var view = PoolView()
        view.worker = index
        view.isInTable = pool[].isInTable
        view.waiting = pool[].waiting
        view.dialling = pool[].dialling
        view.isResolving = pool[].isResolving
        if pool[].lastFailure != .none { view.lastDialFailure = "\(pool[].lastFailure.name)" }
        view.connections = rows.connections
        view.count = rows.count
        return view
    }

    /// The connections of some pools, found by a walk over all.
    private func connections(
        of pools: [Ref<HostPool>]
    ) -> [(connections: [ConnectionView], count: Int)] {
        var rows: [(connections: [ConnectionView], count: Int)] =
            pools.map { _ in ([], 0) }
        upstreams[].forEach { upstream in
            guard let place = pools.firstIndex(where: { $0 == upstream[].pool }) else { return }
            rows[place].count += 1
            guard rows[place].connections.count < Limits.connectionRows else { return }
            rows[place].connections.append(view(upstream))
        }
        return rows
    }

    private func view(_ upstream: Ref<UpstreamConnection>) -> ConnectionView {
        let now = loop[].now
        var view = ConnectionView()
        view.isHTTP2 = upstream[].isHTTP2
        view.phase = "\(upstream[].phase)"
        view.address = upstream[].address.text
        view.age = now - upstream[].history.dialledAt
        if upstream[].phase == .ready, upstream[].exchangeCount == 0 {
            view.idle = now - max(upstream[].idleSince, upstream[].history.readyAt)
        }
        view.streams = upstream[].exchangeCount
        view.streamLimit = upstream[].streamLimit
        view.served = upstream[].history.served
        view.isDraining = upstream[].isDraining
        return view
    }
}

extension UpstreamConnection {
    /// Streams that the host takes at once; nil on HTTP/1.
    fileprivate var streamLimit: Int? {
        switch session {
        case .some(let session): Int(session.streamCapacity)
        case nil: nil
        }
    }
}

extension NameView {
    init(_ facts: NameFacts) {
        self.init()
        state = facts.state.rawValue
        isAsked = facts.isAsked
        addresses = facts.addresses.map(\.host)
        age = facts.age
        timeLeft = facts.timeLeft
        failure = facts.failure?.words
    }
}

extension ResolveFailure {
    /// For the admin pages.
    fileprivate var words: String {
        switch self {
        case .notFound: "does not exist"
        case .timedOut: "no answer in time"
        case .serverFailure: "the servers failed"
        case .unusableName: "not a host name"
        case .unavailable: "too many queries"
        case .tooManyNames: "too many new names"
        }
    }
}
