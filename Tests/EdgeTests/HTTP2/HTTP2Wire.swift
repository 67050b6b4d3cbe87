// A client and a server session wired back to back in memory.

@testable import Edge

/// What one side was told, copied out of the events.
struct Told: Equatable {
    enum What: Equatable {
        case head(status: UInt16, fields: [String], endsStream: Bool)
        case end
        case trailers([String])
        case closed(UInt32)
        case drained
        case goAway(Int32, UInt32)
        case settings, pingAcknowledged
    }
    var stream: Int32 = 0
    var owner = Token.none
    var what: What
}

/// One session with all that it told, and what its test wants done on the spot.
final class Side {
    let session: Ref<HTTP2Session>
    var told: [Told] = []
    var content: [Int32: [UInt8]] = [:]
    /// Streams whose content is not consumed.
    var stalled: Set<Int32> = []
    var failure: HTTP2Failure?
    /// Called with each head other than of trailers, before it is given back.
    var onHead: (Int32, Ref<Head>) -> Void = { _, _ in }

    init(_ session: consuming HTTP2Session) { self.session = .allocate(session) }

    func told(_ stream: Int32) -> [Told.What] { told.filter { $0.stream == stream }.map(\.what) }

    func closeCode(_ stream: Int32) -> UInt32? {
        for case .closed(let code) in told(stream) { return code }
        return nil
    }
}

final class HTTP2Wire {
    let pool = Ref.allocate(BufferPool())
    let heads: Ref<HeadPool>
    let memory = Ref.allocate(HTTP2Memory())
    let client: Side
    let server: Side
    private var outlets: [Ref<StreamOutlet>] = []

    init(client: HTTP2Settings = .init(), server: HTTP2Settings = .init()) {
        heads = .allocate(HeadPool(pool: pool))
        self.client = Side(Self.session(.client, client, pool, heads, memory))
        self.server = Side(Self.session(.server, server, pool, heads, memory))
    }

    private static func session(
        _ role: HTTP2Role, _ settings: HTTP2Settings, _ pool: Ref<BufferPool>,
        _ heads: Ref<HeadPool>, _ memory: Ref<HTTP2Memory>
    ) -> HTTP2Session {
        let made = HTTP2Session(
            role: role, settings: settings, pool: pool, heads: heads, memory: memory)
        guard let made else { preconditionFailure("no memory for a test") }
        return made
    }

    /// Ends everything; returns octets of buffers and of nghttp2, and heads, that are still held.
    func tearDown() -> [Int] {
        client.session.destroy()
        server.session.destroy()
        for outlet in outlets { outlet.destroy() }
        let left = [pool[].bytesInUse, memory[].bytesInUse, heads[].inUse]
        heads.destroy()
        memory.destroy()
        pool.destroy()
        return left
    }

    func outlet(_ owner: UInt64 = 0, _ body: [UInt8] = [], ended: Bool = true) -> Ref<StreamOutlet>
    {
        let outlet = Ref.allocate(StreamOutlet(pool: pool, owner: Token(raw: owner)))
        body.withBytes { outlet[].queue.append($0) }
        outlet[].hasEnded = ended
        outlets.append(outlet)
        return outlet
    }

    func append(_ body: [UInt8], to outlet: Ref<StreamOutlet>, on side: Side, ends: Bool = false) {
        body.withBytes { outlet[].queue.append($0) }
        outlet[].hasEnded = ends
        side.session[].resume(outlet)
    }

    func head(
        _ path: String = "/", method: String = "GET", status: UInt16 = 0,
        framing: Framing = .none, fields: [(String, String)] = []
    ) -> Ref<Head> {
        let head = heads[].take()
        head[].status = status
        head[].framing = framing
        head[].methodText = method.withBytes { head[].append($0) }
        head[].method = method.withBytes { Method($0) }
        head[].target = path.withBytes { head[].append($0) }
        for (name, value) in fields {
            name.withBytes { name in
                value.withBytes { _ = head[].appendField(name, $0, known: FieldName(name)) }
            }
        }
        return head
    }

    func request(_ head: Ref<Head>, _ outlet: Ref<StreamOutlet>?) -> Int32? {
        defer { heads[].give(head) }
        return "id-42.apps".withBytes {
            client.session[].submitRequest(head[], scheme: "https", authority: $0, outlet: outlet)
        }
    }

    func respond(_ stream: Int32, _ head: Ref<Head>, _ outlet: Ref<StreamOutlet>?) -> Bool {
        defer { heads[].give(head) }
        return server.session[].submitResponse(stream, head[], outlet: outlet)
    }

    /// Carries bytes both ways until nobody has any; `change` may alter them.
    func pump(limit: Int = 16 * 1024, change: (inout [UInt8]) -> Void = { _ in }) {
        for _ in 0..<10_000 {
            let sent = carry(client, server, limit, change)
            let answered = carry(server, client, limit, change)
            if !sent && !answered { return }
        }
    }

    func carry(
        _ from: Side, _ to: Side, _ limit: Int, _ change: (inout [UInt8]) -> Void = { _ in }
    ) -> Bool {
        var queue = ByteQueue(pool: pool)
        do throws(HTTP2Failure) { _ = try from.session[].write(into: &queue, upTo: limit) } catch {
            from.failure = error
        }
        drain(from)
        var bytes = queue.bytes.array
        guard !bytes.isEmpty else { return false }
        change(&bytes)
        feed(bytes, to)
        return true
    }

    func feed(_ bytes: [UInt8], _ side: Side) {
        bytes.withBytes { input in
            do throws(HTTP2Failure) { try side.session[].receive(input, now: .zero) } catch {
                side.failure = error
            }
            drain(side)
        }
    }

    private func lines(_ head: Ref<Head>) -> [String] {
        (0..<head[].fields.count).map { index in
            let line = head[].fields[index]
            return head[].name(line).string + ": " + head[].value(line).string
        }
    }

    private func drain(_ side: Side) {
        while let event = side.session[].nextEvent() {
            switch event {
            case .head(let stream, let owner, let head, let endsStream):
                side.told.append(
                    Told(
                        stream: stream, owner: owner,
                        what: .head(
                            status: head[].status, fields: lines(head), endsStream: endsStream)))
                side.onHead(stream, head)
                heads[].give(head)
            case .data(let stream, let owner, let bytes):
                _ = owner
                side.content[stream, default: []] += bytes.array
                if !side.stalled.contains(stream) { side.session[].consume(stream, bytes.count) }
            case .end(let stream, let owner):
                side.told.append(Told(stream: stream, owner: owner, what: .end))
            case .trailers(let stream, let owner, let head):
                side.told.append(
                    Told(stream: stream, owner: owner, what: .trailers(lines(head))))
                heads[].give(head)
            case .closed(let stream, let owner, let code):
                side.told.append(Told(stream: stream, owner: owner, what: .closed(code)))
            case .drained(let stream, let owner):
                side.told.append(Told(stream: stream, owner: owner, what: .drained))
            case .goAway(let last, let code):
                side.told.append(Told(what: .goAway(last, code)))
            case .settings: side.told.append(Told(what: .settings))
            case .pingAcknowledged: side.told.append(Told(what: .pingAcknowledged))
            }
        }
    }
}
