// Conversations through a whole worker: where its reads end changes nothing of what others see.

import Glibc
import Testing

@testable import Edge

/// What a client and its services say in turn.
///
/// Left out is all that may depend on reads for good reason: requests and answers that cross, a
/// stream that is reset while something of it is under way, floods.
struct Conversation: CustomTestStringConvertible, Sendable {
    enum Step: Sendable {
        case client([UInt8])
        /// Said on the connection that was opened last.
        case service([UInt8])
        case serviceEnds
    }

    let testDescription: String
    /// The methods asked for over HTTP/1; none when the client speaks HTTP/2.
    let methods: [Edge.Method]
    let steps: [Step]

    init(_ name: String, _ methods: [Edge.Method], _ steps: Step...) {
        testDescription = name
        self.methods = methods
        self.steps = steps
    }
}

/// What was seen of the worker from outside.
private struct Seen: Equatable {
    var client: [String]
    var isClientClosed: Bool
    var services: [[String]]
}

/// Messages and frames, without the pieces that their content came in.
private enum Transcript {
    static func text(_ bytes: ArraySlice<UInt8>) -> String {
        String(decoding: bytes, as: UTF8.self)
    }

    /// HTTP/1 requests, or with methods the responses to them; the rest as it is.
    static func messages(_ bytes: [UInt8], answering methods: [Edge.Method]?) -> [String] {
        let pool = Ref.allocate(BufferPool())
        defer { pool.destroy() }
        var head = Head(pool: pool)
        var found: [String] = []
        var rest = bytes[...]
        var asked = (methods ?? [])[...]
        while !rest.isEmpty {
            var scanned = 0
            let used = try? Array(rest).withBytes { (input) throws(MalformedMessage) in
                guard methods != nil else {
                    return try HTTP1RequestParser.parse(
                        input, scanned: &scanned, into: &head, isSecure: false)
                }
                return try HTTP1ResponseParser.parse(
                    input, scanned: &scanned, into: &head, requestMethod: asked.first ?? .get)
            }
            guard let used else { return found + ["rest: " + text(rest)] }
            found.append(text(rest.prefix(used)))
            rest = rest.dropFirst(used)
            if methods != nil, head.status < 200, head.status != 101 { continue }
            asked = asked.dropFirst()
            let isTunnel = head.status == 101 || methods == nil && !head.upgrade.isEmpty
            found += content(&rest, isTunnel ? .untilClose : head.framing)
        }
        return found
    }

    private static func content(_ rest: inout ArraySlice<UInt8>, _ framing: Framing) -> [String] {
        var decoder = HTTP1BodyDecoder(framing)
        var content: [UInt8] = []
        var consumed = 0
        var end = "content goes on"
        Array(rest).withBytes { input in
            while true {
                switch try? decoder.decode(input, consumed: &consumed) {
                case .data(let data)?: content += data.array
                case .end(let trailers)?:
                    end =
                        trailers.map { input.slice(Int($0.start), count: Int($0.count)).string }
                        ?? "content ends"
                    return
                case .needsMore?: return
                case nil:
                    end = "content is malformed"
                    return
                }
            }
        }
        rest = rest.dropFirst(consumed)
        return [text(content[...]), end]
    }

    /// Heads, content and ends by stream; of the connection its end.
    ///
    /// Windows and acknowledgements follow reads.
    static func frames(_ bytes: [UInt8]) -> [String] {
        var streams: [Int: String] = [:]
        var content: [Int: Int] = [:]
        var rest = bytes[...]
        if rest.starts(with: FrameScript.preface) {
            rest = rest.dropFirst(FrameScript.preface.count)
        }
        while rest.count >= 9 {
            let head = Array(rest.prefix(9))
            let count = Int(head[0]) << 16 | Int(head[1]) << 8 | Int(head[2])
            let stream = Int(head[7]) << 8 | Int(head[8])
            let payload = rest.dropFirst(9).prefix(count)
            rest = rest.dropFirst(9 + count)
            switch head[3] {
            case 0: content[stream, default: 0] += count
            case 1, 3, 7: streams[stream, default: ""] += " \(head[3]): \(Array(payload))"
            default: continue
            }
            if head[3] <= 1, head[4] & 1 == 1 { streams[stream, default: ""] += " ends" }
        }
        return streams.keys.sorted().map { "\($0): \(content[$0] ?? 0)\(streams[$0] ?? "")" }
    }
}

/// One playing of a conversation.
private final class Playing {
    private let rig: FrontRig
    private let conversation: Conversation
    private let client: Int32
    private var heard: [UInt8] = []
    private var isClientClosed = false
    private var services: [(descriptor: Int32, heard: [UInt8], isOpen: Bool)] = []

    init(_ conversation: Conversation, _ rig: FrontRig) throws {
        self.rig = rig
        self.conversation = conversation
        client = try #require(rig.connect(0))
    }

    var seen: Seen {
        let isHTTP2 = conversation.methods.isEmpty
        return Seen(
            client: isHTTP2
                ? Transcript.frames(heard)
                : Transcript.messages(heard, answering: conversation.methods),
            isClientClosed: isClientClosed,
            services: services.map { service in
                service.heard.starts(with: "PRI".utf8)
                    ? Transcript.frames(service.heard)
                    : Transcript.messages(service.heard, answering: nil)
            })
    }

    /// Says what a step says, or a part of it.
    func perform(_ step: Conversation.Step, _ part: Range<Int>) {
        switch step {
        case .client(let bytes): say(bytes[part], to: client)
        case .service(let bytes):
            if let service = services.last { say(bytes[part], to: service.descriptor) }
        case .serviceEnds:
            if let service = services.last { Socket.shutdownWriting(service.descriptor) }
        }
    }

    private func say(_ bytes: ArraySlice<UInt8>, to descriptor: Int32) {
        Array(bytes).withBytes { _ = Socket.send(descriptor, $0) }
    }

    /// One turn of the worker, then what it sent is read at both ends; false when it sent nothing.
    @discardableResult
    func turn() -> Bool {
        rig.worker.turn(mayWait: false)
        var hasMoved = false
        while let descriptor = rig.accept() {
            services.append((descriptor, [], true))
            hasMoved = true
        }
        for index in services.indices where services[index].isOpen {
            let bytes = FrontRig.drain(services[index].descriptor)
            services[index].isOpen = bytes != nil
            services[index].heard += bytes ?? []
            hasMoved = hasMoved || bytes != []
        }
        if !isClientClosed {
            let bytes = FrontRig.drain(client)
            isClientClosed = bytes == nil
            heard += bytes ?? []
            hasMoved = hasMoved || bytes != []
        }
        return hasMoved
    }

    /// Turns until nothing has come for a while.
    func settle() {
        var still = 0
        while still < 20 {
            still = turn() ? 0 : still + 1
            usleep(500)
        }
    }

    /// Turns until what was seen is this.
    func reaches(_ expected: Seen) -> Bool {
        let patience = ContinuousClock.now + .seconds(5)
        while ContinuousClock.now < patience {
            let hasMoved = turn()
            if !hasMoved, seen == expected { return true }
        }
        return false
    }

    func end() throws {
        Socket.close(client)
        isClientClosed = true
        for service in services { FrontRig.reset(service.descriptor) }
        services = []
        let patience = ContinuousClock.now + .seconds(5)
        while !rig.isAtRest, ContinuousClock.now < patience {
            turn()
            for service in services { FrontRig.reset(service.descriptor) }
            services = []
        }
        try rig.checkIsEmpty()
    }
}

@Suite("A conversation") struct CutTests {
    private static let get = "GET /one HTTP/1.1\r\nHost: a\r\n\r\n"
    private static let hello = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

    private static func text(_ text: String) -> [UInt8] { Array(text.utf8) }

    private static func head(
        _ stream: UInt32, _ fields: [(String, String)], flags: UInt8
    ) -> [UInt8] {
        FrameScript.frame(
            1, flags: flags, stream: stream, fields.flatMap { FrameScript.literal($0.0, $0.1) })
    }

    private static func request(_ path: String, _ stream: UInt32, flags: UInt8) -> [UInt8] {
        let fields = [
            (":method", flags & 1 == 1 ? "GET" : "POST"), (":scheme", "http"),
            (":authority", "a"), (":path", path),
        ]
        return head(stream, fields, flags: flags)
    }

    private static let opening = FrameScript.preface + FrameScript.frame(4)
    private static let ping = FrameScript.frame(6, [1, 2, 3, 4, 5, 6, 7, 8])
    /// A request whose head is continued, with padded content, trailers and a PING among them.
    private static let upload =
        request("/one", 1, flags: 0)
        + FrameScript.frame(9, flags: 4, stream: 1, FrameScript.literal("x-a", "b"))
        + FrameScript.frame(0, flags: 8, stream: 1, [3, 1, 2, 0, 0, 0]) + ping
        + FrameScript.frame(0, stream: 1, [7]) + head(1, [("x-sum", "1")], flags: 5)

    static let all: [Conversation] = [
        Conversation(
            "pipelined requests with chunks and trailers", [.post, .get],
            .client(
                text(
                    "\r\nPOST /one HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                        + "3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 1\r\n\r\n" + get)),
            .service(
                text(
                    "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n"
                        + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 2\r\n\r\n")),
            .service(text(hello))),
        Conversation(
            "what is waited for, and answers without content", [.put, .head, .get],
            .client(
                text(
                    "PUT /one HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"
                        + "Expect: 100-continue\r\n\r\nhello")),
            .service(text("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n")),
            .client(text("HEAD /one HTTP/1.1\r\nHost: a\r\n\r\n" + get)),
            .service(text("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")),
            .service(text("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"))),
        Conversation(
            "a request, then one that is refused", [.get, .get],
            .client(text(get + "GET /one HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" + get)),
            .service(text(hello))),
        Conversation(
            "an upgrade with what follows it", [.get],
            .client(
                text(
                    "GET /one HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n"
                        + "Upgrade: websocket\r\n\r\nfrom the client\r\n\r\n")),
            .service(
                text(
                    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n"
                        + "Upgrade: websocket\r\n\r\nfrom the service\r\n\r\n")),
            .client(text("more")), .service(text("and more")), .serviceEnds),
        Conversation(
            "content until the end", [.get], .client(text(get)),
            .service(text("HTTP/1.0 200 OK\r\n\r\nold")), .serviceEnds),
        Conversation(
            "more than the answer", [.get], .client(text(get)),
            .service(text(hello + "HTTP/1.1 200 OK\r\n"))),
        Conversation(
            "an answer that is none", [.get, .get], .client(text(get + get)),
            .service(text(hello)),
            .service(
                text(
                    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"))),
        Conversation(
            "a request over HTTP/2", [], .client(opening + upload),
            .service(text("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")),
            .service(text("0\r\nX-Sum: 2\r\n\r\n")),
            .client(
                request("/none", 3, flags: 5)
                    + FrameScript.frame(
                        7,
                        [UInt8](
                            repeating: 0, count: 8)))),
        Conversation(
            "a request over HTTP/2 behind its connection's error", [],
            .client(
                opening + FrameScript.frame(4, [0, 4, 0xFF, 0xFF, 0xFF, 0xFF])
                    + request("/none", 3, flags: 5))),
        Conversation(
            "an answer over HTTP/2", [.post, .get],
            .client(
                text(
                    "POST /two HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
                        + "GET /two HTTP/1.1\r\nHost: a\r\n\r\n")),
            .service(FrameScript.frame(4) + FrameScript.frame(4, flags: 1)),
            .service(
                ping + head(1, [(":status", "103"), ("link", "</a>")], flags: 4)
                    + head(1, [(":status", "200")], flags: 4)
                    + FrameScript.frame(0, flags: 8, stream: 1, [2, 1, 2, 3, 0, 0])
                    + head(1, [("x-sum", "2")], flags: 5)),
            .service(
                FrameScript.frame(7, [0, 0, 0, 3, 0, 0, 0, 0])
                    + head(3, [(":status", "200"), ("content-length", "2")], flags: 4)
                    + FrameScript.frame(0, flags: 1, stream: 3, [1, 2]))),
        Conversation(
            "an answer over HTTP/2 that is reset", [.get],
            .client(text("GET /two HTTP/1.1\r\nHost: a\r\n\r\n")),
            .service(FrameScript.frame(4) + FrameScript.frame(4, flags: 1)),
            .service(
                head(1, [(":status", "200"), ("content-length", "2")], flags: 4)
                    + FrameScript.frame(0, stream: 1, [1])
                    + FrameScript.frame(3, stream: 1, [0, 0, 0, 2]))),
    ]

    @Test("goes the same way wherever what is said is cut", arguments: all)
    func cuts(conversation: Conversation) throws {
        let rig = try FrontRig(watchesHealth: false)
        let whole = try Playing(conversation, rig)
        var expected: [Seen] = []
        for step in conversation.steps {
            whole.perform(step, 0..<Self.count(step))
            whole.settle()
            expected.append(whole.seen)
        }
        try whole.end()
        for (place, step) in conversation.steps.enumerated() where Self.count(step) > 1 {
            let octets = 1..<Self.count(step)
            for cuts in octets.map({ [$0] }) + [Array(octets)] {
                let playing = try Playing(conversation, rig)
                for (index, step) in conversation.steps.enumerated() {
                    let count = Self.count(step)
                    if index == place {
                        for (start, end) in zip([0] + cuts, cuts + [count]) {
                            playing.perform(step, start..<end)
                            for _ in 0..<3 { playing.turn() }
                        }
                    } else {
                        playing.perform(step, 0..<count)
                    }
                    guard !playing.reaches(expected[index]) else { continue }
                    Issue.record(
                        """
                        step \(place) cut before \(cuts), after step \(index): \(playing.seen)
                        whole: \(expected[index])
                        """)
                    return
                }
                try playing.end()
            }
        }
    }

    private static func count(_ step: Conversation.Step) -> Int {
        switch step {
        case .client(let bytes), .service(let bytes): bytes.count
        case .serviceEnds: 0
        }
    }
}
