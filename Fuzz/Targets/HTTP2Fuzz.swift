// A session of HTTP/2 against a peer that sends anything.

@testable import Edge

/// One session, the streams it told of, and what was promised about them.
///
/// An input begins with a byte of options and eight of reactions, one for every eighth stream; then
/// come operations: a byte below 0x60 is one of ours (`act`), any other announces a frame of the
/// peer's (`FrameScript`). With option 1 the rest are bytes of the peer as they are.
final class HTTP2Fuzz {
    /// Streams that are told of and not closed.
    private struct Stream {
        var outlet: Ref<StreamOutlet>?
        var unconsumed = 0
        var isAnswered = false
        var hasEnded = false
    }

    private let role: HTTP2Role
    private let memory: Ref<HTTP2Memory>
    private let heads: Ref<HeadPool>
    private let buffers: Ref<BufferPool>
    private let session: Ref<HTTP2Session>
    private let output: Ref<ByteQueue>
    private var streams: [Int32: Stream] = [:]
    private var closed: Set<Int32> = []
    private var reactions: [UInt8] = []
    private var outlets: [Ref<StreamOutlet>] = []
    private var hasFailed = false
    /// Octets of our preface that are still to be written.
    private var preface: Int
    private var now = Instant.zero

    static func run(_ bytes: [UInt8], role: HTTP2Role) throws(FuzzFailure) {
        let memory = FuzzMemory()
        let fuzz = HTTP2Fuzz(role, memory, options: bytes.first ?? 0)
        try fuzz.play(bytes)
        fuzz.end()
        try memory.finish()
    }

    private init(_ role: HTTP2Role, _ memory: borrowing FuzzMemory, options: UInt8) {
        self.role = role
        self.memory = memory.http2
        heads = memory.heads
        buffers = memory.buffers
        preface = role == .client ? FrameScript.preface.count : 0
        var settings = HTTP2Settings()
        if options & 2 != 0 {
            settings.maxStreams = 2
            settings.streamWindow = 100
            settings.connectionWindow = 70_000
        }
        settings.enableConnectProtocol = options & 4 != 0
        let made = HTTP2Session(
            role: role, settings: settings, pool: memory.buffers, heads: memory.heads,
            memory: memory.http2)
        guard let made else { preconditionFailure("no memory for a session") }
        session = .allocate(made)
        output = .allocate(ByteQueue(pool: memory.buffers))
    }

    /// Ends the session first: outlets that it still knows are then nobody's.
    private func end() {
        session.destroy()
        for outlet in outlets { destroy(outlet) }
        output.destroy()
    }

    private func play(_ bytes: [UInt8]) throws(FuzzFailure) {
        var input = FuzzInput(bytes)
        let options = input.byte()
        reactions = (0..<8).map { _ in input.byte() }
        if role == .client { try request(input.byte()) }
        try write(16_384)
        if role == .server, options & 8 == 0 { try receive(FrameScript.preface) }
        if options & 1 == 1 {
            let step = 1 + Int(options >> 4) * 97
            try measure(Array(bytes.dropFirst(input.place)), step)
            while !input.isAtEnd {
                try receive(input.take(step))
                try write(16_384)
            }
        } else {
            if options & 16 == 0 { try receive(FrameScript.frame(4)) }
            while !input.isAtEnd { try step(&input, isWriting: options & 32 == 0) }
        }
        for _ in 0..<4 { try write(16_384) }
    }

    /// Which frames are found, and what they come to, does not depend on how they arrive.
    private func measure(_ bytes: [UInt8], _ size: Int) throws(FuzzFailure) {
        let whole = Self.frames(in: bytes, by: max(bytes.count, 1))
        let pieces = Self.frames(in: bytes, by: size)
        try require(whole == pieces, "what is found depends on the reads")
    }

    /// The types of the frames that are found in pieces of so many octets, and the debt they make.
    private static func frames(in bytes: [UInt8], by size: Int) -> [Int] {
        var reader = HTTP2FrameReader(.client)
        var meter = FrameMeter()
        var found: [Int] = []
        for start in stride(from: 0, to: bytes.count, by: size) {
            Array(bytes[start..<min(start + size, bytes.count)]).withBytes { input in
                var position = 0
                while let frame = reader.next(input, &position) {
                    meter.count(frame)
                    found.append(Int(frame.type))
                }
            }
        }
        return found + [meter.budget.debt, reader.awaitsRest || meter.awaitsRest ? 1 : 0]
    }

    private func step(_ input: inout FuzzInput, isWriting: Bool) throws(FuzzFailure) {
        let choice = input.byte()
        if choice < 0x60 {
            try act(choice, &input)
        } else {
            try receive(FrameScript.next(&input, isRequest: role == .server))
        }
        if isWriting || choice & 16 != 0 { try write(choice & 8 == 0 ? 16_384 : 1) }
    }

    // MARK: what this side does

    private func act(_ choice: UInt8, _ input: inout FuzzInput) throws(FuzzFailure) {
        let operand = input.byte()
        let stream = Int32(operand & 15) * 2 + 1
        switch choice & 15 {
        case 0: try answer(stream, operand >> 4)
        case 1: append(stream, Int(operand >> 4) * 1000, ends: false)
        case 2: append(stream, Int(operand >> 4), ends: true)
        case 3: session[].reset(stream, code: UInt32(operand >> 4))
        case 4: consume(stream)
        case 5:
            session[].detach(stream)
            streams[stream]?.outlet = nil
        case 6: session[].ping()
        case 7: if role == .server { session[].shutdownNotice() }
        case 8: session[].goAway(code: HTTP2Code.noError)
        case 9: if operand & 15 == 0 { session[].terminate(code: UInt32(operand >> 4)) }
        case 10: try write(Int(operand) * 64)
        case 11: try request(operand)
        default: append(stream, Int(operand >> 4) * 16, ends: operand & 16 != 0)
        }
    }

    private func outlet(_ stream: Int32, _ count: Int, ends: Bool, trailers: Bool) -> Ref<
        StreamOutlet
    > {
        let outlet = Ref.allocate(
            StreamOutlet(pool: buffers, owner: Token(.exchange, slot: UInt32(outlets.count))))
        outlets.append(outlet)
        fill(outlet, count)
        if trailers {
            outlet[].trailers = head(status: 0, fields: [("x-sum", "1"), ("x-b", "")])
        }
        outlet[].hasEnded = ends
        return outlet
    }

    private func fill(_ outlet: Ref<StreamOutlet>, _ count: Int) {
        [UInt8](repeating: 0x62, count: count).withBytes { outlet[].queue.append($0) }
    }

    private func destroy(_ outlet: Ref<StreamOutlet>) {
        if let trailers = outlet[].trailers { heads[].give(trailers) }
        outlet.destroy()
    }

    private func head(status: UInt16, fields: [(String, String)]) -> Ref<Head> {
        let head = heads[].take()
        head[].status = status
        for (name, value) in fields {
            name.withBytes { name in
                value.withBytes { _ = head[].appendField(name, $0, known: FieldName(name)) }
            }
        }
        return head
    }

    /// Answers a request; `way` chooses with what.
    private func answer(_ stream: Int32, _ way: UInt8) throws(FuzzFailure) {
        guard role == .server, let known = streams[stream], !known.isAnswered else { return }
        streams[stream]?.isAnswered = true
        if way & 8 != 0 {
            let early = head(status: 103, fields: [("link", "</a>")])
            session[].submitInformational(stream, early[])
            heads[].give(early)
        }
        let final = head(status: 200, fields: [("x-a", "b"), ("set-cookie", "c")])
        defer { heads[].give(final) }
        var content: Ref<StreamOutlet>?
        switch way & 7 {
        case 0: final[].framing = .none
        case 1: content = outlet(stream, 5, ends: true, trailers: false)
        case 2: content = outlet(stream, 5, ends: true, trailers: true)
        case 3: content = outlet(stream, 70_000, ends: true, trailers: true)
        case 4: content = outlet(stream, 0, ends: true, trailers: true)
        case 5: content = outlet(stream, 0, ends: false, trailers: false)
        case 6: content = outlet(stream, 200_000, ends: false, trailers: false)
        default:
            content = outlet(stream, 0, ends: true, trailers: false)
            final[].framing = .length(0)
        }
        let isTaken = session[].submitResponse(stream, final[], outlet: content)
        if isTaken { streams[stream]?.outlet = content }
    }

    private func request(_ way: UInt8) throws(FuzzFailure) {
        guard role == .client else { return }
        let capacity = session[].streamCapacity
        try require(capacity >= 0, "capacity \(capacity)")
        let head = head(status: 0, fields: [("x-a", "b"), ("cookie", "c")])
        defer { heads[].give(head) }
        let method = ["GET", "HEAD", "POST", "CONNECT"][Int(way & 3)]
        head[].methodText = method.withBytes { head[].append($0) }
        head[].method = method.withBytes { Edge.Method($0) }
        head[].target = "/one".withBytes { head[].append($0) }
        head[].upgrade = "websocket".withBytes { head[].append($0) }
        head[].acceptsTrailers = way & 64 != 0
        var content: Ref<StreamOutlet>?
        if way & 4 != 0 {
            content = outlet(
                0, Int(way >> 3 & 3) * 30_000, ends: way & 32 != 0, trailers: way & 128 != 0)
            head[].framing = .chunked
        }
        let stream = "a".withBytes {
            session[].submitRequest(head[], scheme: "http", authority: $0, outlet: content)
        }
        guard let stream else { return }
        try require(streams[stream] == nil && !closed.contains(stream), "\(stream) again")
        try require(streams.count < capacity, "a stream beyond the capacity")
        streams[stream] = Stream(outlet: content)
    }

    private func append(_ stream: Int32, _ count: Int, ends: Bool) {
        guard let outlet = streams[stream]?.outlet, !outlet[].hasEnded,
            outlet[].queue.count < Limits.highWater
        else { return }
        fill(outlet, count)
        outlet[].hasEnded = ends
        session[].resume(outlet)
    }

    private func consume(_ stream: Int32) {
        guard let count = streams[stream]?.unconsumed else { return }
        streams[stream]?.unconsumed = 0
        session[].consume(stream, count)
    }

    // MARK: bytes and events

    private func receive(_ bytes: [UInt8]) throws(FuzzFailure) {
        guard !hasFailed else { return }
        now = now + .milliseconds(1)
        do throws(HTTP2Failure) {
            try bytes.withBytes { (bytes) throws(HTTP2Failure) in
                try session[].receive(bytes, now: now)
            }
        } catch {
            hasFailed = true
        }
        // Content is borrowed from what was received, but these events do not look at it.
        try takeEvents()
    }

    private func write(_ limit: Int) throws(FuzzFailure) {
        do throws(HTTP2Failure) {
            _ = try session[].write(into: &output[], upTo: limit)
        } catch {
            hasFailed = true
        }
        try takeEvents()
        if !hasFailed { try checkFrames(output[].bytes) }
        output[].removeAll()
    }

    /// What is written are whole frames of a size that every peer takes.
    private func checkFrames(_ bytes: Bytes) throws(FuzzFailure) {
        var place = preface
        preface = 0
        while place < bytes.count {
            try require(place + 9 <= bytes.count, "a frame's header is cut")
            let count =
                Int(bytes[place]) << 16 | Int(bytes[place + 1]) << 8 | Int(bytes[place + 2])
            try require(place + 9 + count <= bytes.count, "a frame is cut")
            place += 9 + count
        }
    }

    private func takeEvents() throws(FuzzFailure) {
        while let event = session[].nextEvent() {
            switch event {
            case .head(let stream, _, let head, let endsStream):
                defer { heads[].give(head) }
                try headCame(stream, head, endsStream: endsStream)
            case .data(let stream, let owner, let bytes):
                try checkOwner(stream, owner)
                try require(streams[stream]?.hasEnded == false, "content after the end")
                streams[stream]?.unconsumed += bytes.count
                if reactions[Int(stream / 2 % 8)] & 0x80 == 0 { consume(stream) }
            case .end(let stream, let owner):
                try checkOwner(stream, owner)
                try ended(stream)
            case .trailers(let stream, let owner, let head):
                defer { heads[].give(head) }
                try checkOwner(stream, owner)
                try require(head[].status == 0, "trailers with a status")
                try ended(stream)
            case .closed(let stream, let owner, _): try streamClosed(stream, owner)
            case .drained(let stream, let owner):
                guard streams[stream]?.outlet?[].owner == owner else { continue }
                if reactions[Int(stream / 2 % 8)] & 0x40 != 0 { append(stream, 100, ends: true) }
            case .goAway, .settings, .pingAcknowledged: break
            }
        }
        guard !hasFailed else { return }
        try require(
            session[].openStreams == streams.count,
            "\(session[].openStreams) streams, told of \(streams.keys.sorted())")
        for (stream, known) in streams {
            guard let outlet = known.outlet else { continue }
            try require(outlet[].stream == stream, "\(stream) lost its outlet")
        }
    }

    private func checkOwner(_ stream: Int32, _ owner: Token) throws(FuzzFailure) {
        guard let known = streams[stream] else {
            throw FuzzFailure(what: "an event of \(stream), which is not open")
        }
        if let outlet = known.outlet {
            try require(outlet[].owner == owner, "an event for another owner")
        }
    }

    private func ended(_ stream: Int32) throws(FuzzFailure) {
        try require(streams[stream]?.hasEnded == false, "\(stream) ended twice")
        streams[stream]?.hasEnded = true
    }

    private func streamClosed(_ stream: Int32, _ owner: Token) throws(FuzzFailure) {
        guard let known = streams.removeValue(forKey: stream) else {
            throw FuzzFailure(what: "\(stream) closed, but was not open")
        }
        closed.insert(stream)
        guard let outlet = known.outlet else { return }
        try require(outlet[].stream == 0, "a closed stream has an outlet")
    }

    private func headCame(
        _ stream: Int32, _ head: Ref<Head>, endsStream: Bool
    ) throws(FuzzFailure) {
        try require(head[].version == .http2, "version")
        try require(head[].text.count <= 2 * Limits.headBytes, "\(head[].text.count) octets")
        if role == .client {
            try require(streams[stream]?.hasEnded == false, "a response of no stream")
            try require((100...999).contains(head[].status), "status \(head[].status)")
        } else {
            try require(streams[stream] == nil && !closed.contains(stream), "\(stream) again")
            streams[stream] = Stream()
            try checkRequest(head)
        }
        if endsStream { streams[stream]?.hasEnded = true }
        guard role == .server else { return }
        let reaction = reactions[Int(stream / 2 % 8)]
        switch reaction >> 4 & 3 {
        case 0, 1: try answer(stream, reaction)
        case 2: break
        default: session[].reset(stream, code: HTTP2Code.cancel)
        }
    }

    /// A request that is not refused can be written by every codec.
    private func checkRequest(_ head: Ref<Head>) throws(FuzzFailure) {
        guard head[].status == 0 else {
            return try require(
                [414, 417, 431, 501].contains(head[].status), "status \(head[].status)")
        }
        let target = head[].bytes(head[].target)
        try require(
            target.count > 0 && (target[0] == UInt8(ascii: "/") || target.equals("*")), "target")
        try require(head[].methodText.count > 0 && head[].authority.count > 0, "empty parts")
        for range in [head[].target, head[].authority, head[].methodText] {
            try require(isClean(head[].bytes(range), allowsBlanks: false), "control bytes")
        }
        for index in 0..<head[].fields.count {
            let line = head[].fields[index]
            try require(isClean(head[].value(line), allowsBlanks: true), "a value with controls")
            try require(
                line.nameCount > 0 && isClean(head[].name(line), allowsBlanks: false), "a name")
        }
    }

    private func isClean(_ bytes: Bytes, allowsBlanks: Bool) -> Bool {
        bytes.array.allSatisfy {
            $0 > 0x20 && $0 != 0x7F || allowsBlanks && ($0 == 0x20 || $0 == 0x09)
        }
    }
}
