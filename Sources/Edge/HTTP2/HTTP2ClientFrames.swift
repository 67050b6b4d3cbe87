// What a server owes its client's frames beyond what nghttp2 sees to (RFC 9113 §4, §5.1).

import CNGHTTP2

/// Follows the frames of a client, and what has become of its streams.
///
/// nghttp2 forgets a stream that has closed, and ignores whatever comes for it. That is right for
/// streams that this side has reset, whose client cannot know it yet, but an error for those that
/// the client itself has ended, and for those that it has passed over (§5.1, §5.1.1).
struct HTTP2ClientFrames {
    /// SETTINGS_MAX_FRAME_SIZE as long as no other is announced (§6.5.2).
    private static let largestPayload = 16_384

    /// The highest stream that the client has opened.
    private var highest: Int32 = 0
    /// The streams that it passed over last when it opened one.
    private var passedOver: Range<Int32> = 0..<0
    /// This side has reset a stream as high as this one while its client could still send.
    private var forgiven: Int32 = 0
    /// nghttp2 may hold for open what a frame not yet given to it closes.
    var mayHaveClosed = false
    /// Frames that waited to be written before the client's SETTINGS were given to nghttp2.
    private(set) var queuedBefore = 0

    /// The error that a frame is whatever came before it.
    @inline(__always)
    func fault(_ frame: HTTP2FrameHeader) -> UInt32? {
        if frame.isPriority,
            frame.stream == 0 || frame.isDependency && frame.stream == frame.dependency
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
    mutating func needsOpenStream(_ frame: HTTP2FrameHeader) -> Bool {
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

    /// The frame was found good so far.
    @inline(__always)
    mutating func note(_ frame: HTTP2FrameHeader) {
        if frame.mayClose { mayHaveClosed = true }
    }

    /// SETTINGS may be the next that nghttp2 takes in.
    @inline(never)
    mutating func expectSettings(_ session: OpaquePointer) {
        queuedBefore = unsafe nghttp2_session_get_outbound_queue_size(session)
    }

    /// This side ended a stream before its client did.
    @inline(__always)
    mutating func forgive(_ stream: Int32) { forgiven = max(forgiven, stream) }
}

/// Hands a peer's octets to nghttp2, up to the first error that nghttp2 would not see, or up to the
/// frame that makes its sender a flood.
///
/// Returns a negative number when nghttp2 has failed.
func receiveFrames(_ session: OpaquePointer, _ core: Ref<HTTP2Core>, _ input: Bytes) -> Int {
    var given = 0
    var position = 0
    let isServer = core[].role == .server
    if isServer {
        // A frame of which the last input had no more than a part has its effect in this one.
        if core[].frames.isWithinFrame {
            unsafe core[].clientFrames.expectSettings(session)
        } else {
            core[].clientFrames.mayHaveClosed = false
        }
    }
    while let frame = core[].frames.next(input, &position) {
        core[].meter.count(frame)
        if core[].meter.budget.flood != nil {
            return unsafe give(session, input, given..<frame.start)
        }
        guard isServer else { continue }
        let isInDoubt =
            unsafe core[].clientFrames.needsOpenStream(frame)
            && !core[].hasSaidGoAway
            && (core[].clientFrames.mayHaveClosed || !isKnown(session, frame.stream))
        var fault = core[].clientFrames.fault(frame)
        if isInDoubt || fault != nil || frame.isSettings {
            // The frames before it may open or close its stream, get it reset, or be answered.
            let taken = unsafe give(session, input, given..<frame.start)
            guard taken >= 0 else { return taken }
            given = frame.start
            if isInDoubt {
                core[].clientFrames.mayHaveClosed = false
                if core[].clientFrames.needsOpenStream(frame),
                    unsafe !isKnown(session, frame.stream)
                {
                    fault = core[].clientFrames.faultOfClosed(frame.stream)
                }
            }
            if let fault {
                core[].hasSaidGoAway = true
                return Int(unsafe nghttp2_session_terminate_session(session, fault))
            }
            if frame.isSettings { unsafe core[].clientFrames.expectSettings(session) }
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
