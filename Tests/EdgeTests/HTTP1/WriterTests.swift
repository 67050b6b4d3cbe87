import Testing

@testable import Edge

@Suite("The HTTP/1 writer") struct WriterTests {
    /// Parses `text`, drops what forwarding would, and gives the head to `write`.
    private func written(
        _ text: String, _ kind: ParserKind = .request(isSecure: true),
        _ write: (inout Head, inout ByteQueue) -> Void
    ) throws -> String {
        let pool = Ref.allocate(BufferPool())
        defer { pool.destroy() }
        var head = Head(pool: pool)
        var out = ByteQueue(pool: pool)
        var scanned = 0
        try text.withBytes { (bytes) throws(MalformedMessage) in
            _ = try kind.parse(bytes, scanned: &scanned, into: &head)
        }
        let dropped: Set<FieldName> = [
            .host, .connection, .contentLength, .transferEncoding, .upgrade, .te,
        ]
        for index in 0..<head.fields.count where dropped.contains(head.fields[index].name) {
            head.fields[index].isDropped = true
        }
        write(&head, &out)
        return out.bytes.string
    }

    private func request(
        _ text: String, framing: Framing = .none, keepsUpgrade: Bool = false
    ) throws -> String {
        try written(text) { head, out in
            "id-1.apps".withBytes {
                HTTP1Writer.writeRequest(
                    head, authority: $0, framing: framing, keepsUpgrade: keepsUpgrade, into: &out)
            }
        }
    }

    @Test("puts the authority first and leaves out what is dropped")
    func requests() throws {
        let text =
            "PUT /a?b HTTP/1.1\r\nHost: x\r\nA: 1\r\nB:\t2 \r\nConnection: close\r\nC: 3\r\n\r\n"
        #expect(
            try request(text, framing: .length(0))
                == "PUT /a?b HTTP/1.1\r\nhost: id-1.apps\r\nA: 1\r\nB: 2\r\nC: 3\r\n"
                + "content-length: 0\r\n\r\n")
        #expect(
            try request(text, framing: .chunked).hasSuffix("transfer-encoding: chunked\r\n\r\n"))
        #expect(try request(text).hasSuffix("C: 3\r\n\r\n"))
    }

    @Test("joins cookies into one line")
    func cookies() throws {
        let text = "GET / HTTP/1.1\r\nHost: x\r\nA: 1\r\nCookie: a=b\r\nB: 2\r\ncookie: c\r\n\r\n"
        #expect(
            try request(text)
                == "GET / HTTP/1.1\r\nhost: id-1.apps\r\nA: 1\r\ncookie: a=b; c\r\nB: 2\r\n\r\n")
        let single = "GET / HTTP/1.1\r\nHost: x\r\nCookie: a=b\r\n\r\n"
        #expect(try request(single).hasSuffix("\r\nCookie: a=b\r\n\r\n"))
    }

    @Test("asks for trailers and an upgrade in one Connection line")
    func connectionOptions() throws {
        let text =
            "GET / HTTP/1.1\r\nHost: x\r\nTE: trailers\r\n"
            + "Upgrade: ws\r\nConnection: upgrade\r\n\r\n"
        #expect(
            try request(text, keepsUpgrade: true).hasSuffix(
                "te: trailers\r\nconnection: te, upgrade\r\nupgrade: ws\r\n\r\n"))
        #expect(try request(text).hasSuffix("te: trailers\r\nconnection: te\r\n\r\n"))
    }

    @Test("writes fields that were decoded or added elsewhere")
    func ownFields() throws {
        let text = try written("GET / HTTP/1.1\r\nHost: x\r\nA: 1\r\nZ: 2\r\n\r\n") { head, out in
            _ = head.appendField(Bytes("via"), Bytes("1.1 edge"), known: .via)
            _ = head.appendField(Bytes("empty"), Bytes(""), known: .other)
            HTTP1Writer.writeRequest(
                head, authority: Bytes("h"), framing: .none, keepsUpgrade: false, into: &out)
        }
        #expect(
            text
                == "GET / HTTP/1.1\r\nhost: h\r\nA: 1\r\nZ: 2\r\nvia: 1.1 edge\r\nempty: \r\n\r\n")
    }

    @Test("writes responses of every framing and persistence")
    func responses() throws {
        let text = "HTTP/1.1 404 nope\r\nA: 1\r\nContent-Length: 7\r\n\r\n"
        func response(
            _ framing: Framing, _ persistence: HTTP1Writer.Persistence, _ length: UInt64? = nil
        ) throws -> String {
            try written(text, .response(to: .get)) { head, out in
                HTTP1Writer.writeResponse(
                    head, framing: framing, persistence: persistence, contentLength: length,
                    into: &out)
            }
        }
        let start = "HTTP/1.1 404 Not Found\r\nA: 1\r\n"
        #expect(try response(.none, .implied) == start + "\r\n")
        #expect(try response(.none, .implied, 7) == start + "content-length: 7\r\n\r\n")
        #expect(
            try response(.length(9), .keepAlive, 7)
                == start + "content-length: 9\r\nconnection: keep-alive\r\n\r\n")
        #expect(try response(.untilClose, .close) == start + "connection: close\r\n\r\n")
        #expect(try response(.chunked, .implied) == start + "transfer-encoding: chunked\r\n\r\n")
    }

    @Test("writes interim responses")
    func interim() throws {
        let hints = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
        #expect(
            try written(hints, .response(to: .get)) {
                HTTP1Writer.writeInformational($0, into: &$1)
            }
                == hints)
        let switching =
            "HTTP/1.1 101 Switching Protocols\r\nA: b\r\nconnection: upgrade\r\n"
            + "upgrade: ws\r\n\r\n"
        #expect(
            try written(switching, .response(to: .get)) {
                HTTP1Writer.writeSwitchingProtocols($0, into: &$1)
            } == switching)
    }

    @Test("writes chunks that the decoder takes apart again", arguments: [0, 1, 15, 16, 4096])
    func chunks(count: Int) throws {
        let pool = Ref.allocate(BufferPool())
        defer { pool.destroy() }
        let trailers = Ref.allocate(Head(pool: pool))
        defer { trailers.destroy() }
        try "X: 1\r\nHost: b\r\n".withBytes { (bytes) throws(MalformedMessage) in
            try HTTP1TrailerParser.parse(bytes, into: &trailers[])
        }
        var out = ByteQueue(pool: pool)
        let data = [UInt8](repeating: 7, count: count)
        data.withBytes { HTTP1Writer.writeChunk($0, into: &out) }
        HTTP1Writer.writeLastChunk(trailers: trailers, into: &out)
        let decoded = BodyDecoderTests().decode(out.bytes.array, .chunked)
        #expect(decoded.data == data)
        #expect(decoded.trailers == "X: 1\r\n")
        #expect(decoded.isComplete)
        out.removeAll()
        HTTP1Writer.writeLastChunk(trailers: nil, into: &out)
        #expect(out.bytes.string == "0\r\n\r\n")
    }

    @Test("gives what the parser reads as the same message")
    func roundTrip() throws {
        let text = try request(RequestParserTests.browser, framing: .length(5))
        let head = try #require(outcome(of: text).head)
        #expect(head.target == "/api/v1/things?id=42")
        #expect(head.authority == "id-1.apps")
        #expect(head.framing == .length(5))
        #expect(head.fields.contains("X_under=spaced value"))
    }

    @Test("knows the phrases of status codes")
    func phrases() {
        #expect(Bytes(Status.reasonPhrase(200)).equals("OK"))
        #expect(Bytes(Status.reasonPhrase(499)).equals("Client Closed Request"))
        #expect(Bytes(Status.reasonPhrase(511)).equals("Network Authentication Required"))
        #expect(Bytes(Status.reasonPhrase(999)).isEmpty)
    }
}
