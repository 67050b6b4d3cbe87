// The heart of a worker: readiness, deadlines and the time.

/// One epoll instance, one timer wheel, one reading of the clock per iteration.
///
///     wait ─► events ─► expired deadlines ─► (worker flushes what is dirty) ─► wait
///
/// Connections are registered once, edge-triggered; what could not be finished in its turn is kept
/// by the worker in a list and worked on in the next iteration, before new events.
struct EventLoop: ~Copyable {
    let poller: Poller
    var timers: TimerWheel
    /// The monotonic time of this iteration.
    private(set) var now: Instant
    /// The civil time of this iteration.
    private(set) var wallTime: WallTime

    init() throws(SystemFailure) {
        poller = try Poller()
        now = Instant.now()
        wallTime = WallTime.now()
        timers = TimerWheel(now: now)
    }

    /// Waits for events, not at all when `hasWork`; returns how many there are.
    @inline(__always)
    mutating func wait(hasWork: Bool) -> Int {
        let timeout = hasWork ? 0 : timers.millisecondsToNext(now: now)
        let count = poller.wait(milliseconds: timeout)
        now = Instant.now()
        wallTime = WallTime.now()
        return count
    }
}
