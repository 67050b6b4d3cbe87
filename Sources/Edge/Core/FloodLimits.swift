// How much of each oddity a peer may do: the whole policy against floods, with its reasons.

extension Limits {
    /// Debt of oddities at which a connection ends with ENHANCE_YOUR_CALM.
    ///
    /// 1 000 pings, 500 cancelled streams or 125 provoked resets at once: more than a page with
    /// a hundred images whose reader moves on, less than a second of our work.
    static let oddityBudget = 1000
    /// Debt that time takes off per second: 100 pings, 50 cancelled streams, 12 provoked resets.
    ///
    /// Every exchange that ended well takes off one more, so that a proxy in front of us that
    /// multiplexes thousands of clients may have a share of them leave.
    static let oddityRecovery: Int64 = 100

    /// What one oddity adds to the debt.
    static func weight(_ oddity: Oddity) -> Int {
        switch oddity {
        // CVE-2023-44487: a stream that began, was routed and perhaps sent to a service, for the
        // price of two small frames.
        case .cancelledStream: 2
        // Costs a look-up that finds nothing.
        case .strayReset: 2
        // CVE-2025-8671: the same work as a cancelled stream, and the client can be made to look
        // innocent; no honest client needs it.
        case .provokedReset: 8
        // An answer each; gRPC measures its bandwidth with a few dozen per second.
        case .ping: 1
        // An answer each, and perhaps a walk over all streams.
        case .settings: 10
        // Somebody who acknowledges what was never said is testing us.
        case .strayAcknowledgement: 10
        // Ignored (RFC 9113 §5.3.2), so all of it is waste.
        case .priority: 1
        // Two for each DATA frame are what simple clients send; these come on top.
        case .windowUpdate: 1
        // CVE-2019-9511, CVE-2019-9517: a frame, a record and a turn of the scheduler for a few
        // bytes.
        case .tinyWindow: 1
        // CVE-2019-9518: frames that move nothing.
        case .emptyFrame: 4
        // Skipped (RFC 9113 §4.1) at the price of reading.
        case .unknownFrame: 1
        // Thrown away as well, a head after its decoding.
        case .ignoredFrame: 1
        // A walk over all streams; two are enough for any farewell (RFC 9113 §6.8).
        case .goAway: 10
        // A head decoded and a reset. A client may open what it likes before it has seen our
        // SETTINGS, so this is less than what it could know.
        case .refusedStream: 2
        // Bandwidth that we read and throw away.
        case .padding: 1
        // CVE-2024-27316, and acknowledgements that pile up (CVE-2019-9512, -9515): no second
        // chance, since memory is at stake.
        case .continuation, .tlsMessage, .unreadAcknowledgements: oddityBudget + 1
        }
    }

    /// Bytes below which a window that stops longer content counts as tiny.
    static let tinyWindow = 64
    /// DATA frames sent whose WINDOW_UPDATEs are still expected, at most: 2 GiB of full frames.
    static let expectedUpdates = 1 << 18
    /// DATA frames that may be under way on a stream that we reset: its window, by the KiB.
    static let framesUnderWay = 256
    /// Such frames that are put up with at most, after many resets.
    static let expectedIgnored = 1 << 16
    /// CONTINUATION frames of one head: 8 × 16 KiB hold any head that is admitted.
    static let continuations = 8
    /// Octets of an HTTP/2 head, as decoded, after which its stream is reset instead of answered:
    /// an HPACK bomb unfolds a few kilobytes to hundreds of megabytes.
    static let hpackBombBytes = 4 * headBytes
    /// Entries in one SETTINGS frame.
    static let settingsEntries = 32
    /// PING and SETTINGS acknowledgements waiting to be written, to a peer that does not read:
    /// above what one read may ask for, some 200 KiB.
    static let queuedAcknowledgements = 2 * oddityBudget
    /// RST_STREAM frames at once, and again per second, that nghttp2 would put up with: above what
    /// the budget allows, so that it is the budget that ends the connection.
    static let streamResetBurst = 4 * oddityBudget
    static let streamResetsPerSecond = 4 * Int(oddityRecovery)
}
