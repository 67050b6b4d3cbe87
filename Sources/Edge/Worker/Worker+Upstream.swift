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
        let name = pool[].client.identity.key.serverName ?? pool[].client.serverName
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
            dialFailed(upstream, Self.reason(failure))
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
            pool[].record[].memory.learn(isHTTP2 ? .http2 : .http1, loop[].now)
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
        upstream[].history.readyAt = loop[].now
        dialSucceeded(upstream)
        // A dial that was overtaken by another one is of use to the next request.
        putIdle(upstream)
        serveWaiters(pool)
        // Its address has left the answer meanwhile.
        if upstream[].isIdle, upstream[].isDraining { return closeUpstream(upstream) }
        offer(upstream)
    }

    /// A dial is over, one way or the other.
    func countDialled(_ upstream: Ref<UpstreamConnection>) {
        let pool = upstream[].pool
        pool[].countDial(upstream[].purpose, -1)
    }

    /// The peer's SETTINGS are here: an HTTP/2 connection can take streams, as many as they say.
    func upstreamSettled(_ upstream: Ref<UpstreamConnection>) {
        let pool = upstream[].pool
        guard upstream[].phase == .settling else { return serveWaiters(pool) }
        upstream[].phase = .ready
        upstream[].history.readyAt = loop[].now
        upstream[].idleSince = loop[].now
        dialSucceeded(upstream)
        loop[].timers.clear(&upstream[].deadline)
        armWatch(upstream)
        pool[].addShared(upstream)
        serveWaiters(pool)
        guard upstream[].phase == .ready, upstream[].exchangeCount == 0 else { return }
        if upstream[].isDraining { return closeUpstream(upstream) }
        armSharedIdle(upstream)
        offer(upstream)
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
            if upstream[].purpose == .waiters, pool[].waiting > 0,
                let token = pool[].waiters.first, let exchange = exchanges[].resolve(token),
                let next = pool[].spread.next(
                    after: upstream[].addressIndex, tried: upstream[].addressesTried, loop[].now)
            {
                countDialled(upstream)
                upstream[].purpose = .overtaken
                pool[].countDial(.overtaken, 1)
                _ = dial(
                    pool, address: next, tried: upstream[].addressesTried, exchange[].policy)
            }
        case .handshaking, .settling:
            counters.timeout(.upstreamHandshake)
            dialFailed(upstream, .connectionTimeout)
        case .ready:
            if upstream[].isHTTP2 { return watchShared(upstream) }
            if upstream[].exchangeCount == 0 { restPassed(upstream) }
        case .closed: break
        }
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
            countDialled(upstream)
        }
        if upstream[].addressIndex >= 0 { pool[].spread.closed(upstream[].addressIndex) }
        pool[].removeIdle(upstream)
        removeIdle(upstream)
        upstream[].phase = .closed
        if loop[].now >= upstream[].history.retiresAt { counters.add(.upstreamAged) }
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
        freePlace(pool[].client)
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
                // Not behind the end of an answer: nothing is sent before what follows is read.
                if count >= Limits.bulkBytes, upstream[].isHTTP2 || upstream[].reading == .body {
                    state[].hasBulk = true
                    reads = 1
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
