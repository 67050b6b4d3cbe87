// The bounds of HTTP/2 that are not configuration.

extension Limits {
    /// Octets of an HTTP/2 head, as decoded, after which its stream is reset instead of answered:
    /// an HPACK bomb unfolds a few kilobytes to hundreds of megabytes.
    static let hpackBombBytes = 4 * headBytes
    /// Frames in a row that neither carry content nor start a request.
    ///
    /// PING, SETTINGS, PRIORITY, WINDOW_UPDATE, empty DATA; beyond them the connection ends with
    /// ENHANCE_YOUR_CALM. Unknown types are not seen: nghttp2 skips them at the cost of reading.
    static let idleFrames = 4096
    /// Streams reset because of what the peer sent on them, less those that ended well, before the
    /// connection ends: a peer that makes us reset is a flood like one that resets (CVE-2025-8671).
    static let streamFaults = 128
    /// RST_STREAM frames from a client at once, and again per second (CVE-2023-44487).
    static let streamResetBurst = 500
    static let streamResetsPerSecond = 50
    /// CONTINUATION frames of one head: 8 × 16 KiB hold any head that is admitted.
    static let continuations = 8
    /// Entries in one SETTINGS frame.
    static let settingsEntries = 32
    /// PING and SETTINGS acknowledgements waiting to be written before the peer counts as a flood.
    static let queuedAcknowledgements = 256
    /// Streams assumed to be allowed before the peer's SETTINGS arrive (RFC 9113 §6.5.2).
    static let presumedStreams = 100
    /// Octets serialised into one output queue at most, whatever the caller asks for.
    static let http2WriteBytes = 512 * 1024
    /// Free blocks of nghttp2's that one worker keeps for reuse.
    static let http2PooledBytes = 8 * 1024 * 1024
}
