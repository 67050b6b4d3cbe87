import Testing

@testable import Edge

/// A worker's memory for one test: pool, head and scratch queue.
private struct Bench: ~Copyable {
    let pool = Ref.allocate(BufferPool())

    deinit { pool.destroy() }

    /// What a table makes of a request: `route id target`, or `status reason`.
    func decide(
        _ table: RouteTable, _ target: String, host: String = "example.com",
        fields: [(String, String)] = []
    ) -> String {
        decide(table, Array(target.utf8), host: host, fields: fields)
    }

    func decide(
        _ table: RouteTable, _ target: [UInt8], host: String = "example.com",
        fields: [(String, String)] = []
    ) -> String {
        var head = Head(pool: pool)
        var scratch = ByteQueue(pool: pool)
        scratch.append("left over")
        target.withBytes { head.target = head.append($0) }
        host.withBytes { head.authority = head.append($0) }
        for (name, value) in fields {
            name.withBytes { name in
                value.withBytes { value in
                    _ = head.appendField(name, value, known: FieldName(name))
                }
            }
        }
        switch table.route(head, scratch: &scratch) {
        case .matched(let match):
            return "\(match.route) \(match.id.string) \(match.target.string)"
        case .refused(let status, let reason, _): return "\(status) \(reason)"
        }
    }
}

@Suite("A route table") struct RouteTableTests {
    @Test(
        "takes the longest prefix that ends at a segment",
        arguments: [
            ("/", 0), ("/x", 0), ("/api", 1), ("/api/", 1), ("/api/x", 1), ("/api?x", 1),
            ("/apiary", 0), ("/api-old", 2), ("/api-old/x", 2), ("/api-older", 0),
            ("/api/v2", 3), ("/api/v2/x", 3), ("/api/v20", 1), ("/API", 0), ("//api", 0),
            ("/api//v2", 1), ("/%61pi/v2", 3), ("/api%2Fv2", 0), ("/api/%76%32?q", 3),
            ("/api#x", 0), ("/api.", 0), ("/api0", 0), ("/a/b/c/d", 4), ("/a/b/c", 0),
        ])
    func prefixes(target: String, route: Int) throws {
        let table = try RouteTable(
            ["/", "/api", "/api-old", "/api/v2", "/a/b/c/d"].map { RouteDefinition(path: $0) })
        #expect(Bench().decide(table, target) == "\(route)  \(target)")
    }

    @Test(
        "normalises before it matches and forwards what it matched",
        arguments: [
            ("/x/../api?q=1", "0  /api?q=1"), ("/x/%2e%2E/api/", "0  /api/"),
            ("/api/./a/../b", "0  /api/b"), ("/api/a/..", "0  /api/"), ("/api/.", "0  /api/"),
            ("/api/a/.%2e/%62?/../x", "0  /api/b?/../x"),
            ("/api/.well-known", "0  /api/.well-known"),
            ("/api/...", "0  /api/..."), ("/api/%00", "0  /api/%00"), ("/api/%zz%", "0  /api/%zz%"),
            ("/api/..%2f..", "0  /api/..%2f.."), ("/api/..%5cx", "0  /api/..%5cx"),
            ("/api/./%2f", "0  /api/%2F"), ("/api/./%%32e%%32e/x", "0  /api/%%32e%%32e/x"),
            ("/api/./%2%65", "0  /api/%2%65"), ("//../api", "0  /api"),
            ("/..", "400 the path leads out of the root"),
            ("/api/../../api", "400 the path leads out of the root"),
            ("/%2e%2e/api", "400 the path leads out of the root"),
            ("/api/..", "404 no route takes this path"),
            ("/api/../secret", "404 no route takes this path"),
            ("*", "404 no route takes '*'"), ("", "400 the request target has no path"),
            ("example.com:443", "400 the request target has no path"),
        ])
    func normalisation(target: String, expected: String) throws {
        let table = try RouteTable([RouteDefinition(path: "/api")])
        #expect(Bench().decide(table, target) == expected)
    }

    @Test(
        "takes the id from the query",
        arguments: [
            ("/api?id=42", "0 42 /api?id=42"), ("/api/x?a=1&id=0&b", "0 0 /api/x?a=1&id=0&b"),
            ("/api?id=9223372036854775807", "0 9223372036854775807 /api?id=9223372036854775807"),
            ("/api", "400 the query parameter with the id is missing"),
            ("/api?", "400 the query parameter with the id is missing"),
            ("/api?ID=1", "400 the query parameter with the id is missing"),
            ("/api?xid=1", "400 the query parameter with the id is missing"),
            ("/api?id=1&id=1", "400 the query parameter with the id is given more than once"),
            ("/api?id", "400 the id in the query is empty"),
            ("/api?id=", "400 the id in the query is empty"),
            ("/api?%69d=1", "400 the name of the id's query parameter is percent-encoded"),
            ("/api?id=1&i%64=2", "400 the name of the id's query parameter is percent-encoded"),
            ("/api?id=%34", "400 the id in the query is percent-encoded"),
            ("/api?id=-1", "400 the id in the query has a sign"),
            ("/api?id=+1", "400 the id in the query has a sign"),
            ("/api?id=--5", "400 the id in the query is not a decimal number"),
            ("/api?id=-", "400 the id in the query is not a decimal number"),
            ("/api?id=042", "400 the id in the query has a leading zero"),
            ("/api?id=00", "400 the id in the query has a leading zero"),
            ("/api?id=1.5", "400 the id in the query is not a decimal number"),
            ("/api?id=1;id=2", "400 the id in the query is not a decimal number"),
            ("/api?id=9223372036854775808", "400 the id in the query is too large"),
            ("/api?id=99999999999999999999", "400 the id in the query is too large"),
            ("/x/../api?id=7", "0 7 /api?id=7"),
        ])
    func query(target: String, expected: String) throws {
        let table = try RouteTable([RouteDefinition(path: "/api", id: .query("id"))])
        #expect(Bench().decide(table, target) == expected)
    }

    @Test(
        "takes the id from a segment of the normalised path",
        arguments: [
            ("/api/42", "0 42 /api/42"), ("/api/42/x?y", "0 42 /api/42/x?y"),
            ("/api/x/../42", "0 42 /api/42"), ("/%61pi/42", "0 42 /%61pi/42"),
            ("/api", "400 the path segment with the id is missing"),
            ("/api/", "400 the id in the path is empty"),
            ("/api//42", "400 the id in the path is empty"),
            ("/api/%34%32", "400 the id in the path is percent-encoded"),
            ("/api/4%32/../42", "0 42 /api/42"),
            ("/api/x/../%34", "400 the id in the path is percent-encoded"),
            ("/api/42%2f1", "400 the id in the path is percent-encoded"),
            ("/api/042", "400 the id in the path has a leading zero"),
            ("/api/-42", "400 the id in the path has a sign"),
            ("/api/x42", "400 the id in the path is not a decimal number"),
            ("/api/9223372036854775808", "400 the id in the path is too large"),
        ])
    func segment(target: String, expected: String) throws {
        let table = try RouteTable([RouteDefinition(path: "/api", id: .segment(2))])
        #expect(Bench().decide(table, target) == expected)
    }

    @Test(
        "takes the id from exactly one field line",
        arguments: [
            ([("X-ID", "42")], "0 42 /"), ([("x-id", "42"), ("x-idx", "1")], "0 42 /"),
            ([], "400 the field with the id is missing"),
            ([("x-id", "1"), ("X-Id", "1")], "400 the field with the id is given more than once"),
            ([("x-id", "")], "400 the id in the field is empty"),
            ([("x-id", "1, 2")], "400 the id in the field is not a decimal number"),
            ([("x-id", "%31")], "400 the id in the field is percent-encoded"),
            ([("x-id", "+1")], "400 the id in the field has a sign"),
            ([("x-id", "01")], "400 the id in the field has a leading zero"),
        ])
    func field(fields: [(String, String)], expected: String) throws {
        let table = try RouteTable([RouteDefinition(path: "/", id: .field("X-Id"))])
        #expect(Bench().decide(table, "/", fields: fields) == expected)
    }

    @Test(
        "takes the id from the host's first label",
        arguments: [
            ("42.example.com", "0 42 /"), ("42.example.com:8443", "0 42 /"),
            ("42.example.com.", "0 42 /"), ("Ab-1.example.com", "1 Ab-1 /p"),
            ("", "400 the host with the id is missing"),
            ("10.0.0.1", "400 the host is an address, not a name with the id"),
            ("42", "400 the host is an address, not a name with the id"),
            ("[::1]:80", "400 the host is an address, not a name with the id"),
            ("042.example.com", "400 the id in the host has a leading zero"),
            (".example.com", "400 the id in the host is empty"),
            ("%34.example.com", "400 the id in the host is percent-encoded"),
            ("-a.example.com", "400 the id in the host is not a decimal number"),
        ])
    func host(host: String, expected: String) throws {
        let table = try RouteTable([
            RouteDefinition(path: "/", id: .hostLabel),
            RouteDefinition(path: "/p", id: .hostLabel, pattern: try IDPattern("[a-z]+-[0-9]")),
        ])
        let target = expected.hasSuffix("/p") ? "/p" : "/"
        #expect(Bench().decide(table, target, host: host) == expected)
    }

    @Test("holds patterns and the room in the host against ids")
    func patterns() throws {
        let table = try RouteTable([
            RouteDefinition(
                path: "/", id: .query("id"), pattern: try IDPattern("[a-z0-9]+"), longestID: 5)
        ])
        let bench = Bench()
        #expect(bench.decide(table, "/?id=ab042") == "0 ab042 /?id=ab042")
        #expect(bench.decide(table, "/?id=abcdef") == "400 the id in the query is too long")
        #expect(
            bench.decide(table, "/?id=AB")
                == "400 the id in the query does not match the route's pattern")
        #expect(bench.decide(table, "/?id=%61") == "400 the id in the query is percent-encoded")
        let long = String(repeating: "a", count: 64)
        #expect(bench.decide(table, "/?id=\(long)") == "400 the id in the query is too long")
    }

    @Test(
        "refuses paths that are not in normal form",
        arguments: [
            "", "api", "/api/", "/a/../b", "/%61", "/a?b", "/a#b", "/ä", "/%2f", "/..", "/a b",
        ])
    func paths(path: String) {
        #expect(throws: RouteTableError.self) { try RouteTable([RouteDefinition(path: path)]) }
    }

    @Test("refuses two routes with one path")
    func duplicates() {
        #expect(throws: RouteTableError(route: 1, message: "two routes have the same path")) {
            try RouteTable([RouteDefinition(path: "/a"), RouteDefinition(path: "/a")])
        }
    }

    @Test("agrees with a search of all routes", arguments: 0..<20 as Range<UInt64>)
    func agreesWithSearch(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let words = ["a", "b", "a-", "a.", "ab", "~", "a!"]
        func path(_ random: inout SeededGenerator) -> String {
            (0..<Int.random(in: 1...4, using: &random)).map { _ in
                "/" + (words.randomElement(using: &random) ?? "a")
            }.joined()
        }
        let paths = Array(Set((0..<30).map { _ in path(&random) })).sorted()
        let table = try RouteTable(paths.map { RouteDefinition(path: $0) })
        let bench = Bench()
        for _ in 0..<200 {
            let target = path(&random)
            let best = paths.indices.filter { (target + "/").hasPrefix(paths[$0] + "/") }
                .max { paths[$0].utf8.count < paths[$1].utf8.count }
            let expected = best.map { "\($0)  \(target)" } ?? "404 no route takes this path"
            #expect(bench.decide(table, target) == expected)
        }
    }

    @Test("answers random bytes without trapping", arguments: 0..<8 as Range<UInt64>)
    func randomBytes(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let pattern = try IDPattern("[a-z0-9]{1,20}")
        let table = try RouteTable([
            RouteDefinition(path: "/", id: .query("id")),
            RouteDefinition(path: "/a", id: .segment(2)),
            RouteDefinition(path: "/a/b", id: .hostLabel, pattern: pattern),
            RouteDefinition(path: "/b", id: .field("x"), pattern: pattern),
        ])
        let alphabet = Array("/.%2eEab?&=id0-9\\:[]".utf8) + [0, 0x7F, 0xFF]
        let bench = Bench()
        for _ in 0..<1000 {
            func bytes(_ random: inout SeededGenerator) -> [UInt8] {
                (0..<Int.random(in: 0...40, using: &random)).map { _ in
                    alphabet.randomElement(using: &random) ?? 0
                }
            }
            let target = Bool.random(using: &random) ? [0x2F] + bytes(&random) : bytes(&random)
            let host = String(decoding: bytes(&random), as: UTF8.self)
            let answer = bench.decide(table, target, host: host, fields: [("x", host)])
            #expect(!answer.isEmpty)
        }
    }
}

/// A small generator for repeatable tests (xorshift64*).
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = (seed &+ 1) &* 0x9E37_79B9_7F4A_7C15 }

    mutating func next() -> UInt64 {
        state ^= state >> 12
        state ^= state << 25
        state ^= state >> 27
        return state &* 0x2545_F491_4F6C_DD1D
    }
}
