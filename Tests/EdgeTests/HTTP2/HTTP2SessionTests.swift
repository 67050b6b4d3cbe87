// Two sessions in memory: bodies, trailers, windows, resets, GOAWAY, limits.

import Testing

@testable import Edge

@Suite("HTTP/2 sessions back to back") struct HTTP2SessionTests {
    private func pattern(_ count: Int) -> [UInt8] { (0..<count).map { UInt8($0 * 31 % 251) } }

    @Test("content that is lent goes behind the queue, as far as the window allows, no further")
    func lentContent() throws {
        let wire = HTTP2Wire(client: HTTP2Settings(streamWindow: 65_535))
        let stream = try #require(wire.request(wire.head(), nil))
        wire.pump()
        let outlet = wire.outlet(1, [UInt8](repeating: 1, count: 10), ended: false)
        #expect(wire.respond(stream, wire.head(status: 200, framing: .chunked), outlet))
        let lent = (0..<100_000).map { UInt8(truncatingIfNeeded: $0 % 251) }
        lent.withBytes { bytes in
            outlet[].lent = bytes
            #expect(wire.carry(wire.server, wire.client, 1 << 20))
            #expect(bytes.count - outlet[].lent.count == 65_535 - 10)
            outlet[].queue.append(outlet[].lent)
            outlet[].lent = .empty
        }
        outlet[].hasEnded = true
        wire.server.session[].resume(outlet)
        wire.pump()
        #expect(wire.client.content[stream] == [UInt8](repeating: 1, count: 10) + lent)
        #expect(wire.tearDown() == [0, 0, 0])
    }

    @Test("a request and its response with bodies larger than the windows, and trailers both ways")
    func largeBodies() throws {
        var small = HTTP2Settings()
        small.streamWindow = 20_000
        small.connectionWindow = 70_000
        let wire = HTTP2Wire(client: small, server: small)
        let body = pattern(300_000)
        let up = wire.outlet(7, body)
        let trailer = wire.head(fields: [("X-Sum", "1"), ("content-length", "3")])
        up[].trailers = trailer
        let down = wire.outlet(8, Array(body.reversed()))
        wire.server.onHead = { stream, head in
            #expect(head[].framing == .chunked)
            #expect(head[].method == .post && head[].isSecure && head[].version == .http2)
            #expect(head[].bytes(head[].target).string == "/up?id=42")
            #expect(head[].bytes(head[].authority).string == "id-42.apps")
            let isThere = wire.server.session[].attach(stream, outlet: down)
            #expect(isThere)
            let answer = wire.head(
                status: 200, framing: .length(300_000), fields: [("Server", "s")])
            #expect(wire.respond(stream, answer, down))
        }
        let request = wire.head(
            "/up?id=42", method: "POST", framing: .chunked,
            fields: [("Accept", "*/*"), ("Connection", "x"), ("Cookie", "a=1"), ("cookie", "b=2")])
        request[].acceptsTrailers = true
        let stream = try #require(wire.request(request, up))
        wire.pump()
        #expect(wire.server.content[stream] == body)
        #expect(wire.client.content[stream] == body.reversed())
        #expect(
            wire.server.told(stream) == [
                .head(
                    status: 0, fields: ["accept: */*", "cookie: a=1; b=2", "te: trailers"],
                    endsStream: false),
                .trailers(["x-sum: 1"]), .closed(0),
            ])
        #expect(wire.server.told.filter { $0.stream == stream }.last?.owner == Token(raw: 8))
        let client = wire.client.told(stream).filter { $0 != .drained }
        #expect(
            client == [
                .head(
                    status: 200, fields: ["server: s", "content-length: 300000"],
                    endsStream: false), .end, .closed(0),
            ])
        #expect(wire.client.told.allSatisfy { $0.stream == 0 || $0.owner == Token(raw: 7) })
        #expect(wire.client.session[].openStreams == 0 && wire.server.session[].openStreams == 0)
        wire.heads[].give(trailer)
        #expect(wire.tearDown() == [0, 0, 0])
    }

    @Test("informational responses, a deferred body and drained reports")
    func deferredBody() throws {
        let wire = HTTP2Wire()
        let down = wire.outlet(9, ended: false)
        wire.server.onHead = { stream, _ in
            let early = wire.head(status: 103, fields: [("Link", "</a>")])
            wire.server.session[].submitInformational(stream, early[])
            wire.heads[].give(early)
            #expect(wire.respond(stream, wire.head(status: 200, framing: .chunked), down))
        }
        let stream = try #require(wire.request(wire.head(), wire.outlet(3)))
        wire.pump()
        #expect(down[].isDeferred == true)
        wire.append(pattern(100_000), to: down, on: wire.server)
        wire.pump()
        #expect(wire.server.told(stream).contains(.drained))
        #expect(wire.client.content[stream] == pattern(100_000))
        wire.append([], to: down, on: wire.server, ends: true)
        wire.pump()
        #expect(
            wire.client.told(stream) == [
                .head(status: 103, fields: ["link: </a>"], endsStream: false),
                .head(status: 200, fields: [], endsStream: false), .end, .closed(0),
            ])
        #expect(down[].stream == 0)
        #expect(wire.tearDown() == [0, 0, 0])
    }

    @Test("a stalled stream holds up no other, and resets of either side leak no window")
    func stalledStream() throws {
        var small = HTTP2Settings()
        small.streamWindow = 65_535
        small.connectionWindow = 65_535
        let wire = HTTP2Wire(client: small)
        wire.server.onHead = { stream, _ in
            let down = wire.outlet(UInt64(stream), self.pattern(200_000))
            #expect(wire.respond(stream, wire.head(status: 200, framing: .chunked), down))
        }
        for round in 0..<20 {
            let slow = try #require(wire.request(wire.head(), nil))
            wire.client.stalled.insert(slow)
            let quick = try #require(wire.request(wire.head(), nil))
            wire.pump()
            #expect(wire.client.content[slow]?.count == 65_535)
            #expect(wire.client.content[quick]?.count == 200_000)
            let side = round % 2 == 0 ? wire.client : wire.server
            side.session[].reset(slow, code: HTTP2Code.cancel)
            wire.pump()
            #expect(wire.client.closeCode(slow) == HTTP2Code.cancel)
            #expect(wire.server.closeCode(slow) == HTTP2Code.cancel)
        }
        #expect(wire.tearDown() == [0, 0, 0])
    }

    @Test("many streams up to the peer's limit and not beyond")
    func capacity() throws {
        var few = HTTP2Settings()
        few.maxStreams = 30
        let wire = HTTP2Wire(server: few)
        #expect(wire.client.session[].streamCapacity == 100)
        wire.pump()
        #expect(wire.client.session[].streamCapacity == 30)
        for _ in 0..<10 {
            var streams: [Int32] = []
            while let stream = wire.request(wire.head(), wire.outlet(1)) { streams.append(stream) }
            #expect(streams.count == 30 && wire.client.session[].openStreams == 30)
            wire.pump(limit: 1000)
            #expect(wire.server.session[].openStreams == 30)
            for stream in streams {
                let down = wire.outlet(2, pattern(Int(stream)))
                let answer = wire.head(status: 200, framing: .length(UInt64(stream)))
                #expect(wire.respond(stream, answer, down))
            }
            wire.pump(limit: 1000)
            for stream in streams { #expect(wire.client.content[stream]?.count == Int(stream)) }
            #expect(wire.client.session[].openStreams == 0)
        }
        #expect(wire.tearDown() == [0, 0, 0])
    }

    @Test("GOAWAY lets the streams under way finish, and then the session")
    func goAway() throws {
        let wire = HTTP2Wire()
        let first = try #require(wire.request(wire.head(), nil))
        wire.pump()
        wire.server.session[].shutdownNotice()
        wire.pump()
        #expect(wire.client.session[].streamCapacity == 0)
        #expect(wire.request(wire.head(), nil) == nil)
        wire.server.session[].goAway(code: 0)
        #expect(wire.respond(first, wire.head(status: 204), nil))
        wire.client.session[].ping()
        wire.pump()
        #expect(wire.client.closeCode(first) == 0)
        #expect(wire.client.told.map(\.what).contains(.goAway(first, 0)))
        #expect(wire.client.told.map(\.what).contains(.pingAcknowledged))
        #expect(wire.server.session[].isFinished == true)
        #expect(wire.tearDown() == [0, 0, 0])
    }

    @Test("a request above GOAWAY's last stream is closed as refused, with its owner")
    func goAwayRefuses() throws {
        let wire = HTTP2Wire()
        wire.pump()
        let outlet = wire.outlet(5)
        let stream = try #require(wire.request(wire.head(), outlet))
        wire.server.session[].goAway(code: 0)
        _ = wire.carry(wire.server, wire.client, 16_384)
        wire.pump()
        let closed = wire.client.told.filter { $0.stream == stream }
        #expect(
            closed == [
                Told(stream: stream, owner: Token(raw: 5), what: .closed(HTTP2Code.refusedStream))
            ])
        #expect(outlet[].stream == 0)
        #expect(wire.tearDown() == [0, 0, 0])
    }

    @Test("heads beyond the limits are delivered with the status to answer")
    func largeHeads() throws {
        let wire = HTTP2Wire()
        let big = String(repeating: "a", count: 20_000)
        let many = (0..<101).map { ("x-\($0)", "v") }
        let cases: [(Ref<Head>, UInt16)] = [
            (wire.head(fields: [("a", big), ("b", big)]), 431),
            (wire.head(fields: many), 431),
            (wire.head("/" + big), 414),
            (wire.head(fields: [("a", "small")]), 0),
        ]
        for (head, status) in cases {
            let stream = try #require(wire.request(head, nil))
            wire.pump()
            guard case .head(status, _, _) = wire.server.told(stream).first else {
                Issue.record("expected \(status), told \(wire.server.told(stream))")
                continue
            }
            #expect(wire.respond(stream, wire.head(status: 431), nil))
            wire.pump()
            #expect(wire.client.closeCode(stream) == 0)
        }
        #expect(wire.tearDown() == [0, 0, 0])
    }

    @Test(
        "malformed requests end with PROTOCOL_ERROR and are not delivered",
        arguments: [
            ("relative", "GET", []), ("/a#b", "GET", []), ("/a b", "GET", []), ("*", "GET", []),
            ("/", "POST", [("Content-Length-X", "1"), ("bad name", "x")]),
        ])
    func malformed(path: String, method: String, fields: [(String, String)]) throws {
        let wire = HTTP2Wire()
        let stream = try #require(
            wire.request(wire.head(path, method: method, fields: fields), nil))
        wire.pump()
        #expect(wire.server.told(stream) == [])
        #expect(wire.client.closeCode(stream) == HTTP2Code.protocolError)
        #expect(wire.tearDown() == [0, 0, 0])
    }

    @Test("a body that is not as long as content-length says ends its stream")
    func lengthMismatch() throws {
        let wire = HTTP2Wire()
        let post = wire.head(method: "POST", framing: .length(10))
        let stream = try #require(wire.request(post, wire.outlet(1, pattern(9))))
        wire.pump()
        #expect(wire.server.closeCode(stream) == HTTP2Code.protocolError)
        #expect(wire.client.closeCode(stream) == HTTP2Code.protocolError)
        #expect(wire.tearDown() == [0, 0, 0])
    }

    @Test("a detached body is cut short visibly, and the outlet is left alone")
    func detached() throws {
        let wire = HTTP2Wire()
        let outlet = wire.outlet(1, pattern(200_000), ended: false)
        let stream = try #require(wire.request(wire.head(method: "POST"), outlet))
        _ = wire.carry(wire.client, wire.server, 20_000)
        wire.client.session[].detach(stream)
        #expect(outlet[].stream == 0)
        let left = outlet[].queue.count
        wire.pump()
        #expect(outlet[].queue.count == left)
        #expect(wire.server.closeCode(stream) == HTTP2Code.internalError)
        #expect(wire.client.told.last?.owner == Token.none)
        #expect(wire.tearDown() == [0, 0, 0])
    }

    @Test("every stream is found by a walk until it is closed: with its outlet or without")
    func walk() throws {
        let wire = HTTP2Wire()
        var attached: [Ref<StreamOutlet>] = []
        wire.server.onHead = { stream, _ in
            let outlet = wire.outlet(1, ended: false)
            let isThere = wire.server.session[].attach(stream, outlet: outlet)
            #expect(isThere)
            attached.append(outlet)
        }
        let outlets = (0..<4).map { _ in wire.outlet(1, [1], ended: false) }
        let streams = try outlets.map { outlet in
            try #require(wire.request(wire.head(method: "POST"), outlet))
        }
        func live() -> [Int] {
            let client = outlets.count { wire.client.session[].carries($0) }
            let server = attached.count { wire.server.session[].carries($0) }
            return [
                client + wire.client.session[].detachedStreams,
                server + wire.server.session[].detachedStreams,
            ]
        }
        func counted() -> [Int] {
            let (client, server) = (wire.memory[].clientStreams, wire.memory[].serverStreams)
            return [Int(client.opened - client.closed), Int(server.opened - server.closed)]
        }
        // Submitted and not yet written.
        #expect(live() == [4, 0] && counted() == [4, 0])
        wire.pump()
        #expect(live() == [4, 4] && counted() == [4, 4])
        // Given up on either side, and the reset not yet written.
        wire.client.session[].detach(streams[0])
        wire.client.session[].detach(streams[0])
        wire.client.session[].reset(streams[0], code: HTTP2Code.cancel)
        wire.server.session[].detach(streams[1])
        #expect(wire.client.session[].detachedStreams == 1)
        #expect(wire.server.session[].detachedStreams == 1)
        #expect(live() == [4, 4] && counted() == [4, 4])
        wire.server.session[].reset(streams[1], code: HTTP2Code.cancel)
        wire.pump()
        #expect(live() == [2, 2] && counted() == [2, 2])
        // One that has ended is not detached afterwards.
        wire.client.session[].detach(streams[0])
        #expect(live() == [2, 2])
        #expect(wire.tearDown() == [0, 0, 0])
    }

    @Test("tearing down in the middle gives everything back")
    func abruptEnd() throws {
        let wire = HTTP2Wire()
        for _ in 0..<50 {
            _ = wire.request(wire.head(fields: [("a", "b")]), wire.outlet(1, pattern(5000)))
        }
        var queue = ByteQueue(pool: wire.pool)
        _ = try wire.client.session[].write(into: &queue, upTo: 60_000)
        let bytes = queue.bytes.array
        queue.removeAll()
        // Half of what was written, cut inside a frame, and no event taken.
        try Array(bytes.prefix(bytes.count / 2)).withBytes { (input) throws(HTTP2Failure) in
            try wire.server.session[].receive(input, now: .zero)
        }
        #expect(wire.heads[].inUse > 0)
        #expect(wire.tearDown() == [0, 0, 0])
    }
}
