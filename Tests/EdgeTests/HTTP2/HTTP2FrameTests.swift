// A server session against frames made by hand, floods, and random damage.

import Testing

@testable import Edge

/// A frame of RFC 9113 §4.1 as bytes.
private func frame(_ type: UInt8, _ flags: UInt8, _ stream: Int, _ payload: [UInt8]) -> [UInt8] {
    let count = payload.count
    let head: [UInt8] = [
        UInt8(count >> 16), UInt8(count >> 8 & 255), UInt8(count & 255), type, flags,
        UInt8(stream >> 24), UInt8(stream >> 16 & 255), UInt8(stream >> 8 & 255),
        UInt8(stream & 255),
    ]
    return head + payload
}

/// A field section of literals without indexing (RFC 7541 §6.2.2), names and values below 127.
private func section(_ fields: [(String, String)]) -> [UInt8] {
    var bytes: [UInt8] = []
    for (name, value) in fields {
        bytes += [0, UInt8(name.utf8.count)]
        bytes += Array(name.utf8)
        bytes.append(UInt8(value.utf8.count))
        bytes += Array(value.utf8)
    }
    return bytes
}

private let opening = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8) + frame(4, 0, 0, [])
private let plain = [
    (":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "a"),
]

private func written(by wire: HTTP2Wire) throws -> [UInt8] {
    var queue = ByteQueue(pool: wire.pool)
    while try wire.server.session[].write(into: &queue, upTo: 500_000), queue.count < 400_000 {}
    return queue.bytes.array
}

/// The code of the last frame of `type` (3 RST_STREAM, 7 GOAWAY) that the server wrote.
private func written(_ type: UInt8, by wire: HTTP2Wire) throws -> UInt8? {
    code(type, in: try written(by: wire))
}

private func code(_ type: UInt8, in bytes: [UInt8]) -> UInt8? {
    var code: UInt8?
    var at = 0
    while at + 9 <= bytes.count {
        let count = Int(bytes[at]) << 16 | Int(bytes[at + 1]) << 8 | Int(bytes[at + 2])
        if bytes[at + 3] == type { code = bytes[at + 9 + (type == 7 ? 7 : 3)] }
        at += 9 + count
    }
    return code
}

@Suite("HTTP/2 server against raw frames") struct HTTP2FrameTests {
    @Test(
        "malformed sections are reset with PROTOCOL_ERROR",
        arguments: [
            plain + [("Upper", "x")], plain + [("connection", "close")], plain + [("te", "gzip")],
            plain + [("host", "b")], plain + [("host", "a"), ("host", "a")],
            plain + [("content-length", "-1")], plain + [(":path", "/")], plain + [("a", "b\u{1}")],
            [(":method", "GET"), (":scheme", "https"), (":path", "/")],
            [(":method", "GET"), (":scheme", "https"), (":path", ""), (":authority", "a")],
            [(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "u@a")],
            [(":method", "GET"), (":scheme", "x"), (":path", "no"), (":authority", "a")],
        ])
    func malformedSections(fields: [(String, String)]) throws {
        let wire = HTTP2Wire()
        wire.feed(opening + frame(1, 5, 1, section(fields)), wire.server)
        #expect(wire.server.told(1) == [])
        #expect(try written(3, by: wire) == 1)
        #expect(wire.tearDown() == [0, 0, 0])
    }

    @Test("Host alone is the authority, and in agreement it may stand beside :authority")
    func hosts() {
        for fields in [Array(plain.dropLast()) + [("host", "A")], plain + [("host", "A")]] {
            let wire = HTTP2Wire()
            var seen = ""
            wire.server.onHead = { _, head in seen = head[].bytes(head[].authority).string }
            wire.feed(opening + frame(1, 5, 1, section(fields)), wire.server)
            #expect(seen.lowercased() == "a")
            #expect(wire.tearDown() == [0, 0, 0])
        }
    }

    @Test("CONNECT is 501, extended CONNECT names its protocol")
    func connect() {
        let wire = HTTP2Wire()
        var seen: [String] = []
        wire.server.onHead = { _, head in
            seen.append("\(head[].status) \(head[].bytes(head[].upgrade).string)")
        }
        let connect = section([(":method", "CONNECT"), (":authority", "a:443")])
        let extended = section(
            [(":method", "CONNECT"), (":protocol", "websocket")] + plain.dropFirst())
        wire.feed(opening + frame(1, 4, 1, connect) + frame(1, 4, 3, extended), wire.server)
        #expect(seen == ["501 ", "0 websocket"])
        #expect(wire.tearDown() == [0, 0, 0])
    }

    @Test("content in the same read as its head carries the owner attached in between")
    func attachedBetween() {
        let wire = HTTP2Wire()
        let outlet = wire.outlet(6)
        wire.server.onHead = { stream, _ in wire.server.session[].attach(stream, outlet: outlet) }
        let post = section([(":method", "POST")] + plain.dropFirst())
        wire.feed(
            opening + frame(1, 4, 1, post) + frame(0, 9, 1, [2, 65, 66, 0, 0]), wire.server)
        #expect(wire.server.content[1] == [65, 66])
        #expect(
            wire.server.told.last == Told(stream: 1, owner: Token(raw: 6), what: .end))
        #expect(wire.tearDown() == [0, 0, 0])
    }

    @Test("something else than HTTP/2 fails at once")
    func notHTTP2() {
        let wire = HTTP2Wire()
        wire.feed(Array("GET / HTTP/1.1\r\nHost: a\r\n\r\n".utf8), wire.server)
        #expect(wire.server.failure?.reason.description == "not an HTTP/2 client preface")
        #expect(wire.server.session[].isFinished == true)
        #expect(wire.tearDown() == [0, 0, 0])
    }

    @Test("a request that is reset in the same read is not delivered")
    func cancelledAtOnce() {
        let wire = HTTP2Wire()
        let request = section(plain)
        wire.feed(
            opening + frame(1, 5, 1, request) + frame(3, 0, 1, [0, 0, 0, 8])
                + frame(1, 4, 3, request) + frame(0, 0, 3, [1]) + frame(3, 0, 3, [0, 0, 0, 0])
                + frame(1, 5, 5, request), wire.server)
        #expect(wire.server.told(1) == [.closed(HTTP2Code.cancel)])
        #expect(wire.server.told(3) == [.closed(HTTP2Code.noError)])
        #expect(wire.server.told(5).count == 1)
        #expect(wire.server.session[].openStreams == 1)
        #expect(wire.tearDown() == [0, 0, 0])
    }

    @Test("DATA for a stream that its client has closed is an error wherever the input is cut")
    func closedInPieces() throws {
        let late = frame(0, 1, 1, [1, 2])
        let trailers = section([("a", "b")])
        let reset = frame(3, 0, 1, [0, 0, 0, 8])
        #expect(try codes(of: reset + late) == [[nil, 5]])
        for ending in [
            frame(0, 1, 1, [7, 7, 7]), frame(1, 1, 1, trailers) + frame(9, 4, 1, []),
            frame(1, 1, 1, []) + frame(9, 4, 1, trailers),
        ] {
            #expect(try codes(of: ending + late, isAnswered: true) == [[nil, 5]])
        }
    }

    @Test("SETTINGS are blamed for the window that they make too large, whatever else is read")
    func windowInPieces() throws {
        let grown = frame(8, 0, 1, [0x7F, 0xFF, 0, 0])
        let settings = frame(4, 0, 0, [0, 4, 0x7F, 0xFF, 0xFF, 0xFF])
        let ping = frame(6, 0, 0, [UInt8](repeating: 0, count: 8))
        #expect(try codes(of: settings, after: grown) == [[nil, 3]])
        #expect(try codes(of: settings + ping, after: grown) == [[nil, 3]])
        #expect(try codes(of: ping + settings, after: grown) == [[nil, 3]])
        #expect(try codes(of: grown + frame(4, 0, 0, []), after: grown) == [[3, nil]])
    }

    /// The codes of RST_STREAM and GOAWAY that come of two reads behind an upload, between which
    /// the input is cut at each of its octets in turn, and something is written or not.
    private func codes(
        of input: [UInt8], after first: [UInt8] = [], isAnswered: Bool = false
    ) throws -> Set<[UInt8?]> {
        let upload = frame(1, 4, 1, section([(":method", "POST")] + plain.dropFirst()))
        var found: Set<[UInt8?]> = []
        for turn in 0...input.count * 2 + 1 {
            let cut = turn / 2
            let wire = HTTP2Wire()
            wire.feed(opening + upload + first, wire.server)
            if isAnswered { #expect(wire.respond(1, wire.head(status: 200), nil)) }
            #expect(try written(7, by: wire) == nil)
            wire.feed(Array(input[..<cut]), wire.server)
            let between = turn % 2 == 0 ? [] : try written(by: wire)
            wire.feed(Array(input[cut...]), wire.server)
            let output = try between + written(by: wire)
            found.insert([code(3, in: output), code(7, in: output)])
            #expect(wire.tearDown() == [0, 0, 0])
        }
        return found
    }

    @Test("a frame has begun with its first octet, a head with that of its first frame")
    func begun() {
        let block = section(plain)
        let head = frame(1, 1, 1, Array(block[..<9])) + frame(9, 4, 1, Array(block[9...]))
        for later in [frame(6, 0, 0, Array(repeating: 0, count: 8)), head] {
            for cut in 1..<later.count {
                let wire = HTTP2Wire()
                wire.feed(opening, wire.server)
                let before = wire.server.session[].begunFrames
                wire.feed(Array(later[..<cut]), wire.server)
                let within = wire.server.session[].begunFrames
                wire.feed(Array(later[cut...]), wire.server)
                let behind = wire.server.session[].begunFrames
                #expect([within, behind] == [before + 1, before + 1], "at octet \(cut)")
                #expect(wire.tearDown() == [0, 0, 0])
            }
        }
    }

    @Test("what is an error does not depend on how the octets arrive", arguments: 0..<400)
    func inPieces(seed: Int) throws {
        var random = SplitMix(state: UInt64(seed))
        let input = opening + (0..<6).flatMap { _ in anyFrame(&random) }
        // How a stream that this side resets goes on depends on whether its client knows.
        guard let whole = try fails([input]) else { return }
        for size in [1, 2, 3, 5, 7, 9, 13, 20] {
            let starts = stride(from: 0, to: input.count, by: size)
            let pieces = starts.map { Array(input[$0..<min($0 + size, input.count)]) }
            guard let failed = try fails(pieces) else { continue }
            #expect(failed == whole, "pieces of \(size): \(input.dropFirst(33))")
        }
    }

    /// A frame that a client may send at the right moment, on one of three streams.
    private func anyFrame(_ random: inout SplitMix) -> [UInt8] {
        let stream = Int.random(in: 0...2, using: &random) * 2 + 1
        let ends: UInt8 = Bool.random(using: &random) ? 1 : 0
        let head: UInt8 = Int.random(in: 0...3, using: &random) == 0 ? 0 : 4
        let post = section([(":method", "POST")] + plain.dropFirst())
        switch Int.random(in: 0...11, using: &random) {
        case 0...3: return frame(1, head | ends, stream, post)
        case 4: return frame(1, head | 1, stream, section([("a", "b")]))
        case 5...6: return frame(0, ends, stream, [1, 2, 3])
        case 7: return frame(0, 8 | ends, stream, [2, 1, 0, 0])
        case 8: return frame(3, 0, stream, [0, 0, 0, 8])
        case 9: return frame(9, 4, stream, section([("a", "b")]))
        case 10: return frame(8, 0, stream, [0x7F, 0xFF, 0, 0])
        default: return frame(4, 0, 0, [0, 4, 0x7F, 0xFF, 0xFF, 0xFF])
        }
    }

    /// Whether the connection fails after these reads, with each request answered at once; nil if a
    /// stream was reset.
    private func fails(_ reads: [[UInt8]]) throws -> Bool? {
        let wire = HTTP2Wire()
        wire.server.onHead = { stream, _ in
            _ = wire.respond(stream, wire.head(status: 200), nil)
        }
        var output: [UInt8] = []
        for read in reads {
            wire.feed(read, wire.server)
            output += try written(by: wire)
        }
        wire.server.onHead = { _, _ in }
        #expect(wire.tearDown() == [0, 0, 0])
        return code(3, in: output) == nil ? code(7, in: output) != nil : nil
    }

    @Test("floods end the connection with ENHANCE_YOUR_CALM")
    func floods() throws {
        let request = frame(1, 5, 1, section(plain))
        let lone = frame(1, 1, 1, section(plain))
        let bomb: [UInt8] =
            [0x40, 1, 97, 0x7F, 0xA1, 0x1E] + Array(repeating: 98, count: 4000)
            + Array(repeating: 0xBE, count: 12_000)
        let eight = [UInt8](repeating: 0, count: 8)
        let open = frame(1, 4, 1, section(plain))
        func many(_ frame: [UInt8], _ count: Int = 1500) -> [UInt8] {
            (0..<count).flatMap { _ in frame }
        }
        func streams(_ type: UInt8, _ payload: [UInt8]) -> [UInt8] {
            var bytes: [UInt8] = []
            for stream in 0..<1000 {
                bytes += frame(1, 5, stream * 2 + 1, section(plain))
                bytes += frame(type, 0, stream * 2 + 1, payload)
            }
            return bytes
        }
        let floods: [(Oddity, [UInt8])] = [
            (.ping, many(frame(6, 0, 0, eight))),
            (.settings, many(frame(4, 0, 0, []))),
            (.strayAcknowledgement, many(frame(6, 1, 0, eight))),
            (.priority, many(frame(2, 0, 3, [0, 0, 0, 0, 9]))),
            (.emptyFrame, open + many(frame(0, 0, 1, []))),
            (.padding, open + many(frame(0, 8, 1, [2, 1, 0, 0]))),
            (.unknownFrame, many(frame(99, 0, 0, [1]))),
            (.windowUpdate, request + many(frame(8, 0, 1, [0, 0, 0, 1]))),
            (.strayReset, request + many(frame(3, 0, 1, [0, 0, 0, 8]))),
            (.continuation, lone + many(frame(9, 0, 1, []), 20)),
            (.cancelledStream, streams(3, [0, 0, 0, 8])),
            (.cancelledStream, streams(3, [0, 0, 0, 0])),
            (.goAway, many(frame(7, 0, 0, eight))),
            (
                .ignoredFrame,
                open + frame(8, 0, 1, [0x7F, 0xFF, 0xFF, 0xFF]) + many(frame(0, 0, 1, [1]), 4000)
            ),
            (.provokedReset, streams(8, [0x7F, 0xFF, 0xFF, 0xFF])),
        ]
        for (kind, flood) in floods {
            let wire = HTTP2Wire()
            wire.feed(opening, wire.server)
            // In pieces, so that frames are cut and what we sent is seen in between.
            var code: UInt8?
            for start in stride(from: 0, to: flood.count, by: 1000) {
                wire.feed(Array(flood[start..<min(start + 1000, flood.count)]), wire.server)
                code = try written(7, by: wire) ?? code
            }
            #expect(wire.server.failure == nil, "\(kind)")
            #expect(code == UInt8(HTTP2Code.enhanceYourCalm), "\(kind)")
            #expect(wire.server.session[].isFinished == true, "\(kind)")
            #expect(wire.server.session[].oddities.flood == kind)
            #expect(wire.tearDown() == [0, 0, 0])
        }
        let wire = HTTP2Wire()
        wire.feed(opening + frame(1, 5, 1, section(plain) + bomb), wire.server)
        #expect(wire.server.told(1) == [])
        #expect(wire.pool[].bytesInUse < 64 * 1024)
        #expect(wire.tearDown() == [0, 0, 0])
    }

    @Test("random damage on either side never traps and leaks nothing", arguments: 0..<150)
    func damage(seed: Int) {
        var random = SplitMix(state: UInt64(seed))
        let wire = HTTP2Wire()
        wire.server.onHead = { stream, head in
            guard head[].status == 0 else { return }
            let body = Array(repeating: UInt8(1), count: 3000)
            let down = wire.outlet(UInt64(stream), body, ended: stream % 3 != 0)
            _ = wire.respond(stream, wire.head(status: 200, framing: .chunked), down)
        }
        for round in 0..<30 {
            _ = wire.request(
                wire.head("/\(round)", fields: [("cookie", "a"), ("x", "y"), ("cookie", "b")]),
                wire.outlet(UInt64(round), Array(repeating: 2, count: round * 100)))
            wire.pump(limit: 3000) { bytes in
                guard random.next() % 4 == 0 else { return }
                for _ in 0..<Int.random(in: 1...4, using: &random) {
                    let at = Int.random(in: 0..<bytes.count, using: &random)
                    switch random.next() % 3 {
                    case 0: bytes[at] = UInt8(truncatingIfNeeded: random.next())
                    case 1: bytes[at] ^= 1 << UInt8(random.next() % 8)
                    default:
                        if bytes.count > 1 { bytes.remove(at: at) }
                    }
                }
            }
            if random.next() % 5 == 0 {
                wire.client.session[].reset(Int32(random.next() % 60), code: 8)
                wire.server.session[].consume(Int32(random.next() % 60), 100_000)
            }
        }
        #expect(wire.tearDown() == [0, 0, 0])
    }
}
