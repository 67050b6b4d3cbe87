import Testing

@testable import Edge

@Suite("HTTP/1 content") struct BodyDecoderTests {
    /// What a decoder made of an input: its data, trailers, and what it left over.
    struct Decoded: Equatable {
        var data: [UInt8] = []
        var trailers: String?
        var rest = 0
        var isComplete = false
        var refused: UInt16?
        var isRefused: Bool { refused != nil }
    }

    /// Feeds pieces that end at `cuts`, keeping unconsumed bytes as a connection's input would.
    func decode(_ input: [UInt8], _ framing: Framing, cuts: [Int] = []) -> Decoded {
        var decoder = HTTP1BodyDecoder(framing)
        var decoded = Decoded()
        var queue: [UInt8] = []
        var fed = 0
        for cut in cuts + [input.count] {
            queue += input[fed..<cut]
            fed = cut
            var consumed = 0
            do {
                try queue.withBytes { (bytes) throws(MalformedMessage) in
                    stepping: while true {
                        switch try decoder.decode(bytes, consumed: &consumed) {
                        case .needsMore: break stepping
                        case .data(let data): decoded.data += data.array
                        case .end(let trailers):
                            guard let trailers else { break stepping }
                            decoded.trailers =
                                bytes.slice(Int(trailers.start), count: Int(trailers.count)).string
                            break stepping
                        }
                    }
                }
            } catch {
                decoded.refused = error.status
                return decoded
            }
            queue.removeFirst(consumed)
        }
        decoded.rest = queue.count
        decoded.isComplete = decoder.isComplete
        return decoded
    }

    func decode(_ text: String, _ framing: Framing = .chunked, cuts: [Int] = []) -> Decoded {
        decode(Array(text.utf8), framing, cuts: cuts)
    }

    @Test("of a known length ends there")
    func length() {
        let hello = Array("hello".utf8)
        #expect(
            decode("helloGET", .length(5)) == Decoded(data: hello, rest: 3, isComplete: true))
        #expect(decode("hel", .length(5)) == Decoded(data: Array("hel".utf8)))
        #expect(decode("GET", .length(0)) == Decoded(rest: 3, isComplete: true))
        #expect(decode("GET", .none) == Decoded(rest: 3, isComplete: true))
        #expect(decode("hello", .untilClose) == Decoded(data: hello))
    }

    static let chunked = "5\r\nhello\r\n00A ; a = b;c=\"d\\\"\"\r\n0123456789\r\n0\r\n"

    @Test("in chunks may be cut anywhere, twice")
    func cuts() {
        let text = Self.chunked + "X-Sum: 1\r\nY: 2\r\n\r\nGET"
        let expected = Decoded(
            data: Array("hello0123456789".utf8), trailers: "X-Sum: 1\r\nY: 2\r\n", rest: 3,
            isComplete: true)
        #expect(decode(text) == expected)
        let count = text.utf8.count
        for first in 0...count {
            for second in first...count {
                var decoded = decode(text, cuts: [first, second])
                #expect(decoded.isComplete && !decoded.isRefused)
                decoded.trailers = decoded.trailers ?? expected.trailers
                #expect(decoded == expected)
            }
        }
        #expect(decode(text, cuts: Array(1..<count)) == expected)
        #expect(decode(Self.chunked + "\r\n").trailers == nil)
        #expect(decode(Self.chunked + "\r\n").isComplete)
        #expect(!decode(Self.chunked).isComplete)
    }

    @Test(
        "in bad chunks is refused",
        arguments: [
            "\r\n", "x\r\n", "-1\r\n", "+1\r\n", " 1\r\n", "0x1\r\n", "1 \r\n", "1\n", "1\rx",
            "1;\r\n", "1;=a\r\n", "1;a=\r\n", "1;a b\r\n", "1;a=\"b\r\n", "1;a=\"b\"c\r\n",
            "1;a\n", "1;\u{1}\r\n", "1;a=\"\u{0}\"\r\n", "1,\r\n", "1\r\nab\r\n", "1\r\na\n",
            "1\r\na\rb", "1\r\na0\r\n\r\n", "00000000000000001\r\n", "10000000000000000\r\n",
            "ffffffffffffffff\r\n", "8000000000000000\r\n", "0\r\nX: y\n\r\n", "0\r\n\n",
            "1;" + String(repeating: "a", count: 300), "1;a=b \r\n",
            "0\r\n" + String(repeating: "a: b\r\n", count: 6000),
        ])
    func malformed(text: String) {
        #expect(decode(text).isRefused)
        #expect(decode(text, cuts: Array(1..<text.utf8.count)).isRefused)
    }

    @Test("with trailers malformed behind what they may be has too large ones, in pieces or whole")
    func limitBeforeFault() {
        let text = "0\r\nX: " + String(repeating: "a", count: Limits.headBytes) + "\n\r\n"
        #expect(decode(text).refused == 431)
        #expect(decode(text, cuts: [text.utf8.count - 3]).refused == 431)
    }

    @Test("in a huge chunk does not overflow")
    func huge() {
        #expect(decode("7fffffffffffffff\r\nab").data == Array("ab".utf8))
    }

    @Test("may end with the connection only where that says something")
    func inputEnded() throws {
        var open = HTTP1BodyDecoder(.untilClose)
        try open.inputEnded()
        #expect(open.isComplete)
        for framing in [Framing.length(1), .chunked] {
            var decoder = HTTP1BodyDecoder(framing)
            #expect(throws: MalformedMessage.self) { try decoder.inputEnded() }
        }
        var empty = HTTP1BodyDecoder(.none)
        try empty.inputEnded()
    }

    @Test("in chunks never traps, and pieces never change it", arguments: 0..<4 as Range<UInt64>)
    func mutation(seed: UInt64) {
        var numbers = SeededNumbers(state: seed)
        for _ in 0..<500 {
            let bytes = mutated(Array((Self.chunked + "X: y\r\n\r\n").utf8), &numbers)
            let whole = decode(bytes, .chunked)
            let cuts = bytes.isEmpty ? [] : Array(0..<bytes.count)
            let pieces = decode(bytes, .chunked, cuts: cuts)
            #expect(whole.data == pieces.data)
            #expect(whole.refused == pieces.refused)
            #expect(whole.isComplete == pieces.isComplete)
        }
    }
}
