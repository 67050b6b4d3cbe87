// What is said of a request's way.

import Testing

@testable import Edge

@Suite("Explanations") struct ExplanationTests {
    private func explainer() throws -> Explainer {
        let configuration = try Configuration.fromCommandLine(
            listen: ":0", certificate: nil, key: nil, idPath: "/api",
            upstream: "http://id-{id}.apps.test:8080", admin: nil, workers: 1, resolver: nil,
            accessLog: nil)
        return try Explainer(configuration)
    }

    private func explain(_ url: String, method: String = "GET") throws -> Explanation {
        try explainer().explain(ExplainRequest(url: url, method: method)).explanation
    }

    @Test("a request that is accepted, without a proxy")
    func accepted() throws {
        let found = try explain("https://edge.test/api/x?id=42")
        #expect(
            found.text == """
                forwarded: route and id are accepted; no running proxy was asked
                request    GET /api/x?id=42 for edge.test
                route      1, /api to http://id-{id}.apps.test:8080
                id         42, from query parameter 'id'
                key        http://id-42.apps.test:8080, versions 1.1

                """)
        #expect(JSONChecker.accepts(found.json.utf8))
        #expect(found.json.hasPrefix("{\"forwarded\":true,\"outcome\":"))
    }

    @Test("a request whose id is refused, and one without a route")
    func refused() throws {
        let found = try explain("/api/x?id=042")
        #expect(
            found.text == """
                refused: 400 the id in the query has a leading zero
                request    GET /api/x?id=042 for localhost
                route      1, /api to http://id-{id}.apps.test:8080
                id         refused, from query parameter 'id'

                """)
        #expect(found.json.hasPrefix("{\"forwarded\":false,"))
        let lost = try explain("/x\"y?id=1")
        #expect(lost.route == 0 && !lost.isForwarded && JSONChecker.accepts(lost.json.utf8))
        #expect(try explain("/api?id=1", method: "CONNECT").answer?.status == 501)
        #expect(try explain("http://[::1/api?id=1").answer?.status == 400)
    }

    @Test("the state of a host: once if all workers agree, else by worker")
    func state() throws {
        var found = try explain("/api?id=7")
        var state = HostStateView()
        state.hosts = UseView(used: 2, most: 10)
        state.name.state = "stale"
        state.name.addresses = ["10.0.0.7"]
        state.name.timeLeft = .milliseconds(1500)
        state.outcomes = [
            WorkerOutcome(worker: 0, outcome: .reuse), WorkerOutcome(worker: 1, outcome: .reuse),
        ]
        found.state = state
        #expect(found.outcome == "reuse connection" && found.isForwarded)
        state.outcomes[1].outcome = .wait(place: 3, most: 8, why: "so many")
        found.state = state
        #expect(
            found.text.hasPrefix(
                "forwarded: worker 0: reuse connection; "
                    + "worker 1: wait in queue (3 of 8): so many\n"))
        #expect(found.text.contains("\nname       stale, 10.0.0.7, for 1500 ms more\n"))
        #expect(found.text.contains("\nregistry   not in it, 2 of 10 hosts\n"))
        state.outcomes[0].outcome = .refused(status: 503, reason: "full")
        found.state = state
        #expect(!found.isForwarded && JSONChecker.accepts(found.json.utf8))
    }

    @Test("what is asked for survives its way through a query")
    func page() throws {
        let request = try ExplainRequest(
            url: "/api/x?id=4&b=%20+&c=\"", method: "PUT", fields: ["X-A: b & c", "Host: h"])
        let page = request.page(asJSON: true)
        let query = String(page.dropFirst("/explain?".count))
        let read = try query.withBytes { try ExplainRequest.read($0) }
        #expect(read.request == request && read.asJSON)
        #expect(
            String(decoding: request.head, as: UTF8.self)
                == "PUT /api/x?id=4&b=%20+&c=\" HTTP/1.1\r\nX-A: b & c\r\nHost: h\r\n\r\n")
        for (url, method, field) in [
            ("/a b", "GET", "a: b"), ("/a\r\n", "GET", "a: b"), ("", "GET", "a: b"),
            ("/a", "G T", "a: b"), ("/a", "GET", "a"), ("/a", "GET", "a b: c"),
            ("/a", "GET", "a: b\r\nc: d"),
        ] {
            #expect(throws: AdminMistake.self) {
                try ExplainRequest(url: url, method: method, fields: [field])
            }
        }
    }
}
