// How many of a host's requests may be sent to it once more.

import Synchronization

/// What retries a host has to bear; copied into each exchange.
struct RetryPolicy: Equatable, BitwiseCopyable, Sendable {
    /// Retries for a hundred requests.
    var percent = 20
    /// Retries that a host bears in a second, however few its requests are.
    var perSecond = 10
    /// Retries that may come at once: all that is in flight may be lost in one moment.
    var burst = 1024
}

/// A token bucket that every request and every second fills a little, and every retry empties.
///
/// Kept as one number, like the theoretical arrival time of the generic cell rate algorithm
/// (ITU-T I.371), on a clock that requests and time drive together: in hundredths of a retry.
struct RetryBudget: ~Copyable {
    private static let retry: Int64 = 100
    /// The reading up to which all is spent.
    private let spent = Atomic<Int64>(.min)

    /// Takes one retry; false when the host has had its share of them.
    ///
    /// - Parameter requests: all that the host was ever sent.
    func take(requests: UInt64, _ policy: RetryPolicy, now: Instant) -> Bool {
        guard policy.percent > 0 || policy.perSecond > 0 else { return false }
        let seconds = now.milliseconds * Int64(policy.perSecond) * Self.retry / 1000
        let clock = Int64(clamping: requests) &* Int64(policy.percent) &+ seconds
        let saved = Int64(policy.burst) * Self.retry
        var seen = spent.load(ordering: .relaxed)
        while true {
            // So far ahead of the clock that a reload has made it a slower one: begin again at it.
            let isAhead = seen > clock + saved
            let next = isAhead ? clock : max(seen, clock - saved) + Self.retry
            guard next <= clock else { return false }
            let (exchanged, current) = spent.compareExchange(
                expected: seen, desired: next, ordering: .relaxed)
            if exchanged { return !isAhead }
            seen = current
        }
    }
}
