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
            takeCensus(.registry, for: exchange)
        } else {
            refuse(exchange, 404, .noRoute, "the pages are /healthz, /readyz, /metrics, /registry")
        }
    }

    func answerText(_ exchange: Ref<Exchange>, _ status: UInt16, _ text: StaticString) {
        let head = heads[].take()
        defer { heads[].give(head) }
        head[].status = status
        answer(exchange, head, Bytes("text/plain; charset=utf-8"), Bytes(text))
    }

    private func takeCensus(_ page: AdminPage, for exchange: Ref<Exchange>) {
        let census = Census(
            workers: mailboxes.count, purpose: page, exchange: exchange[].token, worker: index)
        for mailbox in mailboxes { mailbox.post(.census(census)) }
    }

    /// Counts what lives in this worker by walking through its slabs.
    func count(for census: Census) {
        var part = Census.Part()
        var fronts = 0, frontTLS = 0, frontHTTP2 = 0
        var admins = 0
        self.fronts[].forEach { front in
            if front[].purpose == .admin { admins += 1 } else { fronts += 1 }
            if front[].transport.tls != nil { frontTLS += 1 }
            if front[].session != nil { frontHTTP2 += 1 }
        }
        var upstreams = 0, upstreamTLS = 0, upstreamHTTP2 = 0
        self.upstreams[].forEach { upstream in
            upstreams += 1
            if upstream[].transport.tls != nil { upstreamTLS += 1 }
            if upstream[].session != nil { upstreamHTTP2 += 1 }
        }
        var exchanges = 0, waiters = 0, pools = 0
        self.exchanges[].forEach { exchange in
            if exchange[].isCounted { exchanges += 1 }
            if exchange[].isWaiting { waiters += 1 }
        }
        self.pools[].forEach { pool in
            pools += 1
            part.upstreamIdle += pool[].idleCount
        }
        part.live = [
            .frontSocket: fronts, .frontTLS: frontTLS, .frontHTTP2: frontHTTP2,
            .upstreamSocket: upstreams, .upstreamTLS: upstreamTLS, .upstreamHTTP2: upstreamHTTP2,
            .exchange: exchanges, .waiter: waiters, .hostClient: pools,
            .timer: loop[].timers.count,
            .resolverQuery: Int(resolver[].queriesOpened - resolver[].queriesClosed),
        ]
        publishCounts()
        for kind in LedgerKind.allCases {
            part.opened[kind] = counters.opened(kind)
            part.closed[kind] = counters.closed(kind)
        }
        part.descriptors =
            fronts + admins + upstreams + state[].listening.count { $0.descriptor >= 0 }
        part.bufferBytes = buffers[].bytesInUse
        part.bufferFreeBytes = buffers[].bytesFree
        if census.add(part) { mailboxes[census.worker].post(.counted(census)) }
    }

    /// Adds to the ledger what the timer wheel and the resolver count by themselves.
    func publishCounts() {
        let timers = loop[].timers.opened
        let closed = timers - UInt64(loop[].timers.count)
        counters.open(.timer, timers - counters.opened(.timer))
        counters.close(.timer, closed - counters.closed(.timer))
        counters.open(
            .resolverQuery, UInt64(resolver[].queriesOpened) - counters.opened(.resolverQuery))
        counters.close(
            .resolverQuery, UInt64(resolver[].queriesClosed) - counters.closed(.resolverQuery))
    }

    /// Everyone was counted: the page can be written.
    func answerCensus(_ census: Census) {
        guard let exchange = exchanges[].resolve(census.exchange),
            exchange[].responseProgress == .none
        else { return }
        let sum = census.sum
        let ledger = ledger(sum)
        if ledger.contains(where: \.hasDrifted) { counters.add(.ledgerDrifts) }
        let totals = control.counters.totals()
        let head = heads[].take()
        defer { heads[].give(head) }
        head[].status = 200
        switch census.purpose {
        case .metrics:
            let page = MetricsPage.render(metricsView(sum, totals))
            page.withBytes { answer(exchange, head, Bytes(MetricsPage.contentType), $0) }
        case .registry:
            let page = RegistryPage.render(registryView(sum, ledger))
            page.withBytes { answer(exchange, head, Bytes(RegistryPage.contentType), $0) }
        }
    }

    private func metricsView(_ sum: Census.Part, _ totals: CounterTotals) -> MetricsView {
        var view = MetricsView.ofThisProcess(totals)
        view.version = control.version
        view.workers = control.workers
        view.start = control.start
        view.isDraining = control.isDraining
        view.registryHosts = registry.count
        view.registryHostLimit = registry.limits.maxHosts
        view.registryEvictions = registry.evictions.load(ordering: .relaxed)
        view.upstreamIdle = sum.upstreamIdle
        view.waiting = sum.live[.waiter] ?? 0
        view.openHosts = registry.snapshot().count { !$0.record[].health.isClosed }
        view.bufferBytes = sum.bufferBytes
        view.bufferFreeBytes = sum.bufferFreeBytes
        view.memoryBytes = control.memoryInUse
        view.memoryLimit = state[].memoryLimit
        view.clientAddresses = control.clients.count
        return view
    }

    private func ledger(_ sum: Census.Part) -> [LedgerRow] {
        LedgerKind.allCases.map { kind in
            LedgerRow(
                kind, opened: sum.opened[kind] ?? 0, closed: sum.closed[kind] ?? 0,
                walk: sum.live[kind])
        }
    }

    private func registryView(_ sum: Census.Part, _ ledger: [LedgerRow]) -> RegistryView {
        var view = RegistryView()
        view.hosts = registry.snapshot().map { Self.view($0, loop[].now) }
        view.hostCount = view.hosts.count
        view.connections = registry.budget[].count
        view.evictions = registry.evictions.load(ordering: .relaxed)
        view.unpooled = registry.unpooled.load(ordering: .relaxed)
        view.ledger = ledger
        view.openDescriptors = ProcessFigures.openDescriptors() ?? 0
        return view
    }

    private static func view(_ client: HostClient, _ now: Instant) -> HostView {
        let record = client.record
        let key = client.identity.key
        var view = HostView()
        view.host = client.host
        view.port = Int(key.port)
        view.scheme = key.isSecure ? "https" : "http"
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
