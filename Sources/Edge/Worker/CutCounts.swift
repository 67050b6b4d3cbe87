// What was still open at the end of a drain's grace period, by kind.

/// What a worker cut, or all of them.
struct CutCounts: Sendable {
    /// Requests without their whole answer, and tunnels, which have none.
    var exchanges = 0
    var tunnels = 0
    /// Connections of clients, whether something was under way on them or not.
    var frontConnections = 0
    var frontStreams = 0
    var upstreamConnections = 0
    var upstreamStreams = 0
    /// Exchanges that had no connection yet.
    var waiters = 0

    /// Each kind under the name that logs give it; those of which nothing was open are left out.
    var named: [(name: String, count: Int)] {
        [
            ("exchanges", exchanges), ("tunnels", tunnels),
            ("front_connections", frontConnections), ("front_streams", frontStreams),
            ("upstream_connections", upstreamConnections), ("upstream_streams", upstreamStreams),
            ("waiters", waiters),
        ].filter { $0.1 > 0 }
    }

    var isEmpty: Bool { named.isEmpty }

    static func += (left: inout CutCounts, right: CutCounts) {
        left.exchanges += right.exchanges
        left.tunnels += right.tunnels
        left.frontConnections += right.frontConnections
        left.frontStreams += right.frontStreams
        left.upstreamConnections += right.upstreamConnections
        left.upstreamStreams += right.upstreamStreams
        left.waiters += right.waiters
    }
}

extension Worker {
    /// Notes what is open, then ends it: the grace period is over.
    func cutAll() {
        var cut = CutCounts()
        fronts[].forEach { front in
            guard front[].purpose != .admin else { return }
            cut.frontConnections += 1
            cut.frontStreams += front[].session?.openStreams ?? 0
        }
        exchanges[].forEach { exchange in
            guard exchange[].isCounted else { return }
            if exchange[].responseProgress == .tunnel {
                cut.tunnels += 1
            } else {
                cut.exchanges += 1
            }
            if exchange[].isWaiting { cut.waiters += 1 }
        }
        upstreams[].forEach { upstream in
            cut.upstreamConnections += 1
            cut.upstreamStreams += upstream[].session?.openStreams ?? 0
        }
        state[].cut += cut
        fronts[].forEach { front in
            front[].closesAbruptly = front[].exchangeCount > 0
            closeFront(front)
        }
        upstreams[].forEach { closeUpstream($0, servesWaiters: false) }
    }
}
