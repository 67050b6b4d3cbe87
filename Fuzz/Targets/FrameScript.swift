// Frames of HTTP/2 from a few bytes each: right lengths, simple HPACK, so that fuzzing gets deep.

/// Turns compact operations of an input into frames (RFC 9113 §6).
enum FrameScript {
    static let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)

    static func frame(
        _ type: UInt8, flags: UInt8 = 0, stream: UInt32 = 0, _ payload: [UInt8] = []
    ) -> [UInt8] {
        let count = payload.count
        return [
            UInt8(truncatingIfNeeded: count >> 16), UInt8(truncatingIfNeeded: count >> 8),
            UInt8(truncatingIfNeeded: count), type, flags,
        ] + long(stream) + payload
    }

    static func long(_ value: UInt32) -> [UInt8] {
        [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: value >> $0) }
    }

    // MARK: operations

    /// The next frame: its kind, its stream, and what that kind needs.
    ///
    /// | kind | frame | takes |
    /// | --- | --- | --- |
    /// | 0, 1 | a good request or response head, END_STREAM with 1 | a template, extra fields |
    /// | 2 | HEADERS as they come | flags, fields |
    /// | 3, 4 | DATA, END_STREAM with 4 | a size |
    /// | 5 | DATA with padding | flags, pad length, size |
    /// | 6 | RST_STREAM | a code |
    /// | 7 | WINDOW_UPDATE, also of the connection | an increment |
    /// | 8 | SETTINGS | entries |
    /// | 9 | PING | flags |
    /// | 10 | GOAWAY | last stream, code |
    /// | 11 | CONTINUATION | flags, fields |
    /// | 12 | PRIORITY | four bytes |
    /// | 13 | trailers: HEADERS with END_STREAM | fields |
    /// | 14 | any type and flags | a size, the payload |
    /// | 15 | bytes as they are | a size, the bytes |
    static func next(_ input: inout FuzzInput, isRequest: Bool) -> [UInt8] {
        let operation = input.byte()
        let stream = stream(operation >> 4, &input)
        switch operation & 15 {
        case 0, 1:
            let block = isRequest ? request(&input) : response(&input)
            return frame(1, flags: 4 | operation & 1, stream: stream, block + fields(&input))
        case 2: return frame(1, flags: input.byte(), stream: stream, fields(&input))
        case 3: return frame(0, stream: stream, content(&input))
        case 4: return frame(0, flags: 1, stream: stream, content(&input))
        case 5:
            let flags = input.byte()
            return frame(0, flags: flags, stream: stream, [input.byte()] + content(&input))
        case 6: return frame(3, stream: stream, long(UInt32(input.byte() & 15)))
        case 7:
            let increment = input.word()
            let target = increment & 1 == 1 ? 0 : stream
            return frame(8, stream: target, long(UInt32(increment) << (input.byte() & 15)))
        case 8: return settings(&input)
        case 9: return frame(6, flags: input.byte() & 1, [1, 2, 3, 4, 5, 6, 7, 8])
        case 10: return frame(7, long(stream) + long(UInt32(input.byte() & 15)))
        case 11: return frame(9, flags: input.byte(), stream: stream, fields(&input))
        case 12: return frame(2, stream: stream, input.take(4) + [16])
        case 13: return frame(1, flags: 5, stream: stream, fields(&input))
        case 14:
            let type = input.byte()
            let flags = input.byte()
            return frame(type, flags: flags, stream: stream, input.take(Int(input.byte())))
        default: return input.take(Int(input.byte()))
        }
    }

    /// Streams 1, 3, … 27 by a nibble; 14 is the connection, 15 any stream.
    private static func stream(_ nibble: UInt8, _ input: inout FuzzInput) -> UInt32 {
        switch nibble {
        case 14: 0
        case 15: UInt32(input.word())
        default: UInt32(nibble) * 2 + 1
        }
    }

    private static func content(_ input: inout FuzzInput) -> [UInt8] {
        let size = input.byte()
        // Small ones as they are, large ones in steps of 256 octets.
        let count = size < 64 ? Int(size) : (Int(size) - 63) * 256
        return [UInt8](repeating: 0x61, count: min(count, 16_384))
    }

    private static func settings(_ input: inout FuzzInput) -> [UInt8] {
        let count = Int(input.byte())
        if count & 0x80 != 0 { return frame(4, flags: 1) }
        var payload: [UInt8] = []
        for _ in 0..<count & 7 {
            let name = input.byte()
            payload += [0, name & 15] + long(UInt32(input.word()) << (input.byte() & 31))
        }
        return frame(4, payload)
    }

    // MARK: HPACK (RFC 7541), without Huffman

    /// An integer with a prefix of so many bits.
    static func integer(_ value: Int, bits: Int, first: UInt8) -> [UInt8] {
        let most = (1 << bits) - 1
        guard value >= most else { return [first | UInt8(value)] }
        var bytes = [first | UInt8(most)]
        var rest = value - most
        while rest >= 128 {
            bytes.append(UInt8(rest & 127) | 128)
            rest >>= 7
        }
        return bytes + [UInt8(rest)]
    }

    static func literal(_ name: [UInt8], _ value: [UInt8], isIndexed: Bool = false) -> [UInt8] {
        [isIndexed ? 0x40 : 0] + integer(name.count, bits: 7, first: 0) + name
            + integer(value.count, bits: 7, first: 0) + value
    }

    static func literal(_ name: String, _ value: String) -> [UInt8] {
        literal(Array(name.utf8), Array(value.utf8))
    }

    private static let methods = ["GET", "POST", "HEAD", "OPTIONS", "CONNECT", "PUT", "X", ""]
    private static let paths = [
        "/", "/one", "/two/x?y=z", "/id?id=2", "*", "/refused", "/%2e%2e/one", "/one#x",
    ]
    private static let authorities = [
        "example.com", "a:443", "[::1]:1", "user@a", "", "a, b", "EXAMPLE.com", "127.0.0.1",
    ]
    private static let statuses = ["200", "204", "100", "103", "304", "404", "101", "99"]

    private static func request(_ input: inout FuzzInput) -> [UInt8] {
        let choice = input.byte()
        let authority = input.byte()
        var block = literal(":method", methods[Int(choice & 7)])
        block += literal(":scheme", authority & 8 == 0 ? "http" : "https")
        if authority & 16 == 0 {
            block += literal(":authority", authorities[Int(authority & 7)])
        }
        if authority & 32 == 0 { block += literal(":path", paths[Int(choice >> 3 & 7)]) }
        if authority & 64 != 0 { block += literal(":protocol", "websocket") }
        return block
    }

    private static func response(_ input: inout FuzzInput) -> [UInt8] {
        literal(":status", statuses[Int(input.byte() & 7)])
    }

    private static let names = [
        "x-a", "cookie", "content-length", "te", "host", "transfer-encoding", "connection",
        "expect", "trailer", "X-Upper", "x_under", "via", ":path", ":status", "upgrade",
        "x-forwarded-for",
    ]
    private static let values = [
        "", "a", "0", "5", "trailers", "100-continue", "example.com", "chunked", "close", "a\r\nb",
        "18446744073709551616", "\u{0}", " b ", "200", "keep-alive, x-a", "1, 1",
    ]

    /// Up to seven field lines: from the tables, indexed, or as they come.
    private static func fields(_ input: inout FuzzInput) -> [UInt8] {
        let count = input.byte() & 7
        var block: [UInt8] = []
        for _ in 0..<count {
            let choice = input.byte()
            switch choice & 3 {
            case 0, 1:
                let which = input.byte()
                block += literal(
                    Array(names[Int(which & 15)].utf8), Array(values[Int(which >> 4)].utf8),
                    isIndexed: choice & 1 == 1)
            case 2: block += integer(Int(choice >> 2) + 1, bits: 7, first: 0x80)
            default:
                // Long values are one byte many times.
                let name = input.take(Int(choice >> 2 & 15))
                let size = input.byte()
                let value =
                    size < 32
                    ? input.take(Int(size))
                    : [UInt8](repeating: input.byte(), count: Int(size) * 64)
                block += literal(name, value, isIndexed: choice & 64 != 0)
            }
        }
        return block
    }
}
