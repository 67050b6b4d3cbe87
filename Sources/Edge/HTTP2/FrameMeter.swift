// Counts the frames of one connection, both ways, and notices when they make no sense together.

/// Reads the frame headers (RFC 9113 §4.1) of everything that a peer sends, before nghttp2 does.
///
///     bytes ─► [preface] ─► header ─► payload skipped ─► header ─► …
///
/// Seeing every frame, also those that nghttp2 ignores, costs a few instructions per frame. What
/// answers something of ours (updates for DATA, acknowledgements) is expected; the rest is odd.
struct FrameMeter: BitwiseCopyable {
    var budget = OddityBudget()
    /// Octets of the preface that a server still expects.
    private var prefaceLeft: Int
    /// Octets of payload under way that are still to come.
    private var payloadLeft = 0
    /// A header that the end of a read has cut, and how much of it is there.
    private var header: UInt64 = 0
    private var headerCount = 0
    private var isWithinHead = false
    private var isWithinData = false
    private var continuations = 0
    private(set) var hasSettings = false
    private var expectedUpdates: Int
    private var expectedResets = 0
    private var expectedSettings = 1
    private var expectedPings = 0
    /// DATA frames and heads that nghttp2 has not told of: ignored, or still under way.
    private var untold = 0
    private var expectedIgnored = Limits.framesUnderWay
    /// RST_STREAM frames that this side sends by its own decision.
    private var ownResets = 0

    private static let prefaceBytes = 24
    private static let headerBytes = 9

    init(_ role: HTTP2Role) {
        prefaceLeft = role == .server ? Self.prefaceBytes : 0
        // A peer opens the connection's window as soon as it likes.
        expectedUpdates = 16
    }

    /// The peer owes us the rest of something: of the preface, a frame without content, a head.
    @inline(__always)
    var awaitsRest: Bool {
        !hasSettings || isWithinHead || headerCount > 0 || payloadLeft > 0 && !isWithinData
    }

    /// Goes over the frame headers in `input`, the next bytes of the connection.
    @inline(__always)
    mutating func read(_ input: Bytes, now: Instant) {
        budget.settle(now)
        var index = 0
        if prefaceLeft > 0 {
            index = min(prefaceLeft, input.count)
            prefaceLeft &-= index
        }
        while index < input.count {
            if payloadLeft > 0 {
                let skipped = min(payloadLeft, input.count &- index)
                payloadLeft &-= skipped
                index &+= skipped
                continue
            }
            if headerCount > 0 || input.count &- index < Self.headerBytes {
                index = readSlowly(input, index)
                continue
            }
            // Length, type and flags are the first five octets; the stream's number is of no use.
            let word = unsafe UInt64(
                bigEndian: UnsafeRawPointer(input.base + index).loadUnaligned(as: UInt64.self))
            index &+= Self.headerBytes
            begin(
                length: Int(word >> 40), type: UInt8(truncatingIfNeeded: word >> 32),
                flags: UInt8(truncatingIfNeeded: word >> 24),
                padding: index < input.count ? Int(input[index]) : 0)
        }
    }

    /// One octet of a header that came in pieces.
    @inline(never)
    private mutating func readSlowly(_ input: Bytes, _ index: Int) -> Int {
        if headerCount < 8 { header = header << 8 | UInt64(input[index]) }
        headerCount += 1
        guard headerCount == Self.headerBytes else { return index + 1 }
        headerCount = 0
        begin(
            length: Int(header >> 40), type: UInt8(truncatingIfNeeded: header >> 32),
            flags: UInt8(truncatingIfNeeded: header >> 24),
            padding: index + 1 < input.count ? Int(input[index + 1]) : 0)
        return index + 1
    }

    /// A frame begins; `padding` is the first octet of its payload, if that is known already.
    @inline(__always)
    private mutating func begin(length: Int, type: UInt8, flags: UInt8, padding: Int) {
        payloadLeft = length
        isWithinData = type == 0
        switch type {
        case 0:
            untold &+= 1
            if length == 0 {
                if flags & 1 == 0 { budget.note(.emptyFrame) }
            } else if flags & 8 != 0 {
                notePadding(length, padding, flags)
            }
        case 1:
            untold &+= 1
            expectedResets &+= 1
            continuations = 0
            isWithinHead = flags & 4 == 0
            if length == 0 {
                budget.note(.emptyFrame)
            } else if flags & 8 != 0 {
                notePadding(length, padding, flags)
            }
        default: beginOther(length: length, type: type, flags: flags)
        }
    }

    @inline(never)
    private mutating func notePadding(_ length: Int, _ padding: Int, _ flags: UInt8) {
        let content = length - padding - 1
        if content <= 0, flags & 1 == 0 {
            budget.note(.emptyFrame)
        } else if padding > content {
            budget.note(.padding)
        }
    }

    @inline(never)
    private mutating func beginOther(length: Int, type: UInt8, flags: UInt8) {
        let isAcknowledgement = flags & 1 != 0
        switch type {
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
            isWithinHead = flags & 4 == 0
            if continuations > Limits.continuations {
                budget.note(.continuation)
            } else if length == 0 {
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

    /// nghttp2 has had all that was read: what it has not told of came on streams that are gone.
    @inline(__always)
    mutating func endRead() {
        if untold > 1 { noteIgnored() }
    }

    @inline(never)
    private mutating func noteIgnored() {
        let underWay = isWithinHead || payloadLeft > 0 ? 1 : 0
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
