// What an upstream connection carries: exchanges put on it, sent, and taken off.

import Synchronization

extension Worker {
    /// Sends an exchange's request over a connection.
    func attach(_ exchange: Ref<Exchange>, to upstream: Ref<UpstreamConnection>) {
        guard exchange[].key == upstream[].key else { return keyViolated(exchange, upstream) }
        let pool = upstream[].pool
        exchange[].attempts += 1
        exchange[].upstream = upstream
        exchange[].isInFlight = true
        exchange[].hasResponseBytes = false
        exchange[].dispatched = loop[].now
        exchange[].upstreamAddress = upstream[].addressText
        exchange[].bytesOutBefore = upstream[].transport.bytesOut
        let isReused = upstream[].history.served > 0
        exchange[].record.isReused = isReused
        exchange[].record.upstreamVersion = upstream[].isHTTP2 ? .http2 : .http11
        exchange[].record.dial =
            isReused ? nil : upstream[].history.readyAt - upstream[].history.dialledAt
        upstream[].history.served += 1
        pool[].inFlight += 1
        pool[].record[].inFlight.wrappingAdd(1, ordering: .relaxed)
        pool[].record[].requests.wrappingAdd(1, ordering: .relaxed)
        if isReused {
            counters.add(.upstreamReused)
            pool[].record[].reused.wrappingAdd(1, ordering: .relaxed)
        }
        link(exchange, to: upstream)
        refreshDeadline(exchange)
        if pool[].spreads { noteSpread(upstream, exchange[].policy) }
        if upstream[].isHTTP2 {
            sendHTTP2(exchange, upstream)
        } else {
            sendHTTP1(exchange, upstream)
        }
        markDirty(upstream)
    }

    /// A connection was about to carry a request that it was not opened for: nothing is sent.
    @inline(never)
    private func keyViolated(_ exchange: Ref<Exchange>, _ upstream: Ref<UpstreamConnection>) {
        counters.add(.keyViolations)
        if upstream[].exchangeCount == 0 { closeUpstream(upstream, servesWaiters: false) }
        fail(exchange, 500, .internalError, "the connection found for the request is not its own")
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
            pingAfterRest(upstream)
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
            pool[].record[].inFlight.wrappingSubtract(1, ordering: .sequentiallyConsistent)
            if pool[].record[].crowded.load(ordering: .sequentiallyConsistent) != 0 {
                tellCrowded(pool)
            }
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
            giveUpShared(upstream)
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
                && loop[].now < upstream[].history.retiresAt
                && !state[].hasToldAll && !pool[].record[].isRetired.load(ordering: .relaxed)
                && pool[].record[].starving.load(ordering: .relaxed) & ~workerBit == 0
                && !givesUp(pool)
            if canServe {
                putIdle(upstream)
            } else {
                closeUpstream(upstream, servesWaiters: false)
            }
        }
        serveWaiters(pool)
        if upstream[].isIdle { roomFreed() }
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
}
