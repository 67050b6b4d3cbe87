// What a server owes its client's frames beyond what nghttp2 sees to (RFC 9113 §4, §5.1).

import CNGHTTP2

/// Follows the frames of a client, and what has become of its streams.
///
/// nghttp2 forgets a stream that has closed, and ignores whatever comes for it. That is right for
/// streams that this side has reset, whose client cannot know it yet, but an error for those that
/// the client itself has ended, and for those that it has passed over (§5.1, §5.1.1).
struct HTTP2ClientFrames {
    /// A frame's header (§4.1).
    struct Frame {
        let length: Int
        let type: UInt8
        let flags: UInt8
        let stream: Int32
        /// The first 31 bits of the payload, if it is that of a PRIORITY frame.
        let behind: Int32
        /// Where it starts in the input, or 0 if that was in an earlier one.
        let start: Int

        var isData: Bool { type == 0 }
        var isHeaders: Bool { type == 1 }
        var isPriority: Bool { type == 2 }
        /// A PRIORITY frame of the right length: 5 octets, of which 4 name a stream (§6.3).
        var isDependency: Bool { type == 2 && length == 5 }
        var isContinuation: Bool { type == 9 }
        /// Not an acknowledgement.
        var isSettings: Bool { type == 4 && flags & 1 == 0 }
        /// After it a stream may be closed: RST_STREAM, or END_STREAM.
        var mayClose: Bool { type == 3 || type <= 1 && flags & 1 != 0 }
    }

    private static let headerOctets = 9
    /// A header, and the stream in a PRIORITY frame behind it.
    private static let mostOctets = 13
    private static let prefaceOctets = 24
    /// SETTINGS_MAX_FRAME_SIZE as long as no other is announced (§6.5.2).
    private static let largestPayload = 16_384

    private var octets: [13 of UInt8] = .init(repeating: 0)
    private var held = 0
    /// Octets of the preface or of a payload that come before the next header.
    private var left = Self.prefaceOctets

    /// The highest stream that the client has opened.
    private var highest: Int32 = 0
    /// The streams that it passed over last when it opened one.
    private var passedOver: Range<Int32> = 0..<0
    /// This side has reset a stream as high as this one while its client could still send.
    private var forgiven: Int32 = 0
    /// nghttp2 may hold for open what a frame not yet given to it closes.
    var mayHaveClosed = false
    /// The input under way, or the last one, had SETTINGS in it.
    private(set) var hasSettings = false

    /// The next frame whose header is complete; nil when the input is at its end.
    @inline(__always)
    mutating func next(_ input: Bytes, _ position: inout Int) -> Frame? {
        let passed = min(left, input.count &- position)
        left &-= passed
        position &+= passed
        guard position < input.count else { return nil }
        guard held == 0, input.count &- position >= Self.mostOctets else {
            return gather(input, &position)
        }
        let start = position
        let frame = unsafe Self.frame(UnsafeRawPointer(input.base + start), start)
        pass(frame, &position)
        return frame
    }

    /// Reads a header; of the octets behind it, those that a PRIORITY frame must have.
    @inline(__always)
    private static func frame(_ place: UnsafeRawPointer, _ start: Int) -> Frame {
        let front = unsafe UInt64(bigEndian: place.loadUnaligned(as: UInt64.self))
        let stream = unsafe UInt32(bigEndian: (place + 5).loadUnaligned(as: UInt32.self))
        let behind = unsafe UInt32(bigEndian: (place + 9).loadUnaligned(as: UInt32.self))
        // The first bit of an identifier is reserved (§4.1).
        return Frame(
            length: Int(front >> 40), type: UInt8(truncatingIfNeeded: front >> 32),
            flags: UInt8(truncatingIfNeeded: front >> 24), stream: Int32(stream & 0x7FFF_FFFF),
            behind: Int32(behind & 0x7FFF_FFFF), start: start)
    }

    @inline(__always)
    private mutating func pass(_ frame: Frame, _ position: inout Int) {
        let octets = frame.isDependency ? Self.mostOctets : Self.headerOctets
        position &+= octets
        left = frame.length &- (octets &- Self.headerOctets)
    }

    /// The same, where the input ends soon or began within a header.
    @inline(never)
    private mutating func gather(_ input: Bytes, _ position: inout Int) -> Frame? {
        let start = position
        while true {
            if held >= Self.headerOctets {
                let frame = unsafe octets.span.withUnsafeBytes { buffer in
                    unsafe buffer.baseAddress.map { unsafe Self.frame($0, start) }
                }
                if let frame, !frame.isDependency || held == Self.mostOctets {
                    var behind = 0
                    pass(frame, &behind)
                    held = 0
                    return frame
                }
            }
            guard position < input.count else { return nil }
            octets[held] = input[position]
            held &+= 1
            position &+= 1
        }
    }

    /// The error that a frame is whatever came before it.
    @inline(__always)
    func fault(_ frame: Frame) -> UInt32? {
        if frame.isPriority,
            frame.stream == 0 || frame.isDependency && frame.stream == frame.behind
        {
            return HTTP2Code.protocolError
        }
        if frame.isContinuation, frame.length > Self.largestPayload {
            return HTTP2Code.frameSizeError
        }
        return nil
    }

    /// Notes a stream that the frame opens.
    ///
    /// True when its stream was open once, or never will be: if it is not open now, the frame is
    /// an error.
    @inline(__always)
    mutating func needsOpenStream(_ frame: Frame) -> Bool {
        guard frame.isHeaders || frame.isData, frame.stream & 1 == 1 else { return false }
        guard frame.stream > highest else { return frame.stream > forgiven }
        if frame.isHeaders {
            if frame.stream &- highest > 2 { passedOver = highest &+ 1..<frame.stream }
            highest = frame.stream
        }
        return false
    }

    func faultOfClosed(_ stream: Int32) -> UInt32 {
        passedOver.contains(stream) ? HTTP2Code.protocolError : HTTP2Code.streamClosed
    }

    mutating func beginInput() {
        mayHaveClosed = false
        hasSettings = false
    }

    /// The frame was found good so far.
    @inline(__always)
    mutating func note(_ frame: Frame) {
        if frame.mayClose { mayHaveClosed = true }
        if frame.isSettings { hasSettings = true }
    }

    /// This side ended a stream before its client did.
    @inline(__always)
    mutating func forgive(_ stream: Int32) { forgiven = max(forgiven, stream) }
}

/// Hands a client's octets to nghttp2, up to the first error that nghttp2 would not see.
///
/// Returns a negative number when nghttp2 has failed.
func receiveFromClient(_ session: OpaquePointer, _ core: Ref<HTTP2Core>, _ input: Bytes) -> Int {
    var given = 0
    var position = 0
    core[].clientFrames.beginInput()
    while let frame = core[].clientFrames.next(input, &position) {
        var fault = core[].clientFrames.fault(frame)
        if core[].clientFrames.needsOpenStream(frame), !core[].hasSaidGoAway,
            unsafe core[].clientFrames.mayHaveClosed || !isKnown(session, frame.stream)
        {
            // The frames before it may have opened or closed its stream, or got it reset.
            let taken = unsafe give(session, input, given..<frame.start)
            guard taken >= 0 else { return taken }
            given = frame.start
            core[].clientFrames.mayHaveClosed = false
            if core[].clientFrames.needsOpenStream(frame), unsafe !isKnown(session, frame.stream) {
                fault = core[].clientFrames.faultOfClosed(frame.stream)
            }
        }
        if let fault {
            let taken = unsafe give(session, input, given..<frame.start)
            guard taken >= 0 else { return taken }
            core[].hasSaidGoAway = true
            return Int(unsafe nghttp2_session_terminate_session(session, fault))
        }
        core[].clientFrames.note(frame)
    }
    return unsafe give(session, input, given..<input.count)
}

@inline(__always)
private func isKnown(_ session: OpaquePointer, _ stream: Int32) -> Bool {
    unsafe nghttp2_session_find_stream(session, stream) != nil
}

@inline(__always)
private func give(_ session: OpaquePointer, _ input: Bytes, _ range: Range<Int>) -> Int {
    guard !range.isEmpty else { return 0 }
    let piece = input.slice(range.lowerBound, count: range.count)
    return unsafe nghttp2_session_mem_recv(session, piece.base, piece.count)
}
