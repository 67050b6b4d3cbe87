// How often names of which nothing is known may be asked for.

import Synchronization

/// Turns for first-seen names, shared by all workers: a bucket whose queue is a schedule.
///
///     spare turns ─► at once ─► none left: each gets the next free moment ─► too far off: refused
///
/// A turn that is not free yet is a moment in the near future (the generic cell rate algorithm of
/// ITU-T I.371), so that names are asked for in the order in which they came, whatever the worker,
/// and nothing but one number is shared.
struct FirstSeenRate: ~Copyable, Sendable {
    /// Between two turns; 0: as often as one likes.
    private let interval: Int64
    /// Nanoseconds on the monotonic clock up to which all turns are taken.
    private let taken = Atomic<Int64>(0)

    init(perSecond: Int) { interval = perSecond > 0 ? 1_000_000_000 / Int64(perSecond) : 0 }

    /// Takes the next turn; nil when that is more than `Limits.firstSeenWait` away.
    func take(now: Instant) -> Instant? {
        guard interval > 0 else { return now }
        let oldest = now.nanoseconds - Limits.firstSeenBurst.nanoseconds
        var seen = taken.load(ordering: .relaxed)
        while true {
            let turn = max(seen, oldest)
            guard turn - now.nanoseconds < Limits.firstSeenWait.nanoseconds else { return nil }
            let (exchanged, current) = taken.compareExchange(
                expected: seen, desired: turn + interval, ordering: .relaxed)
            if exchanged { return Instant(nanoseconds: max(turn, now.nanoseconds)) }
            seen = current
        }
    }
}

extension Limits {
    /// Five seconds' worth of first-seen names may be asked for at once: 2 500 by default, so that
    /// the ids in use come back at once after a restart.
    static let firstSeenBurst = Duration.seconds(5)
    /// 2 s that a first-seen name waits for its turn, within what clients put up with and far below
    /// `queue_timeout`; a line any longer is a scan's.
    static let firstSeenWait = Duration.seconds(2)
}
