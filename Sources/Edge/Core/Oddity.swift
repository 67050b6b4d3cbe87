// What a peer may do, but not without end.

/// Something that the protocol allows, or that is answered by a reset, and that costs us at least
/// as much as the peer: one now and then is life, thousands are an attack.
///
/// What each costs of a connection's budget, and why, stands in `Limits.weight`.
enum Oddity: UInt8, CaseIterable, BitwiseCopyable, Sendable {
    /// A stream that the client reset before its response was complete.
    case cancelledStream
    /// RST_STREAM beyond one per stream.
    case strayReset
    /// A stream that we had to reset because of what came on it.
    case provokedReset
    case ping
    case settings
    /// An acknowledgement of SETTINGS or PING that nobody had sent.
    case strayAcknowledgement
    case priority
    /// WINDOW_UPDATE beyond two for each DATA frame that was sent.
    case windowUpdate
    /// A window that lets through a few bytes of the many that wait.
    case tinyWindow
    /// DATA, HEADERS or CONTINUATION without content.
    case emptyFrame
    case unknownFrame
    /// DATA or a head on a stream that is gone, beyond what may have been under way at its end.
    case ignoredFrame
    case goAway
    /// A stream beyond our limit, opened before the peer has acknowledged the limit.
    case refusedStream
    /// More padding than content.
    case padding
    /// CONTINUATION frames of one head beyond `Limits.continuations`; ends the connection at once.
    case continuation
    /// Messages of TLS that no data paid for; ends the connection at once.
    case tlsMessage
    /// PING and SETTINGS whose acknowledgements the peer does not read; ends it at once.
    case unreadAcknowledgements

    /// The snake-case word in metrics.
    var name: StaticString {
        switch self {
        case .cancelledStream: "cancelled_stream"
        case .strayReset: "stray_reset"
        case .provokedReset: "provoked_reset"
        case .ping: "ping"
        case .settings: "settings"
        case .strayAcknowledgement: "stray_acknowledgement"
        case .priority: "priority"
        case .windowUpdate: "window_update"
        case .tinyWindow: "tiny_window"
        case .emptyFrame: "empty_frame"
        case .unknownFrame: "unknown_frame"
        case .ignoredFrame: "ignored_frame"
        case .goAway: "goaway"
        case .refusedStream: "refused_stream"
        case .padding: "padding"
        case .continuation: "continuation"
        case .tlsMessage: "tls_message"
        case .unreadAcknowledgements: "unread_acknowledgements"
        }
    }
}

/// A connection's debt of oddities: each adds its weight, useful work and time take it off again.
///
/// Beyond `Limits.oddityBudget` the peer is a flood.
struct OddityBudget: BitwiseCopyable {
    private(set) var debt = 0
    private var settled = Instant.zero
    /// The oddity that was one too many.
    private(set) var flood: Oddity?
    private var isFloodTaken = false
    /// How often each kind was seen since `takeCounts`.
    private var counts: [20 of UInt16] = .init(repeating: 0)
    private(set) var hasCounts = false

    init() {}

    @inline(never)
    mutating func note(_ oddity: Oddity) {
        debt &+= Limits.weight(oddity)
        counts[Int(oddity.rawValue)] &+= 1
        hasCounts = true
        if debt > Limits.oddityBudget, flood == nil { flood = oddity }
    }

    /// An exchange has ended well.
    @inline(__always)
    mutating func credit() {
        if debt > 0 { debt &-= 1 }
    }

    /// Time heals; called whenever bytes come.
    @inline(__always)
    mutating func settle(_ now: Instant) {
        if debt > 0 { recover(now) } else { settled = now }
    }

    @inline(never)
    private mutating func recover(_ now: Instant) {
        let healed = (now - settled).nanoseconds / (1_000_000_000 / Limits.oddityRecovery)
        guard healed > 0 else { return }
        debt = max(0, debt - Int(healed))
        settled = now
    }

    /// The oddity that was one too many, the first time that it is asked for.
    mutating func takeFlood() -> Oddity? {
        guard let flood, !isFloodTaken else { return nil }
        isFloodTaken = true
        return flood
    }

    /// Hands out how often each kind was seen since the last time.
    mutating func takeCounts(_ body: (Oddity, Int) -> Void) {
        guard hasCounts else { return }
        hasCounts = false
        for oddity in Oddity.allCases where counts[Int(oddity.rawValue)] > 0 {
            body(oddity, Int(counts[Int(oddity.rawValue)]))
            counts[Int(oddity.rawValue)] = 0
        }
    }
}
