// The admin listener's pages.

import Synchronization

extension Worker {
    func answerAdmin(_ exchange: Ref<Exchange>) {
        let head = exchange[].head
        guard head[].method == .get || head[].method == .head else {
            return refuse(exchange, 405, .requestError, "only GET and HEAD")
        }
        let target = head[].bytes(head[].target)
        let path = target.prefix(target.firstIndex(of: UInt8(ascii: "?")) ?? target.count)
        let query = target.dropFirst(path.count + 1)
        if path.equals("/healthz") {
            answerText(exchange, 200, "ok\n")
        } else if path.equals("/readyz") {
            if control.isDraining {
                answerText(exchange, 503, "draining\n")
            } else {
                answerText(exchange, 200, "ready\n")
            }
        } else if path.equals("/metrics") {
            takeCensus(.metrics, for: exchange)
        } else if path.equals("/registry") {
            askRegistry(exchange, query)
        } else if path.hasPrefix(Bytes("/registry/")) {
            askHosts(exchange, id: path.dropFirst(10), query)
        } else if path.equals("/explain") {
            explain(exchange, query)
        } else {
            refuse(
                exchange, 404, .noRoute,
                "the pages are /healthz, /readyz, /metrics, /registry, /registry/ID, /explain")
        }
    }

    func answerText(_ exchange: Ref<Exchange>, _ status: UInt16, _ text: StaticString) {
        let head = heads[].take()
        defer { heads[].give(head) }
        head[].status = status
        answer(exchange, head, Bytes("text/plain; charset=utf-8"), Bytes(text))
    }

    func takeCensus(
        _ page: AdminPage, for exchange: Ref<Exchange>, suspects: [StrayDescriptor]? = nil
    ) {
        let census = Census(
            workers: mailboxes.count,
            purpose: .page(page, exchange: exchange[].token, worker: index), suspects: suspects)
        for mailbox in mailboxes { mailbox.post(.census(census)) }
    }

    /// Everyone was counted: the page can be written.
    func answerCensus(_ census: Census) {
        guard case .page(let page, let token, _) = census.purpose,
            let exchange = exchanges[].resolve(token), exchange[].responseProgress == .none
        else { return }
        var strays: [StrayDescriptor] = []
        if case .registry = page, control.ownsProcess { strays = census.strays() }
        if !strays.isEmpty, census.suspects == nil {
            return takeCensus(page, for: exchange, suspects: strays)
        }
        let ledger = census.ledger
        if ledger.contains(where: \.hasDrifted) || !strays.isEmpty { counters.add(.ledgerDrifts) }
        switch page {
        case .metrics:
            let page = MetricsPage.render(metricsView(census, control.counters.totals()))
            answerPage(exchange, 200, MetricsPage.contentType, page)
        case .registry(let query):
            do throws(AdminMistake) {
                var view = try registryView(query, ledger)
                view.strays = strays
                view.expectedDescriptors = census.knownDescriptors.count
                answerPage(exchange, 200, RegistryPage.contentType, RegistryPage.render(view))
            } catch {
                answerMistake(exchange, error)
            }
        }
    }

    private func metricsView(_ census: Census, _ totals: CounterTotals) -> MetricsView {
        var view = MetricsView.ofThisProcess(totals)
        view.version = control.version
        view.workers = control.workers
        view.start = control.start
        view.isDraining = control.isDraining
        view.registryHosts = registry.count
        view.registryHostLimit = registry.limits.maxHosts
        view.registryEvictions = registry.evictions.load(ordering: .relaxed)
        view.upstreamIdle = census.sum(\.upstreamIdle)
        view.waiting = census.sum { $0.counts[LedgerKind.waiter.rawValue].walk }
        view.openHosts = registry.snapshot().count { !$0.record[].health.isClosed }
        view.bufferBytes = census.sum(\.bufferBytes)
        view.bufferFreeBytes = census.sum(\.bufferFreeBytes)
        view.memoryBytes = control.memoryInUse
        view.memoryLimit = state[].memoryLimit
        view.clientAddresses = control.clients.count
        view.ids = census.ids
        view.topIDs = state[].snapshot.topIDs
        return view
    }

    private func registryView(
        _ query: RegistryQuery, _ ledger: [LedgerRow]
    ) throws(AdminMistake) -> RegistryView {
        var view = try registryPage(query)
        view.hostCount = registry.count
        view.connections = registry.budget[].count
        view.evictions = registry.evictions.load(ordering: .relaxed)
        view.unpooled = registry.unpooled.load(ordering: .relaxed)
        view.ledger = ledger
        view.openDescriptors = ProcessFigures.openDescriptors() ?? 0
        return view
    }

    func view(_ client: HostClient) -> HostView {
        let now = loop[].now
        let record = client.record
        let key = client.identity.key
        var view = HostView()
        view.host = client.lookupName
        view.port = Int(key.port)
        view.scheme = (key.isService ? "srv+" : "") + (key.isSecure ? "https" : "http")
        view.versions = key.protocols.names
        view.learned =
            switch record[].memory.learned(now) {
            case .unknown: nil
            case .http1: .h1
            case .http2: .h2
            }
        view.connections = record[].connections.load(ordering: .relaxed)
        view.idle = record[].idle.load(ordering: .relaxed)
        view.inFlight = record[].inFlight.load(ordering: .relaxed)
        view.waiting = record[].waiting.load(ordering: .relaxed)
        view.dials = record[].dials.load(ordering: .relaxed)
        view.requests = record[].requests.load(ordering: .relaxed)
        view.reused = record[].reused.load(ordering: .relaxed)
        view.failures = record[].failures.load(ordering: .relaxed)
        view.rest = record[].memory.rest(now)
        switch record[].health.state {
        case .closed: break
        case .halfOpen: view.health = .halfOpen
        case .open(let until):
            view.health = .open
            view.openFor = max(.zero, until - now)
        }
        view.consecutiveFailures = record[].health.failuresInARow
        view.addresses = client.lastAddresses.map(\.host)
        view.idleFor = .milliseconds(
            max(0, now.milliseconds - record[].lastUsed.load(ordering: .relaxed)))
        return view
    }
}
