import Testing

@testable import Edge

@Suite("An HTTP/1 request head") struct RequestParserTests {
    static let browser = """
        GET /api/v1/things?id=42 HTTP/1.1\r
        Host: edge.example.com:8443\r
        User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:109.0) Gecko/20100101\r
        accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8\r
        X_under: \t spaced value\t \r
        Empty:\r
        Cookie: a=b\r
        TE: trailers, deflate;q=0.5\r
        Connection: keep-alive, TE\r
        \r

        """

    @Test("is taken apart without what follows it")
    func browserHead() throws {
        let head = try #require(outcome(of: Self.browser + "GET /next").head)
        #expect(head.consumed == Self.browser.utf8.count)
        #expect(head.method == .get)
        #expect(head.methodText == "GET")
        #expect(head.target == "/api/v1/things?id=42")
        #expect(head.authority == "edge.example.com:8443")
        #expect(head.version == .http11)
        #expect(head.framing == .none)
        #expect(head.flags == [true, false, true, true, false])
        #expect(head.fields[3] == "X_under=spaced value")
        #expect(head.fields[4] == "Empty=")
        #expect(head.known[..<3] == [.host, .userAgent, .other])
    }

    @Test("arrives in pieces of any size", arguments: 1...40)
    func pieces(step: Int) {
        #expect(outcome(of: Self.browser, step: step) == outcome(of: Self.browser))
    }

    @Test("may follow two empty lines, not three")
    func emptyLines() {
        let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        #expect(outcome(of: "\r\n\r\n" + request).head?.consumed == request.utf8.count + 4)
        #expect(outcome(of: "\r\n\r\n" + request, step: 1).head?.target == "/")
        #expect(outcome(of: "\r\n\r\n\r\n" + request).status == 400)
        #expect(outcome(of: "\n" + request).status == 400)
    }

    @Test(
        "has its names recognised in any case",
        arguments: [
            ("te", .te), ("VIA", .via), ("Date", .date), ("cOOkie", .cookie),
            ("Trailer", .trailer), ("Referer", .referer), ("Forwarded", .forwarded),
            ("User-Agent", .userAgent), ("Keep-Alive", .keepAlive),
            ("HTTP2-Settings", .http2Settings), ("X-Forwarded-For", .xForwardedFor),
            ("X-Forwarded-Host", .xForwardedHost), ("X-Forwarded-Proto", .xForwardedProto),
            ("Proxy-Connection", .proxyConnection), ("Upgrade", .upgrade), ("Viz", .other),
            ("X-Forwarded-Porto", .other), ("Content.Length", .other), ("User_Agent", .other),
            ("a", .other),
        ] as [(String, FieldName)])
    func knownNames(name: String, expected: FieldName) {
        let text = "GET / HTTP/1.1\r\nHost: a\r\n\(name): x\r\n\r\n"
        #expect(outcome(of: text).head?.known == [.host, expected])
        #expect(Array(name.utf8).withBytes { FieldName($0) } == expected)
    }

    @Test(
        "says how long its content is",
        arguments: [
            ("Content-Length: 0", .length(0)), ("content-length:  17 ", .length(17)),
            ("Content-Length: 9223372036854775807", .length(UInt64(Int64.max))),
            ("Transfer-Encoding: Chunked", .chunked), ("Accept: x", .none),
        ] as [(String, Framing)])
    func framing(line: String, expected: Framing) {
        let head = outcome(of: "POST / HTTP/1.1\r\nHost: a\r\n\(line)\r\n\r\n").head
        #expect(head?.framing == expected)
    }

    @Test(
        "says whether the connection lives on",
        arguments: [
            ("1.1", "X: y", true), ("1.1", "Connection: close", false),
            ("1.1", "Connection: foo ,, CLOSE", false), ("1.0", "X: y", false),
            ("1.0", "Connection: Keep-Alive", true),
            ("1.0", "Connection: keep-alive, close", false),
        ])
    func persistence(version: String, line: String, expected: Bool) {
        let head = outcome(of: "GET / HTTP/\(version)\r\nHost: a\r\n\(line)\r\n\r\n").head
        #expect(head?.flags[3] == expected)
    }

    @Test("asks for an upgrade only when Connection says so, and not in HTTP/1.0")
    func upgrade() {
        let start = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n"
        #expect(outcome(of: start + "\r\n").head?.upgrade == "")
        #expect(outcome(of: start + "Connection: Upgrade\r\n\r\n").head?.upgrade == "websocket")
        let old = "GET / HTTP/1.0\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
        #expect(outcome(of: old).head?.upgrade == "")
        let asked = start + "Connection: Upgrade\r\n"
        #expect(outcome(of: asked + "Upgrade: b\r\n\r\n").head?.upgrade == "")
        #expect(outcome(of: asked + "Content-Length: 1\r\n\r\n").head?.upgrade == "")
        #expect(outcome(of: asked + "Content-Length: 0\r\n\r\n").head?.upgrade == "websocket")
        let cleartext = asked.replacing("websocket", with: "h2c")
        #expect(outcome(of: cleartext + "\r\n").head?.upgrade == "")
    }

    @Test("names other fields in Connection")
    func nomination() {
        let start = "GET / HTTP/1.1\r\nHost: a\r\nConnection: "
        #expect(outcome(of: start + "close, X-Secret\r\n\r\n").head?.flags[4] == true)
        #expect(outcome(of: start + "te, upgrade, close\r\n\r\n").head?.flags[4] == false)
    }

    @Test("expects 100-continue, but not of an HTTP/1.0 client")
    func expectation() {
        let line = "\r\nHost: a\r\nExpect: 100-Continue\r\n\r\n"
        #expect(outcome(of: "POST / HTTP/1.1" + line).head?.flags[1] == true)
        #expect(outcome(of: "POST / HTTP/1.0" + line).head?.flags[1] == false)
    }

    @Test(
        "may have an absolute target",
        arguments: [
            ("GET http://A.example/x?y", "/x?y", "A.example"),
            ("GET HTTPS://a.EXAMPLE", "/", "a.EXAMPLE"),
            ("GET http://a.example?q=1/2", "/?q=1/2", "a.example"),
            ("OPTIONS http://a.example", "*", "a.example"),
            ("OPTIONS *", "*", "a.example"),
        ])
    func absolute(line: String, target: String, authority: String) {
        let head = outcome(of: "\(line) HTTP/1.1\r\nHost: a.example\r\n\r\n").head
        #expect(head?.target == target)
        #expect(head?.authority == authority)
    }

    @Test("an https target needs TLS")
    func misdirected() {
        let text = "GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n"
        #expect(outcome(of: text, .request(isSecure: false)).status == 421)
    }

    @Test(
        "may name these hosts",
        arguments: [
            "a", "a.b-c.example.", "127.0.0.1", "a:80", "a:", "[::1]", "[::1]:8443", "a_b",
            "a%20b", "xn--bcher-kva.example", "[::ffff:127.0.0.1]:1",
            String(repeating: "a", count: 253),
        ])
    func goodHosts(host: String) {
        let head = outcome(of: "GET / HTTP/1.1\r\nHost: \(host)\r\n\r\n").head
        #expect(head?.authority == host)
    }

    @Test(
        "may not name these hosts",
        arguments: [
            "", "a,b", "a b", "user@a", "a/b", "a?b", "a#b", "a:x", "a:80:80", "a:65536",
            "a:000080", "[::1", "::1", "[::1]x", "[]", "[v1.x]", "[fe80::1%25eth0]", "[1.2.3.4]",
            "a%2", "a%zz", "a\\b", "a\u{E9}", "\"a\"", "<a>", ":80", "a|b",
            String(repeating: "a", count: 255),
        ])
    func badHosts(host: String) {
        #expect(outcome(of: "GET / HTTP/1.1\r\nHost: \(host)\r\n\r\n").status == 400)
        #expect(outcome(of: "GET / HTTP/1.0\r\nHost: \(host)\r\n\r\n").status == 400)
    }

    @Test("of HTTP/1.0 needs no Host")
    func noHost() {
        #expect(outcome(of: "GET / HTTP/1.0\r\n\r\n").head?.authority == "")
        #expect(outcome(of: "GET http://a/ HTTP/1.0\r\n\r\n").head?.authority == "a")
    }
}
