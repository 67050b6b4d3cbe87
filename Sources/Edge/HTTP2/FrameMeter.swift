// Counts the frames of one connection, both ways, and notices when they make no sense together.

/// Weighs the frames that a peer sends against those that were sent to it.
///
/// It sees every frame, also those that nghttp2 ignores, for a few instructions each. What answers
/// something of ours (updates for DATA, acknowledgements) is expected; the rest is odd.
struct FrameMeter: BitwiseCopyable {
    var budget = OddityBudget()
    /// Frames and heads of the peer whose first frame header was seen.
    private(set) var begun: UInt64 = 0
    private(set) var isWithinHead = false
    private var continuations = 0
    private(set) var hasSettings = false
    /// A peer opens the connection's window as soon as it likes.
    private var expectedUpdates = 16
    private var expectedResets = 0
    private var expectedSettings = 1
    private var expectedPings = 0
    /// DATA frames and heads that nghttp2 has not told of: ignored, or still under way.
    private var untold = 0
    private var expectedIgnored = Limits.framesUnderWay
    /// RST_STREAM frames that this side sends by its own decision.
    private var ownResets = 0

    /// The peer has yet to send its SETTINGS, or the rest of a head.
    @inline(__always)
    var awaitsRest: Bool { !hasSettings || isWithinHead }

    /// The next frame of the peer begins.
    @inline(__always)
    mutating func count(_ frame: HTTP2FrameHeader) {
        if !frame.isContinuation { begun &+= 1 }
        switch frame.type {
        case 0:
            untold &+= 1
            if frame.length == 0 {
                if !frame.hasFirstFlag { budget.note(.emptyFrame) }
            } else if frame.isPadded {
                notePadding(frame)
            }
        case 1:
            untold &+= 1
            expectedResets &+= 1
            continuations = 0
            isWithinHead = !frame.endsHead
            if frame.length == 0 {
                budget.note(.emptyFrame)
            } else if frame.isPadded {
                notePadding(frame)
            }
        default: countOther(frame)
        }
    }

    @inline(never)
    private mutating func notePadding(_ frame: HTTP2FrameHeader) {
        let content = frame.length - frame.padding - 1
        if content <= 0, !frame.hasFirstFlag {
            budget.note(.emptyFrame)
        } else if frame.padding > content {
            budget.note(.padding)
        }
    }

    @inline(never)
    private mutating func countOther(_ frame: HTTP2FrameHeader) {
        let isAcknowledgement = frame.hasFirstFlag
        switch frame.type {
        case 2: budget.note(.priority)
        case 3: if !Self.take(&expectedResets) { budget.note(.strayReset) }
        case 4 where isAcknowledgement:
            if !Self.take(&expectedSettings) { budget.note(.strayAcknowledgement) }
        case 4:
            // The first one is part of the preface (RFC 9113 §3.4).
            if hasSettings { budget.note(.settings) }
            hasSettings = true
        case 6 where isAcknowledgement:
            if !Self.take(&expectedPings) { budget.note(.strayAcknowledgement) }
        case 6: budget.note(.ping)
        case 5: break
        case 7: budget.note(.goAway)
        case 8: if !Self.take(&expectedUpdates) { budget.note(.windowUpdate) }
        case 9:
            continuations += 1
            isWithinHead = !frame.endsHead
            if continuations > Limits.continuations {
                budget.note(.continuation)
            } else if frame.length == 0 {
                budget.note(.emptyFrame)
            }
        default: budget.note(.unknownFrame)
        }
    }

    /// Takes one of those that are expected; false when there is none.
    private static func take(_ count: inout Int) -> Bool {
        guard count > 0 else { return false }
        count -= 1
        return true
    }

    // MARK: what nghttp2 makes of it

    /// nghttp2 has told of a DATA frame or a head.
    @inline(__always)
    mutating func told() { untold &-= 1 }

    /// nghttp2 has had all that was read: what it has not told of came on streams that are gone,
    /// but for the frame or head that is still `underWay`.
    @inline(__always)
    mutating func endRead(underWay: Bool) {
        if untold > 1 { noteIgnored(underWay || isWithinHead ? 1 : 0) }
    }

    @inline(never)
    private mutating func noteIgnored(_ underWay: Int) {
        while untold > underWay {
            untold -= 1
            if !Self.take(&expectedIgnored) { budget.note(.ignoredFrame) }
        }
    }

    // MARK: what this side sends

    /// A DATA frame went out; a client may answer it with an update of both windows.
    @inline(__always)
    mutating func sentData() {
        if expectedUpdates < Limits.expectedUpdates { expectedUpdates &+= 2 }
    }

    mutating func sentPing() { expectedPings += 1 }

    /// A client's request went out, which the peer may reset.
    @inline(__always)
    mutating func sentRequest() { expectedResets &+= 1 }

    /// A reset that this side decided on is on its way.
    mutating func willReset() {
        ownResets += 1
        expectIgnored()
    }

    /// RST_STREAM went out, by our decision or because the peer made us.
    mutating func sentReset(code: UInt32) {
        if ownResets > 0 {
            ownResets -= 1
        } else {
            budget.note(code == HTTP2Code.refusedStream ? .refusedStream : .provokedReset)
            expectIgnored()
        }
    }

    private mutating func expectIgnored() {
        expectedIgnored = min(expectedIgnored + Limits.framesUnderWay, Limits.expectedIgnored)
    }
}
