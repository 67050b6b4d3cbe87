// What is known of a name, for those who only look.

/// The cache's knowledge of one name at one moment.
struct NameFacts: Equatable, Sendable {
    enum State: String, Sendable {
        /// An address itself: nothing is ever asked.
        case literal
        case fresh
        /// Expired, and used because the servers fail (RFC 8767).
        case stale
        /// Expired: the next one who needs it asks.
        case expired
        /// Known to have no addresses, or not to be resolvable, for a while.
        case negative
        case unknown
    }

    var state = State.unknown
    /// A query is under way.
    var isAsked = false
    var addresses: [SocketAddress] = []
    /// Since the answer came; nil without one.
    var age: Duration?
    /// Until `state` changes by itself; nil when it does not.
    var timeLeft: Duration?
    var failure: ResolveFailure?

    init() {}

    init(literal address: SocketAddress) {
        state = .literal
        addresses = [address]
    }

    init(failure: ResolveFailure) {
        state = .negative
        self.failure = failure
    }

    init(_ entry: NameEntry, now: Instant) {
        isAsked = entry.isAsked
        failure = now < entry.failureUntil ? entry.failure : nil
        if !entry.addresses.isEmpty {
            addresses = entry.addresses.list
            age = now - entry.answeredAt
            if now < entry.freshUntil {
                state = .fresh
                timeLeft = entry.freshUntil - now
            } else if entry.isUsableStale(now) {
                state = .stale
                timeLeft = entry.usableUntil - now
            } else {
                state = .expired
            }
        } else if failure != nil {
            state = .negative
            timeLeft = entry.failureUntil - now
        }
    }
}
