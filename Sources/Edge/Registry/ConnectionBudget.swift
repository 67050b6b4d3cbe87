// Places for upstream connections in the whole process, and how many of them one host may hold.

import Synchronization

/// Counts the connections of all workers and hosts, and shares their places out.
///
/// Two rules, so that no host can keep the others from theirs. One host never holds more than
/// `mostOfHost`: what it holds when it begins to hang cannot be taken back. And a host that holds
/// less than its share, `most` by the hosts that hold any, starves when it finds no place: then
/// those above theirs close what becomes free, and nobody else takes a place before it.
struct ConnectionBudget: ~Copyable {
    private let most: Atomic<Int>
    private let mostOfHost: Atomic<Int>
    private let used = Atomic<Int>(0)
    /// Hosts that hold a place, or are about to.
    private let holders = Atomic<Int>(0)
    /// Pools below their share that find no place.
    private let starving = Atomic<Int>(0)
    /// Somebody waits for the end of that.
    private let hasTurnedAway = Atomic<Bool>(false)

    init(_ limits: RegistryLimits) {
        most = Atomic(limits.maxConnections)
        mostOfHost = Atomic(limits.maxConnectionsOfHost)
    }

    func setLimits(_ limits: RegistryLimits) {
        most.store(limits.maxConnections, ordering: .relaxed)
        mostOfHost.store(limits.maxConnectionsOfHost, ordering: .relaxed)
    }

    var count: Int { used.load(ordering: .relaxed) }

    /// There are more connections than a reload left room for.
    var isExceeded: Bool { count > most.load(ordering: .relaxed) }

    // MARK: places

    /// Counts one more connection of a host, unless it has `limit`, or its part of all, already.
    func hold(_ record: Ref<HostRecord>, limit: Int) -> Bool {
        let limit = min(limit, mostOfHost.load(ordering: .relaxed))
        guard let held = record[].connections.take(upTo: limit) else { return false }
        if held == 1 { holders.wrappingAdd(1, ordering: .relaxed) }
        return true
    }

    /// Takes off what `hold` has counted.
    func letGo(_ record: Ref<HostRecord>) {
        let before = record[].connections.wrappingSubtract(1, ordering: .sequentiallyConsistent)
        if before.newValue == 0 { holders.wrappingSubtract(1, ordering: .relaxed) }
    }

    /// A connection of the process ended after somebody found no place.
    var hasRoom: Bool { count < most.load(ordering: .relaxed) }

    /// Counts one more connection of the process, unless it has its most already.
    func reserve() -> Bool {
        used.take(upTo: most.load(ordering: .relaxed)) != nil
    }

    func release() { used.wrappingSubtract(1, ordering: .relaxed) }

    // MARK: shares

    /// Somebody below its share finds no place.
    @inline(__always)
    var isContended: Bool { starving.load(ordering: .relaxed) > 0 }

    /// Whether a host, with the connection that it has just been given, is within its share.
    func isWithinShare(_ record: Ref<HostRecord>) -> Bool {
        let share = most.load(ordering: .relaxed) / max(1, holders.load(ordering: .relaxed))
        return record[].connections.load(ordering: .relaxed) <= max(1, share)
    }

    /// Whether a host has to give up a connection that becomes free, for one that holds none yet.
    func hasToGiveUp(_ record: Ref<HostRecord>) -> Bool {
        let share = most.load(ordering: .relaxed) / (holders.load(ordering: .relaxed) + 1)
        return record[].connections.load(ordering: .relaxed) > share
    }

    func beginStarving() { starving.wrappingAdd(1, ordering: .sequentiallyConsistent) }

    /// True when those that were turned away have to be told.
    func endStarving() -> Bool {
        let left = starving.wrappingSubtract(1, ordering: .sequentiallyConsistent).newValue
        return left == 0 && hasTurnedAway.exchange(false, ordering: .sequentiallyConsistent)
    }

    /// Notes that somebody waits until nobody starves; false when it need not any more.
    func turnAway() -> Bool {
        hasTurnedAway.store(true, ordering: .sequentiallyConsistent)
        return starving.load(ordering: .sequentiallyConsistent) > 0
    }
}

extension Atomic where Value == Int {
    /// Counts one more unless there are `limit`, and returns how many that makes; nil: no more.
    ///
    /// Never one too many, not even for a moment, in which others would find no place either.
    func take(upTo limit: Int) -> Int? {
        var seen = load(ordering: .sequentiallyConsistent)
        while seen < limit {
            let (exchanged, current) = compareExchange(
                expected: seen, desired: seen + 1, ordering: .sequentiallyConsistent)
            if exchanged { return seen + 1 }
            seen = current
        }
        return nil
    }
}
