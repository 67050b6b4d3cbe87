// Counting what lives in a worker: by walking to it, from what must still know it.

import DequeModule

extension Worker {
    /// Adds what was asked for since the last iteration; everything is flushed and reaped.
    func answerCensuses() {
        for census in state[].censuses {
            guard census.add(count(for: census)) else { continue }
            if case .page(_, _, let worker) = census.purpose {
                mailboxes[worker].post(.counted(census))
            }
        }
        state[].censuses = []
    }

    /// This worker's part of a census.
    private func count(for census: Census) -> Census.Part {
        var part = Census.Part(worker: index)
        countFronts(&part)
        countUpstreams(&part)
        countExchanges(&part)
        pools[].forEach { pool in
            part.found(.hostClient)
            part.upstreamIdle += pool[].idleCount
        }
        loop[].timers.forEach { token in
            if isOwned(token) { part.found(.timer) }
        }
        part.found(.resolverQuery, resolver[].liveQueries)
        publishCounts()
        for kind in LedgerKind.allCases {
            part.counts[kind.rawValue].opened = counters.opened(kind)
            part.counts[kind.rawValue].closed = counters.closed(kind)
        }
        part.descriptors += state[].listening.map(\.descriptor).filter { $0 >= 0 }
        part.descriptors += resolver[].descriptors
        part.lent = state[].lent.map(\.descriptor)
        if case .page(.metrics, _, _) = census.purpose { part.ids = idSums() }
        part.bufferBytes = buffers[].bytesInUse
        part.bufferFreeBytes = buffers[].bytesFree
        return part
    }

    private func countFronts(_ part: inout Census.Part) {
        fronts[].forEach { front in
            part.descriptors.append(front[].transport.descriptor)
            if front[].purpose != .admin { part.found(.frontSocket) }
            if front[].transport.tls != nil { part.found(.frontTLS) }
            if let detached = front[].session?.detachedStreams {
                part.found(.frontHTTP2)
                part.found(.frontStream, detached)
            }
        }
    }

    private func countUpstreams(_ part: inout Census.Part) {
        upstreams[].forEach { upstream in
            part.descriptors.append(upstream[].transport.descriptor)
            part.found(.upstreamSocket)
            if upstream[].transport.tls != nil { part.found(.upstreamTLS) }
            if let detached = upstream[].session?.detachedStreams {
                part.found(.upstreamHTTP2)
                part.found(.upstreamStream, detached)
            }
        }
    }

    /// Exchanges that their client's connection would still find, and the streams they are on.
    private func countExchanges(_ part: inout Census.Part) {
        exchanges[].forEach { exchange in
            guard let front = fronts[].resolve(exchange[].front) else { return }
            if exchange[].isCounted { part.found(.exchange) }
            if exchange[].isWaiting { part.found(.waiter) }
            if front[].session?.carries(exchange.responseOutlet) ?? false {
                part.found(.frontStream)
            }
            if exchange[].upstream?[].session?.carries(exchange.requestOutlet) ?? false {
                part.found(.upstreamStream)
            }
        }
    }

    /// A connection leaves for another worker, which may be counted already.
    func noteLent(_ descriptor: Int32) {
        while let oldest = state[].lent.first, loop[].now - oldest.at > Limits.lentMemory {
            state[].lent.removeFirst()
        }
        state[].lent.append((descriptor: descriptor, at: loop[].now))
    }

    /// Whether a deadline's owner lives and would cancel it.
    private func isOwned(_ token: Token) -> Bool {
        switch token.kind {
        case .front: fronts[].resolve(token) != nil
        case .upstream: upstreams[].resolve(token) != nil
        case .exchange: exchanges[].resolve(token) != nil
        case .pool: pools[].resolve(token) != nil
        case .listener, .control, .resolver: true
        case .none, .mailbox: false
        }
    }

    /// Adds to the ledger what the timer wheel, the resolver and HTTP/2 count by themselves.
    func publishCounts() {
        let timers = loop[].timers.opened
        publish(.timer, opened: timers, closed: timers - UInt64(loop[].timers.count))
        publish(
            .resolverQuery, opened: UInt64(resolver[].queriesOpened),
            closed: UInt64(resolver[].queriesClosed))
        let (server, client) = (http2[].serverStreams, http2[].clientStreams)
        publish(.frontStream, opened: server.opened, closed: server.closed)
        publish(.upstreamStream, opened: client.opened, closed: client.closed)
    }

    private func publish(_ kind: LedgerKind, opened: UInt64, closed: UInt64) {
        counters.open(kind, opened - counters.opened(kind))
        counters.close(kind, closed - counters.closed(kind))
    }
}

extension Census.Part {
    /// The walk has come to `count` more things of a kind.
    fileprivate mutating func found(_ kind: LedgerKind, _ count: Int = 1) {
        counts[kind.rawValue].walk += count
    }
}
