// An exchange's life: begun, routed, answered, ended.

import Synchronization

extension Worker {
    /// A new exchange for a request's head, which it owns from now on; nil when there is no room.
    func beginExchange(
        _ front: Ref<FrontConnection>, stream: Int32, head: Ref<Head>
    ) -> Ref<Exchange>? {
        let now = loop[].now
        let exchange = exchanges[].insert { token in
            Exchange(
                token: token, front: front[].token, stream: stream, head: head, buffers: buffers,
                now: now)
        }
        guard let exchange else {
            heads[].give(head)
            return nil
        }
        // The request that asks for the ledger is not part of what it asks for.
        exchange[].isCounted = front[].purpose != .admin
        if exchange[].isCounted { counters.open(.exchange) }
        exchange[].record.start = loop[].wallTime
        exchange[].record.version = head[].version
        exchange[].record.tls = front[].tlsLabel
        link(exchange, to: front)
        return exchange
    }

    /// Routes a request whose head is complete and sends it on its way.
    func startExchange(_ exchange: Ref<Exchange>, _ front: Ref<FrontConnection>) {
        if front[].purpose != .admin, !admits(exchange, front) { return }
        switch front[].purpose {
        case .proxy: routeExchange(exchange, front)
        case .redirect(let port): redirect(exchange, port: port)
        case .admin: answerAdmin(exchange)
        case .demonstration: answerDemonstration(exchange)
        }
    }

    /// Whether there is room for another request of this client; refuses it if not.
    @inline(__always)
    private func admits(_ exchange: Ref<Exchange>, _ front: Ref<FrontConnection>) -> Bool {
        if isOutOfMemory {
            refuse(exchange, 503, .outOfMemory, "the proxy has no memory for another request")
            return false
        }
        guard let client = front[].client, state[].requestRate.isLimited,
            !state[].requestRate.take(client[].requests, now: loop[].now)
        else { return true }
        refuse(exchange, 429, .requestRate, "too many requests from this address")
        return false
    }

    private func routeExchange(_ exchange: Ref<Exchange>, _ front: Ref<FrontConnection>) {
        let head = exchange[].head
        exchange[].receivedTarget = head[].target
        if head[].method == .connect {
            return refuse(exchange, 501, .requestError, "CONNECT is not offered")
        }
        if front[].isSecure, !isAuthorityCovered(front, head) {
            return refuse(exchange, 421, .misdirected, "the certificate is for another host")
        }
        if head[].method == .trace || head[].method == .options, !mayGoOn(exchange, head) {
            return
        }
        let snapshot = state[].snapshot
        // What a route finds are slices of the head's text, which moves when it grows: room for the
        // id, which is part of a host name, and for the target comes before.
        head[].text.ensureRoom(Int(head[].target.count) + Limits.hostBytes + 1)
        let decision = snapshot.routes.route(head[], scratch: &state[].routing)
        switch decision {
        case .refused(let status, let reason, _):
            state[].routing.removeAll()
            refuse(exchange, status, status == 404 ? .noRoute : .idMalformed, reason)
        case .matched(let match):
            let runtime = snapshot.runtimes[match.route]
            exchange[].policy = runtime.policy
            exchange[].id = head[].append(match.id)
            if match.target.count != Int(head[].target.count)
                || !match.target.equals(head[].bytes(head[].target))
            {
                head[].target = head[].append(match.target)
            }
            state[].routing.removeAll()
            exchange[].wantsUpgrade = !head[].upgrade.isEmpty && head[].version == .http11
            let origin = Forwarding.Origin(client: front.peerHost, isTrusted: front[].isTrusted)
            guard
                Forwarding.prepareRequest(
                    &head[], origin: origin, underscores: snapshot.front.underscores,
                    cache: &front[].forwarded)
            else {
                return refuse(
                    exchange, 400, .requestError, "a field name contains an underscore")
            }
            guard let pool = findPool(runtime, head[].bytes(exchange[].id), for: exchange) else {
                return refuse(
                    exchange, 503, .connectionLimitReached, "no room for another upstream host")
            }
            exchange[].pool = pool
            pool[].exchanges += 1
            refreshDeadline(exchange)
            connect(exchange, pool)
        }
    }

    /// Answers TRACE and OPTIONS that may not go to the next hop; false when it did.
    private func mayGoOn(_ exchange: Ref<Exchange>, _ head: Ref<Head>) -> Bool {
        let isTrace = head[].method == .trace
        if isTrace, exchange[].requestProgress != .received {
            // RFC 9110 §9.3.8: the client must not send any; who does hopes to be misread.
            refuse(exchange, 400, .requestError, "TRACE with content")
            return false
        }
        switch Forwarding.countHop(&head[]) {
        case .goesOn: return true
        case .malformed: refuse(exchange, 400, .requestError, "invalid Max-Forwards field")
        case .endsHere where isTrace:
            refuse(exchange, 501, .requestError, "TRACE is not offered by the proxy itself")
        case .endsHere:
            let answerHead = heads[].take()
            defer { heads[].give(answerHead) }
            answerHead[].status = 200
            answer(exchange, answerHead, .empty, .empty)
        }
        return false
    }

    /// A client that reuses a connection for a host which its certificate does not name is told to
    /// open another one (RFC 9110 §15.5.20).
    ///
    /// Only asked when the name it opened it for differs.
    private func isAuthorityCovered(_ front: Ref<FrontConnection>, _ head: Ref<Head>) -> Bool {
        let authority = head[].bytes(head[].authority)
        guard !authority.isEmpty else { return true }
        return front[].transport.tls?.admits(authority.withoutPort) ?? true
    }

    /// Moves an exchange's deadline: something happened.
    @inline(__always)
    func refreshDeadline(_ exchange: Ref<Exchange>) {
        let after: Duration
        if exchange[].isWaiting {
            after = exchange[].policy.queueTimeout
        } else if exchange[].isResponsePaused || exchange[].responseProgress == .complete {
            after = exchange[].policy.writeTimeout
        } else if exchange[].responseProgress == .none, exchange[].requestProgress == .receiving,
            !exchange[].isRequestPaused
        {
            after = exchange[].policy.bodyTimeout
        } else if exchange[].responseProgress == .none {
            after = exchange[].policy.responseTimeout
        } else {
            after = exchange[].policy.idleTimeout
        }
        loop[].timers.set(
            &exchange[].deadline, exchange[].token, at: loop[].now + after)
    }

    // MARK: request content

    /// Content of a request came from the client.
    func requestContent(_ exchange: Ref<Exchange>, _ bytes: Bytes) {
        exchange[].record.received &+= UInt64(bytes.count)
        guard exchange[].responseProgress != .complete else { return }
        refreshDeadline(exchange)
        if loop[].now - exchange[].rateSince > exchange[].policy.bodyTimeout,
            !keepsPace(exchange)
        {
            counters.timeout(.body)
            return fail(exchange, 408, .requestTimeout, "the request comes too slowly")
        }
        guard let upstream = exchange[].upstream else {
            exchange[].request.queue.append(bytes)
            if exchange[].request.queue.count > state[].lowWater { pauseRequest(exchange) }
            return
        }
        exchange[].keepForReplay(bytes)
        if upstream[].isHTTP2 {
            exchange[].request.queue.append(bytes)
            upstream[].session?.resume(exchange.requestOutlet)
            if exchange[].request.queue.count > state[].highWater { pauseRequest(exchange) }
        } else {
            writeContent(bytes, to: upstream, framing: exchange[].head[].framing)
            if upstream[].buffered > state[].highWater { pauseRequest(exchange) }
        }
        markDirty(upstream)
    }

    /// Whether the request has come fast enough since this was last asked.
    ///
    /// gRPC streams may be slow for as long as they like; so may a request whose answer has begun.
    @inline(never)
    private func keepsPace(_ exchange: Ref<Exchange>) -> Bool {
        let came = exchange[].record.received &- exchange[].receivedBefore
        let least = Self.leastBytes(
            exchange[].policy.minRate, in: loop[].now - exchange[].rateSince)
        exchange[].measureRate(from: loop[].now)
        return came >= least || exchange[].responseProgress != .none
            || exchange[].head[].isGRPC
    }

    @inline(__always)
    func writeContent(_ bytes: Bytes, to upstream: Ref<UpstreamConnection>, framing: Framing) {
        if framing == .chunked {
            HTTP1Writer.writeChunk(bytes, into: &upstream[].output)
        } else {
            upstream[].write(bytes)
        }
    }

    /// The request is complete.
    func requestEnded(_ exchange: Ref<Exchange>, trailers: Ref<Head>?) {
        exchange[].requestProgress = .received
        if let trailers {
            Forwarding.prepareTrailers(
                &trailers[], underscores: state[].snapshot.front.underscores)
            if exchange[].requestTrailers == nil {
                exchange[].requestTrailers = trailers
            } else {
                heads[].give(trailers)
            }
        }
        guard exchange[].responseProgress != .complete else { return }
        guard let upstream = exchange[].upstream else { return }
        endRequest(exchange, on: upstream)
        refreshDeadline(exchange)
    }

    /// Tells the upstream that the request is complete.
    func endRequest(_ exchange: Ref<Exchange>, on upstream: Ref<UpstreamConnection>) {
        exchange[].sentAt = loop[].now
        if upstream[].isHTTP2 {
            exchange[].request.trailers = exchange[].requestTrailers
            exchange[].request.hasEnded = true
            upstream[].session?.resume(exchange.requestOutlet)
        } else if exchange[].head[].framing == .chunked {
            HTTP1Writer.writeLastChunk(
                trailers: exchange[].requestTrailers, into: &upstream[].output)
        }
        markDirty(upstream)
    }

    private func pauseRequest(_ exchange: Ref<Exchange>) {
        guard !exchange[].isRequestPaused else { return }
        exchange[].isRequestPaused = true
        exchange[].requestPausedAt = loop[].now
        refreshDeadline(exchange)
        if exchange[].stream == 0, let front = fronts[].resolve(exchange[].front) {
            front[].isReadPaused = true
        }
    }

    /// The upstream has taken enough: the client may go on sending.
    func resumeRequest(_ exchange: Ref<Exchange>) {
        guard exchange[].isRequestPaused, let front = fronts[].resolve(exchange[].front) else {
            return
        }
        exchange[].isRequestPaused = false
        // The client was not asked for more meanwhile.
        exchange[].measureRate(from: loop[].now)
        refreshDeadline(exchange)
        if exchange[].stream == 0 {
            resumeHTTP1(front)
        } else if exchange[].unconsumedRequest > 0 {
            front[].session?.consume(exchange[].stream, exchange[].unconsumedRequest)
            exchange[].unconsumedRequest = 0
            markDirty(front)
        }
    }

    // MARK: the end

    /// Ends an exchange, whose upstream was let go before: logged, counted, gone.
    func endExchange(_ exchange: Ref<Exchange>) {
        loop[].timers.cancel(&exchange[].deadline)
        if let front = fronts[].resolve(exchange[].front) {
            logExchange(exchange, front)
            unlink(exchange, from: front)
        }
        if let pool = exchange[].pool {
            if exchange[].isProbe { pool[].record[].health.abandoned(now: loop[].now) }
            pool[].exchanges -= 1
            retireIfUnused(pool)
        }
        heads[].give(exchange[].head)
        if let trailers = exchange[].requestTrailers { heads[].give(trailers) }
        if let trailers = exchange[].response.trailers { heads[].give(trailers) }
        if exchange[].isCounted { counters.close(.exchange) }
        exchanges[].retire(exchange[].token)
    }

    private func logExchange(_ exchange: Ref<Exchange>, _ front: Ref<FrontConnection>) {
        guard exchange[].isCounted else { return }
        let took = loop[].now - exchange[].began
        counters.request(
            exchange[].record.version, status: Int(exchange[].record.status), took: took)
        tally(exchange, took: took)
        if exchange[].record.error != .none { counters.error(exchange[].record.error) }
        guard log.isEnabled else { return }
        exchange[].record.total = took
        exchange[].record.attempts = UInt8(truncatingIfNeeded: exchange[].attempts)
        let head = exchange[].head
        var texts = AccessTexts()
        texts.client = front.peerBytes
        texts.method = head[].bytes(head[].methodText)
        texts.host = head[].bytes(head[].authority)
        let target = exchange[].receivedTarget
        texts.target = head[].bytes(target.isEmpty ? head[].target : target)
        texts.id = head[].bytes(exchange[].id)
        if let agent = head[].firstValue(.userAgent) { texts.userAgent = agent }
        if let pool = exchange[].pool {
            texts.upstream = pool[].name
            texts.upstreamAddress = exchange.upstreamAddressBytes
        }
        log.append(exchange[].record, texts)
    }

    /// Whether the client has taken enough of the response since this was last asked.
    func hasProgressed(_ exchange: Ref<Exchange>) -> Bool {
        guard let front = fronts[].resolve(exchange[].front) else { return false }
        let taken = exchange[].stream == 0 ? front[].taken : exchange[].takenByStream
        defer { exchange[].taken = taken }
        return taken &- exchange[].taken
            >= Self.leastBytes(exchange[].policy.minRate, in: exchange[].policy.writeTimeout)
    }

    /// The rest of a request is not wanted any more, but its stream stays for a moment.
    ///
    /// A client that is about to end it does so; some take a reset for an error although it says
    /// NO_ERROR and the answer is whole (RFC 9113 §8.1).
    func linger(_ exchange: Ref<Exchange>) {
        exchange[].isLingering = true
        loop[].timers.set(
            &exchange[].deadline, exchange[].token, at: loop[].now + Limits.linger)
    }

    /// A response that is complete here is not taken, or the rest of its request does not come.
    private func responseStalled(_ exchange: Ref<Exchange>) {
        guard let front = fronts[].resolve(exchange[].front) else { return }
        let isSent = exchange[].response.queue.isEmpty
        if !isSent {
            counters.timeout(.write)
            exchange[].record.error = .clientTimeout
        }
        counters.add(.streamResetsSent)
        front[].session?.reset(
            exchange[].stream, code: isSent ? HTTP2Code.noError : HTTP2Code.internalError)
        markDirty(front)
    }

    func exchangeDeadlinePassed(_ exchange: Ref<Exchange>) {
        if exchange[].delayedAnswer { return demonstrationDue(exchange) }
        if exchange[].isWaiting {
            counters.timeout(.queue)
            exchange[].record.queue = loop[].now - exchange[].waitBegan
            return fail(
                exchange, exchange[].pool?[].isResolving ?? false ? 504 : 503, .queueTimeout,
                "no upstream connection became free in time")
        }
        if exchange[].responseProgress == .tunnel {
            counters.timeout(.idle)
            return cutTunnel(exchange)
        }
        if exchange[].isLingering {
            exchange[].isLingering = false
            if exchange[].response.queue.isEmpty { return responseStalled(exchange) }
            _ = hasProgressed(exchange)
            return refreshDeadline(exchange)
        }
        if exchange[].isResponsePaused || exchange[].responseProgress == .complete,
            hasProgressed(exchange)
        {
            return refreshDeadline(exchange)
        }
        if exchange[].responseProgress == .complete { return responseStalled(exchange) }
        // Who is behind? A client that takes nothing, one that sends nothing, or the upstream.
        if exchange[].isResponsePaused {
            counters.timeout(.write)
            return fail(exchange, 504, .clientTimeout, "the client stopped reading")
        }
        if exchange[].requestProgress == .receiving, !exchange[].isRequestPaused {
            counters.timeout(.body)
            return fail(exchange, 408, .requestTimeout, "the request was not received in time")
        }
        counters.timeout(exchange[].responseProgress == .none ? .response : .upstreamIdle)
        exchange[].pool?[].record[].failures.wrappingAdd(1, ordering: .relaxed)
        if exchange[].responseProgress == .none { hostFailed(exchange) }
        fail(exchange, 504, .responseTimeout, "the upstream did not answer in time")
    }
}
