import Testing

@testable import Edge

@Suite("A malformed HTTP/1 request") struct MalformedRequestTests {
    /// Whole heads with the status that refuses them.
    static let lines: [(String, UInt16)] = [
        ("GET /\r\n", 400), ("GET / \r\n", 400), ("GET  / HTTP/1.1\r\n", 400),
        ("GET /  HTTP/1.1\r\n", 400), ("GET / HTTP/1.1 \r\n", 400), (" GET / HTTP/1.1\r\n", 400),
        ("GET\t/ HTTP/1.1\r\n", 400), ("GET / http/1.1\r\n", 400), ("GET / HTTP/1.2\r\n", 400),
        ("GET / HTTP/2.0\r\n", 505), ("PRI * HTTP/2.0\r\n", 505), ("GET / HTTP/0.9\r\n", 505),
        ("GET / HTTP/11.\r\n", 400), ("GET / HTTP/1,1\r\n", 400), ("GET / HTTPS/1.1\r\n", 400),
        ("GET / HTTP/1.1\n", 400), ("GET / HTTP/1.1\r\r\n", 400), ("GET /\0 HTTP/1.1\r\n", 400),
        ("GET /#a HTTP/1.1\r\n", 400), ("GET /\u{E9} HTTP/1.1\r\n", 400),
        ("GET /\t HTTP/1.1\r\n", 400), ("G(T / HTTP/1.1\r\n", 400), ("GET x HTTP/1.1\r\n", 400),
        ("GET * HTTP/1.1\r\n", 400), ("OPTIONS ** HTTP/1.1\r\n", 400),
        ("GET ftp://a/ HTTP/1.1\r\n", 400), ("GET http:// HTTP/1.1\r\n", 400),
        ("GET http:///x HTTP/1.1\r\n", 400), ("GET http://u@a/ HTTP/1.1\r\n", 400),
        ("GET http://b/ HTTP/1.1\r\n", 400), ("GET http://a:80/ HTTP/1.1\r\n", 400),
        ("CONNECT a:443 HTTP/1.1\r\n", 501), ("CONNECT / HTTP/1.1\r\n", 501),
        ("\u{16}\u{3}\u{1} / HTTP/1.1\r\n", 400),
    ]

    @Test("has a bad request line", arguments: lines)
    func badLines(line: String, status: UInt16) {
        let text = line + "Host: a\r\n\r\n"
        #expect(outcome(of: text).status == status)
        #expect(outcome(of: text, step: 1).status == status)
    }

    static let fields: [(String, UInt16)] = [
        ("A : b", 400), ("A\t: b", 400), (" A: b", 400), ("\tA: b", 400), (": b", 400),
        ("A", 400), ("A b: c", 400), ("A(: b", 400), ("A\u{E9}: b", 400), ("A: b\u{0}", 400),
        ("A: b\u{1}", 400), ("A: b\u{7F}", 400), ("A: b\nB: c", 400), ("A: b\rB: c", 400),
        ("A: b\r\n folded", 400), ("A: b\r\n\tfolded", 400), ("Host: b", 400), ("host: a", 400),
        ("Content-Length: 1\r\nContent-Length: 1", 400), ("Content-Length: 1, 1", 400),
        ("Content-Length: +1", 400), ("Content-Length: -1", 400), ("Content-Length: 0x1", 400),
        ("Content-Length: 1 1", 400), ("Content-Length:", 400), ("Content-Length: 1.0", 400),
        ("Content-Length: 9223372036854775808", 400),
        ("Content-Length: 18446744073709551616", 400),
        ("Content-Length: 1\r\nTransfer-Encoding: chunked", 400),
        ("Transfer-Encoding: chunked\r\nContent-Length: 1", 400),
        ("Transfer-Encoding: gzip\r\nContent-Length: x", 400),
        ("Transfer-Encoding: gzip", 501), ("Transfer-Encoding: gzip, chunked", 501),
        ("Transfer-Encoding: chunked, gzip", 400), ("Transfer-Encoding: identity", 501),
        ("Transfer-Encoding: xchunked", 501), ("Transfer-Encoding: chunked;a=b", 501),
        ("Transfer-Encoding: \"chunked\"", 501), ("Transfer-Encoding: chunked,", 501),
        ("Transfer-Encoding:", 400),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", 400),
        ("Transfer-Encoding: \u{B}chunked", 400), ("Transfer-Encoding : chunked", 400),
        ("Expect: 200-ok", 417), ("Expect: 100-continue\r\nExpect: 100-continue", 400),
    ]

    @Test("has bad fields", arguments: fields)
    func badFields(line: String, status: UInt16) {
        let text = "POST / HTTP/1.1\r\nHost: a\r\n\(line)\r\n\r\n"
        #expect(outcome(of: text).status == status)
        #expect(outcome(of: text, step: 1).status == status)
        let padded = "POST / HTTP/1.1\r\nHost: a\r\n\(line)\r\nX-Long: 0123456789abcdef\r\n\r\n"
        #expect(outcome(of: padded).status == status)
    }

    @Test("has no Host, or chunks in HTTP/1.0")
    func byVersion() {
        #expect(outcome(of: "GET / HTTP/1.1\r\n\r\n").status == 400)
        #expect(outcome(of: "GET http://a/ HTTP/1.1\r\n\r\n").status == 400)
        let chunked = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"
        #expect(outcome(of: chunked).status == 400)
    }

    @Test("is refused before it is complete", arguments: ["GET /\r", "GET / HTTP/1.1\n", "A: b"])
    func early(text: String) {
        #expect(outcome(of: text).status == 400)
    }

    @Test("has every control byte refused in every part", arguments: 0...31 as ClosedRange<UInt8>)
    func controls(byte: UInt8) {
        for text in ["G\u{1}T / HTTP/1.1", "GET /\u{1}x HTTP/1.1", "GET / HTTP/1.1\r\nN\u{1}: v"] {
            let bytes = Array((text + "\r\nHost: a\r\n\r\n").utf8).map { $0 == 1 ? byte : $0 }
            #expect(outcome(of: bytes).status == 400)
        }
        guard byte != ASCII.tab else { return }
        let value = "GET / HTTP/1.1\r\nHost: a\r\nX: v\u{1}v\r\n\r\n"
        #expect(outcome(of: Array(value.utf8).map { $0 == 1 ? byte : $0 }).status == 400)
    }

    @Test("lists more connection options than there can be fields")
    func connectionOptions() {
        let start = "GET / HTTP/1.1\r\nHost: a\r\nConnection: "
        let most = start + String(repeating: "a,", count: Limits.headFields)
        #expect(outcome(of: most + "\r\n\r\n").status == nil)
        #expect(outcome(of: most + "a\r\n\r\n").status == 400)
        #expect(outcome(of: most + "\r\nConnection: a\r\n\r\n").status == 400)
    }

    @Test("is as long as allowed, in pieces that end anywhere")
    func longestLine() {
        let fixed = "GET / HTTP/1.1".utf8.count
        let line =
            "GET /" + String(repeating: "a", count: Limits.targetBytes - fixed) + " HTTP/1.1"
        let text = line + "\r\nHost: a\r\n\r\n"
        for step in [Limits.targetBytes, Limits.targetBytes + 1, Limits.targetBytes + 2] {
            #expect(outcome(of: text, step: step).status == nil)
        }
    }

    @Test("is too long")
    func limits() {
        let target = "GET /" + String(repeating: "a", count: Limits.targetBytes)
        #expect(outcome(of: target).status == 414)
        #expect(outcome(of: target + " HTTP/1.1\r\nHost: a\r\n\r\n").status == 414)
        let endless = target + String(repeating: "a", count: Limits.targetBytes)
        #expect(outcome(of: endless, step: 7).status == 414)
        let value = "GET / HTTP/1.1\r\nHost: a\r\nX: " + String(repeating: "a", count: 32 * 1024)
        #expect(outcome(of: value).status == 431)
        #expect(outcome(of: value, step: 7).status == 431)
        #expect(outcome(of: value + "\r\n\r\n").status == 431)
        let start = "GET / HTTP/1.1\r\nHost: a\r\n"
        let most = start + String(repeating: "A: b\r\n", count: Limits.headFields - 1)
        #expect(outcome(of: most + "\r\n").head?.fields.count == Limits.headFields)
        #expect(outcome(of: most + "A: b\r\n").status == 431)
        #expect(outcome(of: most + "A: b\r\n\r\n", step: 1).status == 431)
    }

    @Test("that is too large is noticed at once, behind empty lines as well")
    func limitBehindEmptyLines() {
        let long = "GET / HTTP/1.1\r\nX: " + String(repeating: "a", count: Limits.headBytes)
        for empty in ["", "\r\n", "\r\n\r\n"] {
            let text = String((empty + long).prefix(Limits.headBytes + empty.utf8.count))
            for step in [7, 1000, Limits.headBytes] {
                #expect(outcome(of: text, step: step).status == 431, "\(empty.count) by \(step)")
            }
        }
    }

    @Test("that is malformed behind what it may be is too long, whole or in pieces")
    func limitBeforeFault() {
        let long = String(repeating: "a", count: Limits.headBytes)
        let inputs: [(String, UInt16)] = [
            (long + "!", 414), ("GET /" + long + "\u{1}", 414), ("GET /" + long + "\n\n", 414),
            ("GET / HTTP/1.1\r\nX: " + long + "\n\r\n\r\n", 431),
            ("GET / HTTP/1.1\r\nX: " + long + "\u{1}\r\n\r\n", 431),
        ]
        for (text, status) in inputs {
            #expect(outcome(of: text).status == status)
            for step in [1000, Limits.targetBytes, Limits.headBytes - 1] {
                #expect(outcome(of: text, step: step).status == status, "by \(step)")
            }
        }
        let response = "HTTP/1.1 200 OK\r\nX: " + long + "\n\r\n"
        for step in [nil, 1000, Limits.headBytes - 1] {
            #expect(outcome(of: response, .response(to: .get), step: step).status == 431)
        }
    }

    @Test("never traps, and pieces never change the verdict", arguments: 0..<8 as Range<UInt64>)
    func mutation(seed: UInt64) {
        var numbers = SeededNumbers(state: seed)
        let starts = [
            RequestParserTests.browser,
            "POST http://a/x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
            "OPTIONS * HTTP/1.1\r\nHost: [::1]:80\r\nTransfer-Encoding: chunked\r\n\r\n",
        ].map { Array($0.utf8) }
        for round in 0..<500 {
            let bytes = mutated(starts[round % starts.count], &numbers)
            let whole = outcome(of: bytes)
            let pieces = outcome(of: bytes, step: Int.random(in: 1...9, using: &numbers))
            // What is refused early when whole may still be waited for in pieces.
            if whole.status == nil || pieces != .incomplete { #expect(whole.head == pieces.head) }
        }
    }
}
