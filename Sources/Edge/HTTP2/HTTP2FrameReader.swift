// Finds the frames in what a peer sends, before nghttp2 does.

/// A frame's header (RFC 9113 §4.1), and the octets behind it that somebody asks for.
struct HTTP2FrameHeader: BitwiseCopyable {
    let length: Int
    let type: UInt8
    let flags: UInt8
    let stream: Int32
    /// The first four octets of the payload, as far as the frame is one of which they are known:
    /// the stream in a PRIORITY frame, the length of the padding of DATA and HEADERS.
    let payload: UInt32
    /// Where it starts in the input, or 0 if that was in an earlier one.
    let start: Int

    var isData: Bool { type == 0 }
    var isHeaders: Bool { type == 1 }
    var isPriority: Bool { type == 2 }
    /// A PRIORITY frame of the right length: 5 octets, of which 4 name a stream (§6.3).
    var isDependency: Bool { type == 2 && length == 5 }
    /// The stream that a PRIORITY frame names.
    var dependency: Int32 { Int32(payload & 0x7FFF_FFFF) }
    var isSettings: Bool { type == 4 && !hasFirstFlag }
    var isContinuation: Bool { type == 9 }
    /// DATA or HEADERS whose first octet says how much padding there is (§6.1, §6.2).
    var isPadded: Bool { type <= 1 && flags & 8 != 0 && length > 0 }
    var padding: Int { Int(payload >> 24) }
    /// END_STREAM of DATA and HEADERS, ACK of SETTINGS and PING.
    var hasFirstFlag: Bool { flags & 1 != 0 }
    var endsHead: Bool { flags & 4 != 0 }
    /// After it a stream may be closed: RST_STREAM, END_STREAM, or the rest of a head with that.
    var mayClose: Bool { type == 3 || isContinuation || type <= 1 && hasFirstFlag }
}

/// Goes from frame header to frame header, whatever pieces the octets come in.
///
///     bytes ─► [preface] ─► header ─► payload skipped ─► header ─► …
struct HTTP2FrameReader: BitwiseCopyable {
    private static let headerOctets = 9
    /// A header, and the stream in a PRIORITY frame behind it.
    private static let mostOctets = 13
    private static let prefaceOctets = 24

    private var octets: [13 of UInt8] = .init(repeating: 0)
    private var held = 0
    /// Octets of the preface or of a payload that come before the next header.
    private var left: Int
    private var isWithinData = false

    init(_ role: HTTP2Role) { left = role == .server ? Self.prefaceOctets : 0 }

    /// The input ended within the preface, a header, or the payload of a frame that is not DATA.
    @inline(__always)
    var awaitsRest: Bool { held > 0 || left > 0 && !isWithinData }

    /// The input ended within a header.
    var isWithinHeader: Bool { held > 0 }

    /// The input ended within a frame.
    @inline(__always)
    var isWithinFrame: Bool { held > 0 || left > 0 }

    /// The next frame whose header is complete; nil when the input is at its end.
    @inline(__always)
    mutating func next(_ input: Bytes, _ position: inout Int) -> HTTP2FrameHeader? {
        let passed = min(left, input.count &- position)
        left &-= passed
        position &+= passed
        guard position < input.count else { return nil }
        guard held == 0, input.count &- position >= Self.mostOctets else {
            return gather(input, &position)
        }
        let frame = unsafe Self.frame(UnsafeRawPointer(input.base + position), position)
        pass(frame, &position)
        return frame
    }

    @inline(__always)
    private static func frame(_ place: UnsafeRawPointer, _ start: Int) -> HTTP2FrameHeader {
        let front = unsafe UInt64(bigEndian: place.loadUnaligned(as: UInt64.self))
        let stream = unsafe UInt32(bigEndian: (place + 5).loadUnaligned(as: UInt32.self))
        let payload = unsafe UInt32(bigEndian: (place + 9).loadUnaligned(as: UInt32.self))
        // The first bit of an identifier is reserved.
        return HTTP2FrameHeader(
            length: Int(front >> 40), type: UInt8(truncatingIfNeeded: front >> 32),
            flags: UInt8(truncatingIfNeeded: front >> 24), stream: Int32(stream & 0x7FFF_FFFF),
            payload: payload, start: start)
    }

    /// The octets of a frame that are read here.
    @inline(__always)
    private static func wanted(_ frame: HTTP2FrameHeader) -> Int {
        if frame.isDependency { return mostOctets }
        return frame.isPadded ? headerOctets &+ 1 : headerOctets
    }

    @inline(__always)
    private mutating func pass(_ frame: HTTP2FrameHeader, _ position: inout Int) {
        let octets = Self.wanted(frame)
        position &+= octets
        left = frame.length &- (octets &- Self.headerOctets)
        isWithinData = frame.isData
    }

    /// The same as `next`, where the input ends soon or began within a header.
    @inline(never)
    private mutating func gather(_ input: Bytes, _ position: inout Int) -> HTTP2FrameHeader? {
        let start = held == 0 ? position : 0
        while true {
            if held >= Self.headerOctets {
                let frame = unsafe octets.span.withUnsafeBytes { buffer in
                    unsafe buffer.baseAddress.map { unsafe Self.frame($0, start) }
                }
                if let frame, held == Self.wanted(frame) {
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
}
