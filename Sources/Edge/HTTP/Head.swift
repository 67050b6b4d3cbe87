// A message head (RFC 9110 §6.2) in neutral form: what every codec fills and every writer reads.

/// A run of a head's text, as offsets from its start.
struct TextRange: BitwiseCopyable {
    var start: UInt32 = 0
    var count: UInt32 = 0

    @inline(__always)
    init() {}

    @inline(__always)
    init(start: Int, count: Int) {
        self.start = UInt32(truncatingIfNeeded: start)
        self.count = UInt32(truncatingIfNeeded: count)
    }

    @inline(__always)
    var isEmpty: Bool { count == 0 }
}

/// One field line: where its name and its trimmed value stand in the head's text.
struct FieldLine: BitwiseCopyable {
    var nameStart: UInt32
    var valueStart: UInt32
    var valueCount: UInt32
    var nameCount: UInt16
    var name: FieldName
    /// Not to be forwarded; set by `Forwarding`, honoured by every writer.
    var isDropped: Bool

    @inline(__always)
    init(name: TextRange, value: TextRange, known: FieldName) {
        nameStart = name.start
        nameCount = UInt16(truncatingIfNeeded: name.count)
        valueStart = value.start
        valueCount = value.count
        self.name = known
        isDropped = false
    }
}

/// The field lines of one head, in place; `Limits.headFields` from a peer and a few of our own.
@safe
struct FieldTable: ~Copyable {
    static let ownFields = 12
    static var capacity: Int { Limits.headFields + ownFields }

    private let lines: UnsafeMutablePointer<FieldLine>
    private(set) var count = 0

    init() { unsafe lines = .allocate(capacity: Self.capacity) }

    deinit { unsafe lines.deallocate() }

    @inline(__always)
    subscript(index: Int) -> FieldLine {
        get {
            precondition(UInt(bitPattern: index) < UInt(bitPattern: count))
            return unsafe lines[index]
        }
        _modify {
            precondition(UInt(bitPattern: index) < UInt(bitPattern: count))
            yield unsafe &lines[index]
        }
    }

    /// Adds a line; false when the table is full.
    @inline(__always)
    mutating func append(_ line: FieldLine) -> Bool {
        guard count < Self.capacity else { return false }
        unsafe (lines + count).initialize(to: line)
        count &+= 1
        return true
    }

    @inline(__always)
    mutating func removeAll() { count = 0 }
}

/// How a message's content is delimited (RFC 9112 §6, RFC 9113 §8.1).
enum Framing: Equatable, BitwiseCopyable {
    /// No content: the message ends with its head.
    case none
    /// Exactly this many bytes.
    case length(UInt64)
    /// Length not known before the end: chunked on HTTP/1.1, END_STREAM on HTTP/2.
    case chunked
    /// Until the peer closes; responses of HTTP/1.0 kind only.
    case untilClose
}

/// A request's or response's head: its text, field lines, and what was derived from them.
///
/// All ranges are offsets into `text`. An HTTP/1 parser fills the table while reading a receive
/// buffer and then copies the text here once; HTTP/2 appends names and values as they are decoded.
struct Head: ~Copyable {
    var text: ByteQueue
    var fields: FieldTable
    /// Next in the free list while nobody uses this head.
    var next: Ref<Head>?

    var method = Method.other
    var version = Version.http11
    var framing = Framing.none
    /// The Content-Length that was received, also where no content follows (HEAD, 304).
    var announcedLength: UInt64?
    /// Response status code; 0 in a request.
    var status: UInt16 = 0
    /// The method's text, as received.
    var methodText = TextRange()
    /// Origin-form target: absolute path with its query, or `*` (RFC 9112 §3.2).
    var target = TextRange()
    /// The effective host with its optional port (RFC 9110 §7.2); empty only in HTTP/1.0.
    var authority = TextRange()
    /// Protocol names of an Upgrade field, or `:protocol` of an extended CONNECT (RFC 8441 §4).
    var upgrade = TextRange()
    /// The request came as `https` (`:scheme`, an absolute target, or the listener's TLS).
    var isSecure = false
    /// `Expect: 100-continue` was sent.
    var expectsContinue = false
    /// `TE: trailers` was sent.
    var acceptsTrailers = false
    /// The connection may carry another message after this one (RFC 9112 §9.3).
    var isPersistent = false
    /// How long an HTTP/1 server says that its connection may rest, in seconds; 0: not said.
    var keepAliveSeconds: UInt32 = 0
    /// Connection names more fields than the usual ones: `Forwarding` must look at them.
    var nominatesFields = false
    /// A Strict-Transport-Security line goes on; set by `Forwarding`.
    var statesTransportSecurity = false

    init(pool: Ref<BufferPool>) {
        text = ByteQueue(pool: pool)
        fields = FieldTable()
        next = nil
        announcedLength = nil
    }

    /// Ready for the next message, keeping the table's memory.
    mutating func reset() {
        text.removeAll()
        fields.removeAll()
        method = .other
        version = .http11
        framing = .none
        announcedLength = nil
        status = 0
        methodText = TextRange()
        target = TextRange()
        authority = TextRange()
        upgrade = TextRange()
        isSecure = false
        expectsContinue = false
        acceptsTrailers = false
        isPersistent = false
        keepAliveSeconds = 0
        nominatesFields = false
        statesTransportSecurity = false
    }

    @inline(__always)
    func bytes(_ range: TextRange) -> Bytes {
        text.bytes.slice(Int(range.start), count: Int(range.count))
    }

    @inline(__always)
    func name(_ line: FieldLine) -> Bytes {
        text.bytes.slice(Int(line.nameStart), count: Int(line.nameCount))
    }

    @inline(__always)
    func value(_ line: FieldLine) -> Bytes {
        text.bytes.slice(Int(line.valueStart), count: Int(line.valueCount))
    }

    /// The value of the first line with a known name; nil when there is none.
    func firstValue(_ name: FieldName) -> Bytes? {
        for index in 0..<fields.count where fields[index].name == name {
            return value(fields[index])
        }
        return nil
    }

    /// The content is of gRPC, by its Content-Type.
    var isGRPC: Bool {
        let mark = Bytes("application/grpc")
        for index in 0..<fields.count where name(fields[index]).count == 12 {
            guard name(fields[index]).equalsIgnoringCase("content-type") else { continue }
            return value(fields[index]).prefix(mark.count).equalsIgnoringCase(mark)
        }
        return false
    }

    /// Copies bytes to the end of the text and returns where they stand.
    @inline(__always)
    mutating func append(_ bytes: Bytes) -> TextRange {
        let start = text.count
        text.append(bytes)
        return TextRange(start: start, count: bytes.count)
    }

    /// Adds a field line of the proxy's own or one decoded by HTTP/2; false when the table is full.
    @inline(__always)
    mutating func appendField(_ name: Bytes, _ value: Bytes, known: FieldName) -> Bool {
        let nameRange = append(name)
        let valueRange = append(value)
        return fields.append(FieldLine(name: nameRange, value: valueRange, known: known))
    }
}

/// Heads that nobody uses, kept with their tables; owned by one worker.
struct HeadPool: ~Copyable {
    private let pool: Ref<BufferPool>
    private var free: Ref<Head>?
    private var freeCount = 0
    private(set) var inUse = 0

    init(pool: Ref<BufferPool>) {
        self.pool = pool
        free = nil
    }

    deinit {
        var next = free
        while let head = next {
            next = head[].next
            head.destroy()
        }
    }

    /// Lends an empty head.
    mutating func take() -> Ref<Head> {
        inUse += 1
        guard let head = free else { return .allocate(Head(pool: pool)) }
        free = head[].next
        freeCount -= 1
        head[].next = nil
        return head
    }

    /// Takes a head back and its text's memory with it.
    mutating func give(_ head: Ref<Head>) {
        inUse -= 1
        guard freeCount < Limits.pooledHeads else { return head.destroy() }
        head[].reset()
        head[].next = free
        free = head
        freeCount += 1
    }
}
