// Passive health of a host: a circuit breaker that learns from what its requests come to.

import Synchronization

/// Which statuses of a service say that it is ill.
enum FailureStatuses: String, BitwiseCopyable, Sendable {
    /// Only requests without an answer count.
    case none
    /// 502, 503 and 504: the service, or a gateway before it, says that it cannot serve.
    case gateway
    /// Every 5xx, those of single broken requests (500) included.
    case all

    @inline(__always)
    func contains(_ status: UInt16) -> Bool {
        guard status >= 500 else { return false }
        switch self {
        case .none: return false
        case .gateway: return (502...504).contains(status)
        case .all: return status <= 599
        }
    }
}

/// When a host's breaker opens, and for how long; copied into each exchange.
struct HealthPolicy: Equatable, BitwiseCopyable, Sendable {
    var isEnabled = true
    var statuses = FailureStatuses.gateway
    /// Failures in a row that open it.
    var consecutiveFailures = 5
    /// Share of the requests within `window` that opens it, in percent; of `minRequests` at least.
    var failurePercent = 50
    var minRequests = 20
    var window = Duration.seconds(10)
    /// How long it is open first; twice as long after each probe that fails, `maxOpen` at most.
    var open = Duration.seconds(1)
    var maxOpen = Duration.seconds(30)
}

/// The breaker of one host; atomics that all workers share.
///
///     closed ──failures──► open ──time──► half open: one probe ──success──► closed
///                            ▲                          └──failure──► open, twice as long
///
/// A healthy host costs a load on the way of a request in and another on its way out. Counts of
/// failures that several workers report in the same moment may be off by those few.
struct HostHealth: ~Copyable {
    enum State: Equatable {
        case closed, halfOpen
        case open(until: Instant)
    }

    enum Admission: Equatable {
        case passes
        /// This request alone finds out whether the host is well again.
        case probes
        /// How long to wait before the next try.
        case refused(Duration)
    }

    /// What a failed request was.
    struct Failure {
        /// The only one of a half-open host.
        var isProbe = false
        /// Counted among the host's requests; false when no connection came about.
        var wasSent = true
    }

    private static let closed: Int64 = 0
    private static let halfOpen: Int64 = -1
    /// `closed`, `halfOpen`, or the monotonic nanosecond until which it is open.
    private let word = Atomic<Int64>(0)
    private let inARow = Atomic<Int>(0)
    /// Times that it was opened since it was last closed.
    private let openings = Atomic<Int>(0)
    // The window: begins with a failure, 0 when there is none.
    private let windowBegan = Atomic<Int64>(0)
    /// The host's requests before the window.
    private let requestsBefore = Atomic<UInt64>(0)
    private let failures = Atomic<Int>(0)
    private let unsent = Atomic<Int>(0)

    /// Whether `admit` has to be asked.
    @inline(__always)
    var isClosed: Bool { word.load(ordering: .relaxed) == Self.closed }

    var state: State {
        switch word.load(ordering: .relaxed) {
        case Self.closed: .closed
        case Self.halfOpen: .halfOpen
        case let until: .open(until: Instant(nanoseconds: until))
        }
    }

    var failuresInARow: Int { inARow.load(ordering: .relaxed) }

    /// Whether a request may go to the host.
    ///
    /// Who probes has to say what became of it: `succeeded`, `failed` or `abandoned`.
    func admit(now: Instant) -> Admission {
        var seen = word.load(ordering: .relaxed)
        while true {
            if seen == Self.closed { return .passes }
            if seen == Self.halfOpen { return .refused(.seconds(1)) }
            if now.nanoseconds < seen {
                return .refused(Duration(nanoseconds: seen - now.nanoseconds))
            }
            let (exchanged, current) = word.compareExchange(
                expected: seen, desired: Self.halfOpen, ordering: .relaxed)
            if exchanged { return .probes }
            seen = current
        }
    }

    /// A request was answered.
    @inline(__always)
    func succeeded(isProbe: Bool) {
        if inARow.load(ordering: .relaxed) != 0 { inARow.store(0, ordering: .relaxed) }
        if isProbe { close() }
    }

    /// Forgets all failures.
    func close() {
        inARow.store(0, ordering: .relaxed)
        openings.store(0, ordering: .relaxed)
        windowBegan.store(0, ordering: .relaxed)
        word.store(Self.closed, ordering: .relaxed)
    }

    /// A probe came to nothing for a reason that is not the host's: the next request is one.
    func abandoned(now: Instant) {
        _ = word.compareExchange(
            expected: Self.halfOpen, desired: max(now.nanoseconds, 1), ordering: .relaxed)
    }

    /// A request failed by the host's fault; true when that opened the breaker.
    ///
    /// - Parameters:
    ///   - requests: all that the host was ever sent.
    ///   - jitter: any number; spreads the times at which hosts are tried again.
    func failed(
        _ failure: Failure, requests: UInt64, _ policy: HealthPolicy, now: Instant, jitter: UInt64
    ) -> Bool {
        if failure.isProbe { return open(from: Self.halfOpen, policy, now, jitter) }
        // Sent before it opened: known already.
        guard isClosed else { return false }
        let inARow = inARow.wrappingAdd(1, ordering: .relaxed).newValue
        guard
            inARow >= policy.consecutiveFailures
                || isRateReached(failure, requests: requests, policy, now)
        else { return false }
        return open(from: Self.closed, policy, now, jitter)
    }

    private func isRateReached(
        _ failure: Failure, requests: UInt64, _ policy: HealthPolicy, _ now: Instant
    ) -> Bool {
        let began = windowBegan.load(ordering: .relaxed)
        if began == 0 || now.nanoseconds - began > policy.window.nanoseconds {
            let (exchanged, _) = windowBegan.compareExchange(
                expected: began, desired: max(now.nanoseconds, 1), ordering: .relaxed)
            if exchanged {
                requestsBefore.store(requests &- (failure.wasSent ? 1 : 0), ordering: .relaxed)
                failures.store(0, ordering: .relaxed)
                unsent.store(0, ordering: .relaxed)
            }
        }
        let failures = failures.wrappingAdd(1, ordering: .relaxed).newValue
        let unsent =
            failure.wasSent
            ? unsent.load(ordering: .relaxed)
            : unsent.wrappingAdd(1, ordering: .relaxed).newValue
        let sent = Int(clamping: requests &- requestsBefore.load(ordering: .relaxed))
        let total = sent + unsent
        return total >= policy.minRequests && failures * 100 >= total * policy.failurePercent
    }

    /// Of several workers that want to, one opens it.
    private func open(
        from state: Int64, _ policy: HealthPolicy, _ now: Instant, _ jitter: UInt64
    ) -> Bool {
        let times = openings.load(ordering: .relaxed)
        let span = Self.openTime(policy, times: times, jitter: jitter)
        let (exchanged, _) = word.compareExchange(
            expected: state, desired: (now + span).nanoseconds, ordering: .relaxed)
        guard exchanged else { return false }
        openings.store(times + 1, ordering: .relaxed)
        inARow.store(0, ordering: .relaxed)
        windowBegan.store(0, ordering: .relaxed)
        return true
    }

    /// `open`, doubled `times` times, `maxOpen` at most, and up to a quarter more.
    static func openTime(_ policy: HealthPolicy, times: Int, jitter: UInt64) -> Duration {
        var span = policy.open.nanoseconds
        var left = times
        while left > 0, span < policy.maxOpen.nanoseconds {
            span *= 2
            left -= 1
        }
        span = min(span, policy.maxOpen.nanoseconds)
        return Duration(nanoseconds: span + span / 1024 * Int64(jitter % 257))
    }
}
