// A connection to a service is lost: what was under way is sent once more, or answered.

import Synchronization

extension Worker {
    /// Sends a request once more, on another connection.
    ///
    /// `freshSince`: when its own was lost; others that rest may have met the same end.
    func retry(
        _ exchange: Ref<Exchange>, _ verdict: RetryVerdict, freshSince: Instant = .zero
    ) {
        guard let pool = exchange[].pool else { return }
        let old = detach(exchange)
        exchange[].record.retry = verdict
        exchange[].record.queue = nil
        exchange[].freshSince = freshSince
        switch verdict {
        case .noBytesAndIdempotent: exchange[].wasRepeated = true
        case .unsent, .goawayAboveLast: exchange[].unseen += 1
        case .refusedStream, .reusedAndNoBytesAndIdempotent, .overBudget, .none: break
        }
        counters.retry(verdict)
        exchange[].isUpstreamStreamClosed = false
        exchange[].request.reset(owner: exchange[].token)
        exchange[].request.queue.append(exchange[].replay.bytes)
        exchange[].replay.removeAll()
        connect(exchange, pool)
        // What it left behind may serve others, or rest.
        if let old, old[].isHTTP2, old[].phase == .ready {
            restShared(old)
            serveWaiters(pool)
        }
    }

    /// A connection is lost with all that was under way on it.
    func upstreamLost(_ upstream: Ref<UpstreamConnection>, _ reason: ErrorReason) {
        if upstream[].phase == .settling { return dialFailed(upstream, reason) }
        let pool = upstream[].pool
        let wasIdle = upstream[].exchangeCount == 0
        if reason == .connectionTerminated { noteEndOfRest(upstream) }
        if !wasIdle { pool[].record[].failures.wrappingAdd(1, ordering: .relaxed) }
        upstream[].isDraining = true
        var isNoted = false
        while let exchange = exchanges[].resolve(upstream[].firstExchange) {
            let wasSent = upstream[].transport.bytesOut != exchange[].bytesOutBefore
            let verdict = exchange[].retryVerdict(
                wasSent: wasSent, connectionWasReused: exchange[].record.isReused, reason: reason)
            if verdict != .none, mayRetry(exchange, verdict) {
                // Not on this one again: it is draining, and of HTTP/1 it is not idle.
                retry(exchange, verdict, freshSince: loop[].now)
            } else {
                _ = detach(exchange)
                // One lost connection is one failure, however many streams it had.
                if !isNoted || exchange[].isProbe, isHostsFault(exchange, reason) {
                    isNoted = true
                    hostFailed(exchange)
                }
                answerLoss(exchange, reason)
            }
        }
        closeUpstream(upstream)
    }

    private func answerLoss(_ exchange: Ref<Exchange>, _ reason: ErrorReason) {
        switch reason {
        case .protocolError:
            fail(exchange, 502, reason, "the upstream's answer is not HTTP")
        case .responseHeadSize:
            fail(exchange, 502, reason, "the upstream's answer has too large a head")
        case .connectionReadTimeout where exchange[].responseProgress == .none:
            fail(exchange, 504, reason, "the upstream does not answer a PING")
        case .internalError:
            fail(exchange, 503, reason, "there is no memory to go on")
        default:
            let isCut = exchange[].responseProgress != .none
            fail(
                exchange, 502, isCut ? .responseIncomplete : reason,
                "the upstream ended the connection before its answer was complete")
        }
    }
}
