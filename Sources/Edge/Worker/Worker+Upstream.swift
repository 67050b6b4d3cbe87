// Connections to services: from the dial to the close, and what they carry.

import Synchronization

extension Worker {
    func upstreamEvent(_ upstream: Ref<UpstreamConnection>, _ readiness: Readiness) {
        let hangsUp = !readiness.isDisjoint(with: .hangUp)
        if upstream[].phase == .dialling {
            guard hangsUp || !readiness.isDisjoint(with: .writable) else { return }
            dialEnded(upstream)
            // What came with the connection made no event of its own.
            if upstream[].isOpen, hangsUp || !readiness.isDisjoint(with: .readable) {
                upstream[].transport.noteReadable(endsSoon: hangsUp)
                markReady(upstream)
            }
            return
        }
        if !readiness.isDisjoint(with: .writable) {
            upstream[].transport.noteWritable()
            if upstream[].buffered > 0 || upstream[].session != nil { markDirty(upstream) }
        }
        if hangsUp || !readiness.isDisjoint(with: .readable) {
            upstream[].transport.noteReadable(endsSoon: hangsUp)
            readUpstream(upstream)
        }
    }

    private func dialEnded(_ upstream: Ref<UpstreamConnection>) {
        let error = Socket.pendingError(upstream[].transport.descriptor)
        guard error == 0 else { return dialFailed(upstream, Self.reason(error)) }
        upstream[].transport.noteWritable()
        let pool = upstream[].pool
        guard let tls = pool[].client.identity.tls else {
            return upstreamIsReady(upstream, isHTTP2: pool[].startsWithHTTP2)
        }
        upstream[].phase = .handshaking
        var alpn: ALPNSet = []
        if pool[].protocols.contains(.http1) { alpn.insert(.http1) }
        if pool[].protocols.contains(.http2), !upstream[].forcesHTTP1 { alpn.insert(.http2) }
        let name = pool[].client.identity.key.serverName ?? pool[].client.host
        let wire = upstream[].transport.wire
        let sessions = pool[].client.sessions
        name.withBytes { name in
            upstream[].transport.tls = TLSSession(
                client: tls, wire: wire, serverName: name, alpn: alpn, sessions: sessions)
        }
        guard upstream[].transport.tls != nil else {
            return dialFailed(upstream, .internalError)
        }
        counters.open(.upstreamTLS)
        loop[].timers.set(
            &upstream[].deadline, upstream[].token,
            at: loop[].now + upstream[].handshakeTimeout)
        continueHandshake(upstream)
    }

    private func continueHandshake(_ upstream: Ref<UpstreamConnection>) {
        switch upstream[].transport.tls?.handshake() {
        case .wantsRead, nil: markDirty(upstream)
        case .failed(let failure):
            counters.add(.upstreamHandshakesFailed)
            let isCertificate =
                failure.kind == .certificateInvalid || failure.kind == .certificateNameMismatch
            dialFailed(upstream, isCertificate ? .tlsCertificateError : .tlsProtocolError)
        case .done:
            let isResumed = upstream[].transport.tls?.isResumed ?? false
            counters.add(isResumed ? .upstreamHandshakesResumed : .upstreamHandshakesFull)
            markDirty(upstream)
            let isHTTP2 = upstream[].transport.tls?.negotiated == .http2
            if !isHTTP2, !upstream[].pool[].protocols.contains(.http1) {
                return dialFailed(upstream, .protocolError)
            }
            upstreamIsReady(upstream, isHTTP2: isHTTP2)
            if upstream[].isOpen { readUpstream(upstream) }
        }
    }

    /// The connection can carry exchanges.
    private func upstreamIsReady(_ upstream: Ref<UpstreamConnection>, isHTTP2: Bool) {
        let pool = upstream[].pool
        upstream[].isHTTP2 = isHTTP2
        if pool[].isSecure, !upstream[].forcesHTTP1 {
            pool[].record[].learn(isHTTP2 ? .http2 : .http1)
        }
        if isHTTP2 {
            upstream[].phase = .settling
            upstream[].session = HTTP2Session(
                role: .client, settings: HTTP2Settings(), pool: buffers, heads: heads,
                memory: http2)
            guard upstream[].session != nil else { return dialFailed(upstream, .internalError) }
            counters.open(.upstreamHTTP2)
            markDirty(upstream)
            return
        }
        upstream[].phase = .ready
        upstream[].readyAt = loop[].now
        pool[].dialling -= 1
        // A dial that was overtaken by another one is of use to the next request.
        putIdle(upstream)
        serveWaiters(pool)
        if upstream[].isIdle { roomFreed() }
    }

    /// The peer's SETTINGS are here: an HTTP/2 connection can take streams, as many as they say.
    func upstreamSettled(_ upstream: Ref<UpstreamConnection>) {
        let pool = upstream[].pool
        guard upstream[].phase == .settling else { return serveWaiters(pool) }
        upstream[].phase = .ready
        upstream[].readyAt = loop[].now
        pool[].dialling -= 1
        loop[].timers.clear(&upstream[].deadline)
        pool[].addShared(upstream)
        serveWaiters(pool)
        if upstream[].phase == .ready, upstream[].exchangeCount == 0 { armSharedIdle(upstream) }
    }

    /// Without exchanges, an HTTP/2 connection rests like any other.
    private func armSharedIdle(_ upstream: Ref<UpstreamConnection>) {
        upstream[].idleSince = loop[].now
        addIdle(upstream)
        loop[].timers.set(
            &upstream[].deadline, upstream[].token, at: loop[].now + upstream[].keepalive)
        roomFreed()
    }

    func upstreamDeadlinePassed(_ upstream: Ref<UpstreamConnection>) {
        switch upstream[].phase {
        case .dialling:
            let pool = upstream[].pool
            if loop[].now >= upstream[].dialUntil {
                counters.timeout(.dial)
                return dialFailed(upstream, .connectionTimeout)
            }
            loop[].timers.set(
                &upstream[].deadline, upstream[].token, at: upstream[].dialUntil)
            if !upstream[].hasStartedNext, upstream[].addressesLeft > 0, pool[].waiting > 0,
                !pool[].addresses.isEmpty, let token = pool[].waiters.first,
                let exchange = exchanges[].resolve(token)
            {
                upstream[].hasStartedNext = true
                _ = dial(
                    pool, address: (upstream[].addressIndex + 1) % pool[].addresses.count,
                    left: upstream[].addressesLeft - 1, exchange[].policy)
            }
        case .handshaking, .settling:
            counters.timeout(.upstreamHandshake)
            dialFailed(upstream, .connectionTimeout)
        case .ready:
            if upstream[].exchangeCount == 0 { closeUpstream(upstream) }
        case .closed: break
        }
    }

    // MARK: attaching exchanges

    /// Sends an exchange's request over a connection.
    func attach(_ exchange: Ref<Exchange>, to upstream: Ref<UpstreamConnection>) {
        let pool = upstream[].pool
        // The key of the pool is the only index for reuse; never send to another host.
        precondition(exchange[].pool == pool, "an exchange met another host's connection")
        exchange[].attempts += 1
        exchange[].upstream = upstream
        exchange[].isInFlight = true
        exchange[].hasResponseBytes = false
        exchange[].dispatched = loop[].now
        exchange[].upstreamAddress = upstream[].addressText
        exchange[].bytesOutBefore = upstream[].transport.bytesOut
        let isReused = upstream[].served > 0
        exchange[].record.isReused = isReused
        exchange[].record.upstreamVersion = upstream[].isHTTP2 ? .http2 : .http11
        exchange[].record.dial = isReused ? nil : upstream[].readyAt - upstream[].dialledAt
        upstream[].served += 1
        pool[].inFlight += 1
        pool[].record[].inFlight.wrappingAdd(1, ordering: .relaxed)
        pool[].record[].requests.wrappingAdd(1, ordering: .relaxed)
        if isReused {
            counters.add(.upstreamReused)
            pool[].record[].reused.wrappingAdd(1, ordering: .relaxed)
        }
        link(exchange, to: upstream)
        refreshDeadline(exchange)
        if upstream[].isHTTP2 {
            sendHTTP2(exchange, upstream)
        } else {
            sendHTTP1(exchange, upstream)
        }
        markDirty(upstream)
    }

    private func authority(_ exchange: Ref<Exchange>) -> Bytes {
        let head = exchange[].head
        if !exchange[].policy.usesUpstreamHost, !head[].authority.isEmpty {
            return head[].bytes(head[].authority)
        }
        guard let pool = exchange[].pool else { return .empty }
        return pool[].client.authorityBytes
    }

    private func sendHTTP1(_ exchange: Ref<Exchange>, _ upstream: Ref<UpstreamConnection>) {
        let head = exchange[].head
        upstream[].reading = .head
        upstream[].scanned = 0
        HTTP1Writer.writeRequest(
            head[], authority: authority(exchange), framing: head[].framing,
            keepsUpgrade: exchange[].wantsUpgrade, into: &upstream[].output)
        if !exchange[].request.queue.isEmpty {
            let bytes = exchange[].request.queue.bytes
            exchange[].keepForReplay(bytes)
            writeContent(bytes, to: upstream, framing: head[].framing)
            exchange[].request.queue.removeAll()
        }
        if exchange[].requestProgress == .received { endRequest(exchange, on: upstream) }
    }

    private func sendHTTP2(_ exchange: Ref<Exchange>, _ upstream: Ref<UpstreamConnection>) {
        let head = exchange[].head
        if upstream[].exchangeCount == 1 {
            removeIdle(upstream)
            loop[].timers.clear(&upstream[].deadline)
        }
        if !exchange[].request.queue.isEmpty {
            exchange[].keepForReplay(exchange[].request.queue.bytes)
        }
        let isWhole = exchange[].requestProgress == .received
        exchange[].request.trailers = exchange[].requestTrailers
        exchange[].request.hasEnded = isWhole
        if isWhole { exchange[].sentAt = loop[].now }
        let stream = upstream[].session?.submitRequest(
            head[], scheme: upstream[].pool[].isSecure ? "https" : "http",
            authority: authority(exchange), outlet: exchange.requestOutlet)
        guard let stream else {
            // Out of stream numbers, or over the peer's limit after all.
            upstream[].isDraining = true
            if exchange[].canResend { return retry(exchange, .unsent) }
            return fail(
                exchange, 503, .connectionLimitReached, "the upstream takes no further stream")
        }
        exchange[].upstreamStream = stream
    }

    func link(_ exchange: Ref<Exchange>, to upstream: Ref<UpstreamConnection>) {
        exchange[].nextOnUpstream = upstream[].firstExchange
        exchange[].previousOnUpstream = .none
        if let next = exchanges[].resolve(upstream[].firstExchange) {
            next[].previousOnUpstream = exchange[].token
        }
        upstream[].firstExchange = exchange[].token
        upstream[].exchangeCount += 1
    }

    private func unlink(_ exchange: Ref<Exchange>, from upstream: Ref<UpstreamConnection>) {
        let next = exchange[].nextOnUpstream
        let previous = exchange[].previousOnUpstream
        if let next = exchanges[].resolve(next) { next[].previousOnUpstream = previous }
        if let previous = exchanges[].resolve(previous) {
            previous[].nextOnUpstream = next
        } else {
            upstream[].firstExchange = next
        }
        upstream[].exchangeCount -= 1
    }

    /// Takes an exchange off its connection without a word to the peer.
    func detach(_ exchange: Ref<Exchange>) -> Ref<UpstreamConnection>? {
        guard let upstream = exchange[].upstream else { return nil }
        unlink(exchange, from: upstream)
        exchange[].upstream = nil
        let pool = upstream[].pool
        if exchange[].isInFlight {
            exchange[].isInFlight = false
            pool[].inFlight -= 1
            pool[].record[].inFlight.wrappingSubtract(1, ordering: .relaxed)
        }
        if upstream[].isHTTP2, exchange[].upstreamStream != 0 {
            upstream[].session?.detach(exchange[].upstreamStream)
            exchange[].upstreamStream = 0
        }
        return upstream
    }

    /// The exchange has all it needs of its connection, which may serve again.
    func releaseUpstream(_ exchange: Ref<Exchange>) {
        guard let upstream = exchange[].upstream else { return }
        let isWhole = exchange[].requestProgress == .received
        let stream = exchange[].upstreamStream
        let isClosed = exchange[].isUpstreamStreamClosed
        _ = detach(exchange)
        let pool = upstream[].pool
        if upstream[].isHTTP2 {
            // An answer before the request's end: the rest is not wanted (RFC 9113 §8.1).
            if !isClosed, !isWhole {
                upstream[].session?.reset(stream, code: HTTP2Code.noError)
                markDirty(upstream)
            }
            restShared(upstream)
        } else {
            upstream[].isReadPaused = false
            // A host that answered before it had the content, or `Expect` by a final response, may
            // not take what still comes for a part of the request.
            let hasSkipped =
                upstream[].buffered > 0
                || exchange[].head[].expectsContinue && exchange[].head[].framing != .none
                    && !exchange[].wasContinued
            let canServe =
                upstream[].isPersistent && isWhole && upstream[].reading == .idle && !hasSkipped
                && upstream[].input.isEmpty && !upstream[].isDraining && pool[].isInTable
                && !state[].isDraining && !pool[].record[].isRetired.load(ordering: .relaxed)
                && pool[].record[].starving.load(ordering: .relaxed) & ~workerBit == 0
            if canServe {
                putIdle(upstream)
            } else {
                closeUpstream(upstream, servesWaiters: false)
            }
        }
        serveWaiters(pool)
        if upstream[].isIdle { roomFreed() }
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

    /// The exchange does not want its connection's answer any more.
    func dropUpstream(_ exchange: Ref<Exchange>) {
        if let pool = exchange[].pool, exchange[].isWaiting {
            stopWaiting(exchange, pool)
            retireIfUnused(pool)
        }
        guard let upstream = exchange[].upstream else { return }
        let stream = exchange[].upstreamStream
        _ = detach(exchange)
        let pool = upstream[].pool
        if upstream[].isHTTP2 {
            if stream != 0 {
                upstream[].session?.reset(stream, code: HTTP2Code.cancel)
                markDirty(upstream)
            }
            restShared(upstream)
        } else {
            // What the peer still sends belongs to nobody.
            closeUpstream(upstream, servesWaiters: false)
        }
        serveWaiters(pool)
    }

    // MARK: the end

    /// Closes a connection that nothing is under way on.
    func closeUpstream(_ upstream: Ref<UpstreamConnection>, servesWaiters: Bool = true) {
        guard upstream[].phase != .closed else { return }
        let pool = upstream[].pool
        let hadTLS = upstream[].transport.tls != nil
        if upstream[].phase == .ready {
            if upstream[].isHTTP2 { pool[].removeShared(upstream) }
        } else {
            pool[].dialling -= 1
        }
        pool[].removeIdle(upstream)
        removeIdle(upstream)
        upstream[].phase = .closed
        loop[].timers.cancel(&upstream[].deadline)
        countOddities(of: &upstream[].session)
        if let session = upstream[].session.take() {
            _ = consume session
            counters.close(.upstreamHTTP2)
        }
        if hadTLS, upstream[].output.isEmpty, upstream[].transport.pending == 0 {
            upstream[].transport.tls?.closeNotify()
            _ = upstream[].flush()
        }
        counters.add(.upstreamBytesOut, upstream[].transport.bytesOut)
        counters.add(.upstreamBytesIn, upstream[].transport.bytesIn)
        upstream[].transport.close()
        upstreams[].retire(upstream[].token)
        counters.close(.upstreamSocket)
        if hadTLS { counters.close(.upstreamTLS) }
        pool[].connections -= 1
        pool[].record[].connections.wrappingSubtract(1, ordering: .relaxed)
        registry.releaseConnection()
        roomFreed()
        tellStarving(pool)
        if servesWaiters {
            serveWaiters(pool)
        } else {
            retireIfUnused(pool)
        }
    }

    // MARK: reading and writing

    func readUpstream(_ upstream: Ref<UpstreamConnection>) {
        if upstream[].phase == .handshaking { return continueHandshake(upstream) }
        guard upstream[].isOpen else { return }
        // Left over from a pause: bytes, or no more than the end behind the last of them.
        if !upstream[].isHTTP2, !upstream[].isReadPaused,
            !upstream[].input.isEmpty
                || upstream[].reading == .body && upstream[].decoder.isComplete
        {
            continueUpstreamHTTP1(upstream)
        }
        var reads = 4
        while reads > 0, upstream[].isOpen, upstream[].transport.mayHoldMore {
            if upstream[].isReadPaused { return }
            switch unsafe upstream[].transport.read(
                into: scratch[].place, capacity: Scratch.capacity)
            {
            case .bytes(let count):
                if upstream[].isHTTP2 {
                    receivedUpstreamHTTP2(upstream, scratch[].bytes(count))
                } else {
                    receivedUpstreamHTTP1(upstream, scratch[].bytes(count))
                }
            case .wouldBlock: break
            case .ended(let isClean): return upstreamEnded(upstream, isClean: isClean)
            case .failed(let failure):
                if failure.kind == .flood { counters.flood(.tlsMessage) }
                return upstreamLost(upstream, .connectionTerminated)
            }
            reads -= 1
        }
        if upstream[].isOpen, upstream[].transport.mayHoldMore, !upstream[].isReadPaused {
            markReady(upstream)
        }
        if upstream[].isOpen, upstream[].transport.pending > 0 { markDirty(upstream) }
    }

    func flushUpstream(_ upstream: Ref<UpstreamConnection>) {
        guard upstream[].isOpen || upstream[].phase == .handshaking else { return }
        if upstream[].session != nil { return flushUpstreamHTTP2(upstream) }
        let outcome = upstream[].flush()
        if case .failed = outcome {
            if upstream[].phase == .handshaking {
                return dialFailed(upstream, .connectionTerminated)
            }
            // The answer may have been sent before the connection broke: reading tells.
            upstream[].transport.noteReadable(endsSoon: true)
            return readUpstream(upstream)
        }
        guard upstream[].buffered < state[].lowWater,
            let exchange = exchanges[].resolve(upstream[].firstExchange)
        else { return }
        if exchange[].isTunnelEnding, upstream[].buffered == 0 {
            if let front = fronts[].resolve(exchange[].front) { tunnelClientEnded(front) }
            return
        }
        guard exchange[].isRequestPaused else { return }
        resumeRequest(exchange)
    }
}
