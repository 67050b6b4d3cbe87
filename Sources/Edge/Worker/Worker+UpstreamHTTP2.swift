// HTTP/2 services.

import Synchronization

extension Worker {
    func receivedUpstreamHTTP2(_ upstream: Ref<UpstreamConnection>, _ bytes: Bytes) {
        upstream[].history.heardAt = loop[].now
        do throws(HTTP2Failure) {
            try upstream[].session?.receive(bytes, now: loop[].now)
        } catch {
            handleUpstreamEvents(upstream)
            if upstream[].isOpen { upstreamLost(upstream, Self.reason(error)) }
            return
        }
        handleUpstreamEvents(upstream)
        guard upstream[].isOpen else { return }
        countOddities(of: &upstream[].session)
        markDirty(upstream)
    }

    private func handleUpstreamEvents(_ upstream: Ref<UpstreamConnection>) {
        while upstream[].isOpen, let event = upstream[].session?.nextEvent() {
            switch event {
            case .head(_, let owner, let head, let endsStream):
                defer { heads[].give(head) }
                guard let exchange = exchanges[].resolve(owner), exchange[].upstream == upstream
                else { continue }
                responseHeadHTTP2(exchange, head, endsStream: endsStream)
            case .data(let stream, let owner, let bytes):
                guard let exchange = exchanges[].resolve(owner), exchange[].upstream == upstream
                else {
                    upstream[].session?.consume(stream, bytes.count)
                    continue
                }
                responseContent(exchange, bytes)
                if exchange[].isResponsePaused {
                    exchange[].unconsumedResponse += bytes.count
                    // Its window may hold a quarter of a megabyte, times all streams.
                    if state[].pressure == .full { upstream[].isReadPaused = true }
                } else {
                    upstream[].session?.consume(stream, bytes.count)
                }
            case .end(_, let owner):
                guard let exchange = exchanges[].resolve(owner), exchange[].upstream == upstream
                else { continue }
                responseEnded(exchange, trailers: nil)
            case .trailers(_, let owner, let head):
                guard let exchange = exchanges[].resolve(owner), exchange[].upstream == upstream
                else {
                    heads[].give(head)
                    continue
                }
                responseEnded(exchange, trailers: head)
            case .closed(_, let owner, let code):
                guard let exchange = exchanges[].resolve(owner), exchange[].upstream == upstream
                else { continue }
                upstreamStreamClosed(upstream, exchange, code)
            case .drained(_, let owner):
                guard let exchange = exchanges[].resolve(owner) else { continue }
                resumeRequest(exchange)
            case .goAway:
                counters.add(.goawaysReceived)
                upstream[].isDraining = true
                if upstream[].exchangeCount == 0 {
                    noteEndOfRest(upstream)
                    closeUpstream(upstream)
                }
            case .settings:
                upstreamSettled(upstream)
            case .pingAcknowledged:
                upstream[].history.acknowledgedAt = loop[].now
                upstream[].history.pingedAt = .zero
            }
        }
    }

    private func responseHeadHTTP2(
        _ exchange: Ref<Exchange>, _ head: Ref<Head>, endsStream: Bool
    ) {
        if head[].status < 200 { return informationalHead(exchange, head) }
        // HEAD and 304 announce a length that has no content behind it.
        if case .length(let length) = head[].framing { head[].announcedLength = length }
        let mayHaveContent =
            exchange[].head[].method != .head && head[].status != 204 && head[].status != 304
        if !mayHaveContent {
            head[].framing = .none
        } else if endsStream {
            head[].framing = .length(0)
        }
        responseHead(exchange, head)
        if endsStream { responseEnded(exchange, trailers: nil) }
    }

    /// The stream is gone before its response was complete, or after.
    private func upstreamStreamClosed(
        _ upstream: Ref<UpstreamConnection>, _ exchange: Ref<Exchange>, _ code: UInt32
    ) {
        exchange[].isUpstreamStreamClosed = true
        exchange[].upstreamStream = 0
        if code == HTTP2Code.refusedStream, exchange[].canResend {
            // Who refuses is short of something: not for long, or it is the client's turn.
            let isWelcome =
                upstream[].isDraining || exchange[].attempts - exchange[].unseen < Limits.attempts
            let verdict: RetryVerdict = upstream[].isDraining ? .goawayAboveLast : .refusedStream
            if isWelcome, mayRetry(exchange, verdict) { return retry(exchange, verdict) }
        }
        dropUpstream(exchange)
        guard exchange[].responseProgress != .complete else { return }
        counters.add(.upstreamResets)
        exchange[].pool?[].record[].failures.wrappingAdd(1, ordering: .relaxed)
        if exchange[].responseProgress == .none { hostFailed(exchange) }
        fail(
            exchange, 502,
            exchange[].responseProgress == .none ? .connectionTerminated : .responseIncomplete,
            "the upstream reset the stream")
    }

    func flushUpstreamHTTP2(_ upstream: Ref<UpstreamConnection>) {
        while upstream[].isOpen {
            var wantsMore = true
            if upstream[].buffered < state[].highWater {
                do throws(HTTP2Failure) {
                    wantsMore =
                        try upstream[].writeFrames(upTo: state[].highWater)
                } catch {
                    return upstreamLost(upstream, Self.reason(error))
                }
            }
            let outcome = upstream[].flush()
            handleUpstreamEvents(upstream)
            guard upstream[].isOpen else { return }
            switch outcome {
            case .failed:
                upstream[].transport.noteReadable(endsSoon: true)
                return readUpstream(upstream)
            case .blocked: return
            case .done: if !wantsMore { return finishUpstreamFlush(upstream) }
            }
        }
    }

    private func finishUpstreamFlush(_ upstream: Ref<UpstreamConnection>) {
        // Nothing to say and nothing to hear: nghttp2 has ended the connection.
        guard upstream[].session?.isFinished ?? false else { return }
        let hasFailed = upstream[].session?.hasFailed ?? false
        upstreamLost(upstream, hasFailed ? .internalError : .connectionTerminated)
    }

    private static func reason(_ failure: HTTP2Failure) -> ErrorReason {
        failure.isOutOfMemory ? .internalError : .protocolError
    }
}
