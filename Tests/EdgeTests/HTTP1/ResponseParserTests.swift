import Testing

@testable import Edge

@Suite("An HTTP/1 response head") struct ResponseParserTests {
    static let usual = """
        HTTP/1.1 200 OK\r
        Server: thing\r
        Content-Type: text/plain; charset=utf-8\r
        Content-Length: 128\r
        \r

        """

    @Test("is taken apart, whole or in pieces", arguments: 1...20)
    func usualHead(step: Int) throws {
        let head = try #require(outcome(of: Self.usual, .response(to: .get), step: step).head)
        #expect(head.consumed == Self.usual.utf8.count)
        #expect(head.status == 200)
        #expect(head.framing == .length(128))
        #expect(head.announcedLength == 128)
        #expect(head.flags[3])
        #expect(head.fields.count == 3)
    }

    static let framings: [(String, Edge.Method, Framing, UInt64?)] = [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5", .head, .none, 5),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", .head, .none, nil),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 5", .get, .none, 5),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 0", .get, .none, nil),
        ("HTTP/1.1 103 Early Hints\r\nLink: x", .get, .none, nil),
        ("HTTP/1.1 200 \r\nA: b", .get, .untilClose, nil),
        ("HTTP/1.1 200\r\nA: b", .get, .untilClose, nil),
        ("HTTP/1.1 999 \u{E9}\r\nContent-Length: 1\r\nContent-Length: 1", .get, .length(1), 1),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: CHUNKED", .post, .chunked, nil),
        ("HTTP/1.0 200 OK\r\nContent-Length: 1", .get, .length(1), 1),
    ]

    @Test("says how its content ends", arguments: framings)
    func framing(text: String, method: Edge.Method, framing: Framing, length: UInt64?) {
        let head = outcome(of: text + "\r\n\r\n", .response(to: method)).head
        #expect(head?.framing == framing)
        #expect(head?.announcedLength == length)
    }

    @Test("says how long the connection may rest")
    func keepAlive() {
        let cases: [(String, UInt32)] = [
            ("timeout=5", 5), ("timeout=5, max=100", 5), ("max=100 , Timeout=7", 7),
            ("timeout=99999999999", 86_400), ("timeout=0", 0), ("timeout=", 0), ("timeout=x", 0),
            ("timeout=-1", 0), ("300", 0), ("", 0), ("timeout", 0),
        ]
        for (value, expected) in cases {
            let text = "HTTP/1.1 204 No Content\r\nKeep-Alive: \(value)\r\n\r\n"
            let head = outcome(of: text, .response(to: .get)).head
            #expect(head?.keepAliveSeconds == expected, "\(value)")
        }
    }

    @Test("says whether the connection lives on")
    func persistence() {
        let cases: [(String, Bool)] = [
            ("1.1 200 OK\r\nContent-Length: 1", true), ("1.1 200 OK\r\nA: b", false),
            ("1.0 200 OK\r\nContent-Length: 1", false),
            ("1.0 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive", true),
            ("1.1 200 OK\r\nContent-Length: 1\r\nConnection: close", false),
            ("1.1 204 No Content\r\nA: b", true),
        ]
        for (text, expected) in cases {
            let head = outcome(of: "HTTP/\(text)\r\n\r\n", .response(to: .get)).head
            #expect(head?.flags[3] == expected, "\(text)")
        }
    }

    @Test("switches protocols")
    func upgrade() {
        let text = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
        let head = outcome(of: text + "Connection: upgrade\r\n\r\n", .response(to: .get)).head
        #expect(head?.upgrade == "websocket")
        #expect(outcome(of: text + "\r\n", .response(to: .get)).status != nil)
    }

    @Test(
        "is refused when malformed",
        arguments: [
            "HTTP/1.1 200 OK\n", "HTTP/1.1 20 OK\r\n", "HTTP/1.1 2000 OK\r\n", "HTTP/1.1 099 X\r\n",
            "HTTP/1.1  200 OK\r\n", "HTTP/2.0 200 OK\r\n", "http/1.1 200 OK\r\n", "ICY 200 OK\r\n",
            "HTTP/1.1 200 O\u{0}K\r\n", "HTTP/1.1 2x0 OK\r\n", "\r\nHTTP/1.1 200 OK\r\n",
            "HTTP/1.1\t200 OK\r\n", "HTTP/1.1 200\tOK\r\n", "HTTP/1.1 200 OK\r\n A: folded\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n",
            "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n",
            "HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n", "HTTP/1.1 200 OK\r\nA : b\r\n",
        ])
    func malformed(text: String) {
        #expect(outcome(of: text + "\r\n", .response(to: .get)).status != nil)
        #expect(outcome(of: text + "\r\n", .response(to: .get), step: 1).status != nil)
    }

    @Test("is too large")
    func limits() {
        let endless = "HTTP/1.1 200 " + String(repeating: "a", count: Limits.headBytes)
        #expect(outcome(of: endless, .response(to: .get)).status == 431)
        #expect(outcome(of: endless, .response(to: .get), step: 5).status == 431)
    }

    @Test("never traps, and pieces never change the verdict", arguments: 0..<4 as Range<UInt64>)
    func mutation(seed: UInt64) {
        var numbers = SeededNumbers(state: seed)
        for _ in 0..<500 {
            let bytes = mutated(Array(Self.usual.utf8), &numbers)
            let whole = outcome(of: bytes, .response(to: .get))
            let step = Int.random(in: 1...9, using: &numbers)
            let pieces = outcome(of: bytes, .response(to: .get), step: step)
            if whole.status == nil || pieces != .incomplete { #expect(whole.head == pieces.head) }
        }
    }
}

@Suite("An HTTP/1 trailer section") struct TrailerParserTests {
    private func parse(_ section: String) -> ParsedHead? {
        let pool = Ref.allocate(BufferPool())
        defer { pool.destroy() }
        var head = Head(pool: pool)
        do {
            try section.withBytes { (bytes) throws(MalformedMessage) in
                try HTTP1TrailerParser.parse(bytes, into: &head)
            }
        } catch {
            return nil
        }
        return ParsedHead(head, consumed: section.utf8.count)
    }

    @Test("keeps what may come late and drops the rest")
    func dropping() throws {
        let head = try #require(
            parse(
                """
                grpc-status: 0\r\nContent-Length: 1\r\nHost: b\r\nX-Sum: 1\r\nTE: x\r
                Transfer-Encoding: chunked\r\nConnection: close\r\nTrailer: X\r\nSet-Cookie: a=b\r
                Authorization: x\r\nContent-Encoding: gzip\r\nETag: 1\r\n
                """))
        #expect(
            head.dropped == [
                false, true, true, false, true, true, true, true, true, true, true, false,
            ])
    }

    @Test(
        "is refused when malformed",
        arguments: ["a: b", "a: b\n", " a: b\r\n", "a b: c\r\n", "a: b\r\n\r\n", "\r\n", "a\r\n"])
    func malformed(section: String) {
        #expect(parse(section) == nil)
    }

    @Test("is bounded")
    func bounded() {
        #expect(parse(String(repeating: "a: b\r\n", count: Limits.headFields)) != nil)
        #expect(parse(String(repeating: "a: b\r\n", count: Limits.headFields + 1)) == nil)
        #expect(parse("a: " + String(repeating: "b", count: Limits.headBytes) + "\r\n") == nil)
    }
}
