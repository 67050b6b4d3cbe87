// Finds the content in the bytes that follow a head (RFC 9112 §6, §7.1).

/// Undoes the framing of one message's content; holds no bytes itself.
///
///     chunked:  size ─► data ─► data end ─┐
///                ▲  └─ 0 ─► trailers ─► complete
///                └────────────────────────┘
struct HTTP1BodyDecoder: BitwiseCopyable {
    /// What one call found.
    enum Step {
        /// Nothing more can be said before more bytes come.
        case needsMore
        /// Content, borrowed from the input.
        case data(Bytes)
        /// The message is over; where its trailer field lines stand in the input, if there are any.
        case end(trailers: TextRange?)
    }

    private enum State: BitwiseCopyable {
        case complete
        case length(remaining: UInt64)
        case untilClose
        case chunkSize
        case chunkData(remaining: UInt64)
        case chunkDataEnd
        /// How many bytes of the section were searched for its end.
        case trailers(searched: Int)
    }

    private var state: State

    init(_ framing: Framing) {
        switch framing {
        case .none, .length(0): state = .complete
        case .length(let count): state = .length(remaining: count)
        case .chunked: state = .chunkSize
        case .untilClose: state = .untilClose
        }
    }

    /// Whether all content, and with chunks the trailer section too, has been taken.
    @inline(__always)
    var isComplete: Bool {
        if case .complete = state { return true }
        return false
    }

    /// Looks at `input` from `consumed` on and advances `consumed` past what it dealt with.
    ///
    /// After `needsMore` the next call's input must begin with the bytes left over. Throws 400 for
    /// bad chunks and 431 for too large a trailer section; the connection is then useless.
    mutating func decode(
        _ input: Bytes, consumed: inout Int
    ) throws(MalformedMessage) -> Step {
        while true {
            let rest = input.dropFirst(consumed)
            switch state {
            case .complete:
                return .end(trailers: nil)
            case .length(let remaining):
                guard !rest.isEmpty else { return .needsMore }
                let taken = Self.most(rest, remaining)
                let left = remaining &- UInt64(taken.count)
                state = left == 0 ? .complete : .length(remaining: left)
                consumed &+= taken.count
                return .data(taken)
            case .untilClose:
                guard !rest.isEmpty else { return .needsMore }
                consumed &+= rest.count
                return .data(rest)
            case .chunkSize:
                guard let (size, length) = try HTTP1ChunkLine.read(rest) else { return .needsMore }
                consumed &+= length
                state = size == 0 ? .trailers(searched: 0) : .chunkData(remaining: size)
            case .chunkData(let remaining):
                guard !rest.isEmpty else { return .needsMore }
                let taken = Self.most(rest, remaining)
                let left = remaining &- UInt64(taken.count)
                state = left == 0 ? .chunkDataEnd : .chunkData(remaining: left)
                consumed &+= taken.count
                return .data(taken)
            case .chunkDataEnd:
                guard try Self.isAtLineEnd(rest) else { return .needsMore }
                consumed &+= 2
                state = .chunkSize
            case .trailers(let searched):
                return try findTrailers(rest, searched, consumed: &consumed)
            }
        }
    }

    /// Takes note that the peer has closed; throws unless the content was whole or ends that way.
    mutating func inputEnded() throws(MalformedMessage) {
        switch state {
        case .complete, .untilClose: state = .complete
        default: throw MalformedMessage(400, "connection closed within a message")
        }
    }

    @inline(__always)
    private static func most(_ rest: Bytes, _ remaining: UInt64) -> Bytes {
        UInt64(rest.count) <= remaining ? rest : rest.prefix(Int(truncatingIfNeeded: remaining))
    }

    /// Whether `rest` begins with CR LF; false when that cannot be told yet.
    @inline(__always)
    private static func isAtLineEnd(_ rest: Bytes) throws(MalformedMessage) -> Bool {
        guard rest.count > 0 else { return false }
        guard rest[0] == ASCII.carriageReturn else {
            throw MalformedMessage(400, "chunk longer than its size")
        }
        guard rest.count > 1 else { return false }
        guard rest[1] == ASCII.lineFeed else { throw MalformedMessage(400, "CR without LF") }
        return true
    }

    /// Finds the empty line that ends the trailer section (RFC 9112 §7.1.2).
    private mutating func findTrailers(
        _ rest: Bytes, _ searched: Int, consumed: inout Int
    ) throws(MalformedMessage) -> Step {
        var from = min(searched, rest.count)
        while let lineFeed = rest.firstIndex(of: ASCII.lineFeed, from: from),
            lineFeed < Limits.headBytes
        {
            guard lineFeed > 0, rest[lineFeed - 1] == ASCII.carriageReturn else {
                throw MalformedMessage(400, "line end without CR")
            }
            if lineFeed == 1 || rest[lineFeed - 2] == ASCII.lineFeed {
                let section = TextRange(start: consumed, count: lineFeed - 1)
                consumed += lineFeed + 1
                state = .complete
                return .end(trailers: section.isEmpty ? nil : section)
            }
            from = lineFeed + 1
        }
        guard rest.count < Limits.headBytes else {
            throw MalformedMessage(431, "trailer section too large")
        }
        state = .trailers(searched: rest.count)
        return .needsMore
    }
}

/// The line before each chunk: `size [ext] CRLF` (RFC 9112 §7.1).
enum HTTP1ChunkLine {
    /// Sixteen hexadecimal digits are 64 bits; a size is held to 63.
    private static let digits = 16

    /// The chunk's size and the line's length with its CRLF; nil while the line is incomplete.
    @inline(__always)
    static func read(
        _ rest: Bytes
    ) throws(MalformedMessage) -> (size: UInt64, length: Int)? {
        var size: UInt64 = 0
        var index = 0
        while index < rest.count, let digit = ASCII.hexValue(rest[index]) {
            guard index < digits else { throw MalformedMessage(400, "chunk size too long") }
            size = size << 4 | UInt64(digit)
            index &+= 1
        }
        guard size <= UInt64(Int64.max) else { throw MalformedMessage(400, "chunk size too large") }
        guard index < rest.count else { return nil }
        guard index > 0 else { throw MalformedMessage(400, "invalid chunk size") }
        if rest[index] != ASCII.carriageReturn {
            guard let end = try readExtensions(rest, from: index) else { return nil }
            index = end
        }
        guard index &+ 1 < rest.count else { return nil }
        guard rest[index &+ 1] == ASCII.lineFeed else {
            throw MalformedMessage(400, "CR without LF")
        }
        return (size, index &+ 2)
    }

    private enum Part {
        case beforeMark, beforeName, name, beforeEqual, beforeValue, token, quoted, escaped,
            afterQuote
    }

    /// Checks `*( BWS ";" BWS name [ BWS "=" BWS value ] )` and returns where its CR stands.
    ///
    /// Extensions are not forwarded, but a line that other readers may end elsewhere is refused.
    @inline(never)
    private static func readExtensions(
        _ rest: Bytes, from start: Int
    ) throws(MalformedMessage) -> Int? {
        var part = Part.beforeMark
        var index = start
        // A blank after a complete extension, or after the size, must still be followed by one.
        while index < rest.count {
            guard index < Limits.chunkLineBytes else {
                throw MalformedMessage(400, "chunk extensions too long")
            }
            let byte = rest[index]
            if byte == ASCII.carriageReturn {
                guard part == .name || part == .token || part == .afterQuote else { break }
                return index
            }
            guard let next = step(part, byte) else { break }
            part = next
            index += 1
        }
        guard index == rest.count else { throw MalformedMessage(400, "invalid chunk extension") }
        return nil
    }

    /// Where one byte leads; nil when it has no place there.
    private static func step(_ part: Part, _ byte: UInt8) -> Part? {
        let isBlank = ASCII.isBlank(byte)
        switch part {
        case .beforeMark: return isBlank ? .beforeMark : mark(byte)
        case .beforeName: return isBlank ? .beforeName : ASCII.isToken(byte) ? .name : nil
        case .name:
            if ASCII.isToken(byte) { return .name }
            return isBlank ? .beforeEqual : equalOrMark(byte)
        case .beforeEqual: return isBlank ? .beforeEqual : equalOrMark(byte)
        case .beforeValue:
            if byte == UInt8(ascii: "\"") { return .quoted }
            return isBlank ? .beforeValue : ASCII.isToken(byte) ? .token : nil
        case .token:
            if ASCII.isToken(byte) { return .token }
            return isBlank ? .beforeMark : mark(byte)
        case .quoted:
            if byte == UInt8(ascii: "\"") { return .afterQuote }
            if byte == UInt8(ascii: "\\") { return .escaped }
            return ASCII.isFieldValue(byte) ? .quoted : nil
        case .escaped: return ASCII.isFieldValue(byte) ? .quoted : nil
        case .afterQuote: return isBlank ? .beforeMark : mark(byte)
        }
    }

    private static func mark(_ byte: UInt8) -> Part? {
        byte == UInt8(ascii: ";") ? .beforeName : nil
    }

    private static func equalOrMark(_ byte: UInt8) -> Part? {
        byte == UInt8(ascii: "=") ? .beforeValue : mark(byte)
    }
}
