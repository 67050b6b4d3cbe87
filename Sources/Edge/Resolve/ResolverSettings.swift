// What an operator sets about name resolution, and the answers it can give.

/// How names are resolved; the configuration's `resolver` section.
struct ResolverSettings: Sendable {
    /// `127.0.0.1:5353`, `[::1]:53`, `10.0.0.10`; empty: those of the system's resolv.conf.
    var servers: [String] = []
    /// Whether resolv.conf's search domains apply; false: every name is absolute.
    var usesSearch = true
    /// The first wait for an answer; it doubles each time all servers have been asked.
    var timeout = Duration.seconds(2)
    /// How often each server is asked.
    var attempts = 2
    /// Bounds of an answer's time to live; at least `Limits.shortestAnswer`.
    var minTTL = Duration.seconds(1)
    var maxTTL = Duration.seconds(300)
    /// How long it is believed that a name does not exist (RFC 2308).
    var negativeTTL = Duration.seconds(5)
    /// How long an expired answer may be used while the servers fail (RFC 8767).
    var stale = Duration.seconds(30)
    /// Names of which nothing is known that may be asked for, over all workers; 0: any number.
    var firstSeenPerSecond = 500
    /// Names in the cache, those being asked for included.
    var maxNames = 20_000
}

/// Why a name has no addresses.
enum ResolveFailure: Error, Hashable, Sendable {
    /// The name does not exist, or has neither A nor AAAA records.
    case notFound
    /// No server answered in time.
    case timedOut
    /// Every server failed, refused, or could not be reached.
    case serverFailure
    /// Not a host name: empty, too long, or with bytes that no host name has.
    case unusableName
    /// As many names are being asked for as may be, or the worker is shutting down.
    case unavailable
    /// Nothing is known of it, and too many such names wait for their turn to be asked for.
    case tooManyNames

    /// Whether this says something about the name, rather than about the servers.
    var isVerdict: Bool { self == .notFound || self == .unusableName }
}

/// What is known of a name now.
enum NameLookup: Equatable, Sendable {
    /// Never empty.
    case addresses(ResolvedAddresses)
    /// Asked for; the waiter is told when to look again.
    case pending
    case failed(ResolveFailure)
}

extension Limits {
    /// 32 addresses kept of one answer: more than anyone dials, and 768 bytes.
    static let addressesPerName = 32
    /// 1 024 queries in flight per worker: an id scan then fails fast instead of queueing.
    static let queriesInFlight = 1024
    /// 100 ms: no answer expires before those who waited for it have looked.
    static let shortestAnswer = Duration.milliseconds(100)
    /// 1 s for which a failure of the servers is believed, so that they are not stormed.
    static let failureTTL = Duration.seconds(1)
    /// 20 ms until a socket that the kernel had no memory to poll is offered again.
    static let pollAgain = Duration.milliseconds(20)
    /// An answer that lives 10 s or more is renewed when a tenth of its life is left.
    static let renewableTTL = Duration.seconds(10)
}
