// The watch over HTTP/2 connections: whether the peer is still there, and when a connection ends.

extension Worker {
    /// A connection's deadline has come: it is asked for a sign of life, given up, or retired.
    ///
    /// It stands at the next thing that may be due, and is not moved by exchanges that come and go:
    /// at most `ping_after` from then on, so that a silence that begins meanwhile is seen in time.
    func watchShared(_ upstream: Ref<UpstreamConnection>) {
        let now = loop[].now
        // What is not read cannot be heard.
        if upstream[].isReadPaused { upstream[].history.heardAt = now }
        if upstream[].history.pingedAt != .zero {
            if upstream[].history.heardAt > upstream[].history.pingedAt {
                upstream[].history.pingedAt = .zero
            } else if now >= upstream[].history.pingedAt + upstream[].history.upkeep.pingTimeout {
                counters.timeout(.upstreamPing)
                return upstreamLost(upstream, .connectionReadTimeout)
            }
        }
        if now >= upstream[].history.retiresAt { upstream[].isDraining = true }
        if upstream[].exchangeCount == 0 {
            if upstream[].isDraining || restIsOver(upstream) { return closeUpstream(upstream) }
        } else if now >= pingDue(upstream) {
            ping(upstream)
        }
        armWatch(upstream)
    }

    /// Sets the deadline to the next thing that may be due, unless it stands before that.
    @inline(__always)
    func armWatch(_ upstream: Ref<UpstreamConnection>) {
        var next = upstream[].isDraining ? .never : upstream[].history.retiresAt
        if upstream[].history.pingedAt != .zero {
            next = min(next, upstream[].history.pingedAt + upstream[].history.upkeep.pingTimeout)
        } else if upstream[].exchangeCount > 0 {
            next = min(next, pingDue(upstream))
        } else if upstream[].history.upkeep.pingAfter != .zero {
            next = min(next, loop[].now + upstream[].history.upkeep.pingAfter)
        }
        if upstream[].exchangeCount == 0 { next = min(next, nextLook(upstream)) }
        guard next < upstream[].deadline.at else { return }
        loop[].timers.set(&upstream[].deadline, upstream[].token, at: next)
    }

    /// An exchange ends a rest: if it was a long one, the peer is asked to answer soon.
    ///
    /// The PING leaves with the request, which does not wait for it. A connection that rests is not
    /// asked: it would cost a wake-up of both sides, and servers of gRPC end connections for it.
    @inline(__always)
    func pingAfterRest(_ upstream: Ref<UpstreamConnection>) {
        guard loop[].now - upstream[].history.heardAt >= upstream[].history.upkeep.pingAfter,
            upstream[].history.upkeep.pingAfter != .zero, upstream[].history.pingedAt == .zero
        else { return }
        ping(upstream)
        armWatch(upstream)
    }

    /// When a silence has lasted long enough to ask; never while an answer is awaited.
    private func pingDue(_ upstream: Ref<UpstreamConnection>) -> Instant {
        var silence = upstream[].history.upkeep.pingAfter
        guard silence != .zero, upstream[].history.pingedAt == .zero else { return .never }
        if upstream[].history.acknowledgedAt == upstream[].history.heardAt {
            silence = max(silence, Limits.quietPing)
        }
        return upstream[].history.heardAt + silence
    }

    private func ping(_ upstream: Ref<UpstreamConnection>) {
        upstream[].session?.ping()
        upstream[].history.pingedAt = loop[].now
        counters.add(.upstreamPings)
        markDirty(upstream)
    }
}
