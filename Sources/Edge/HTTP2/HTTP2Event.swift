// What happened on an HTTP/2 connection, in order.

/// One thing that a session reports.
///
/// The usual lives of a stream: `head` (`data`)* (`end` | `trailers`) `closed`, where a head with
/// `endsStream` stands for the end too, and `closed` may come at any point after the head.
enum HTTP2Event: BitwiseCopyable {
    /// Server: a request; client: an informational or final response. The receiver owns `head`.
    ///
    /// A request that is not to be forwarded carries the status of its answer (414, 417, 431, 501).
    case head(stream: Int32, owner: Token, head: Ref<Head>, endsStream: Bool)
    /// Content, in the memory given to `receive`: drain events before reusing that.
    case data(stream: Int32, owner: Token, bytes: Bytes)
    /// The peer ended its side after content.
    case end(stream: Int32, owner: Token)
    /// The trailer section, which ends the peer's side. The receiver owns `head`.
    case trailers(stream: Int32, owner: Token, head: Ref<Head>)
    /// The stream is gone, after both ends or a reset by either side; its outlet was detached.
    case closed(stream: Int32, owner: Token, code: UInt32)
    /// The outlet's queue fell below `Limits.lowWater` or ran empty before its end.
    case drained(stream: Int32, owner: Token)
    /// The peer takes no stream above `lastStream`; those were closed with REFUSED_STREAM before.
    case goAway(lastStream: Int32, code: UInt32)
    /// The peer's SETTINGS arrived and apply.
    case settings
    case pingAcknowledged
}

/// Events in chunks from the worker's HTTP/2 memory; a queue that is empty holds none.
@safe
struct HTTP2EventQueue: ~Copyable {
    @safe
    private struct Chunk {
        var next: UnsafeMutablePointer<Chunk>?
        var read: Int
        var written: Int
    }

    private static let chunkBytes = 2048 - 16
    private static var capacity: Int {
        (chunkBytes - MemoryLayout<Chunk>.stride) / MemoryLayout<HTTP2Event>.stride
    }

    private var memory: Ref<HTTP2Memory>
    private var first: UnsafeMutablePointer<Chunk>?
    private var last: UnsafeMutablePointer<Chunk>?

    init(memory: Ref<HTTP2Memory>) {
        self.memory = memory
        unsafe first = nil
        unsafe last = nil
    }

    deinit {
        var next = unsafe first
        while let chunk = unsafe next {
            unsafe next = chunk.pointee.next
            unsafe memory[].give(UnsafeMutableRawPointer(chunk))
        }
    }

    @inline(__always)
    var isEmpty: Bool { unsafe first == nil }

    /// Takes its chunks from another worker's memory from now on.
    mutating func move(to memory: Ref<HTTP2Memory>) { self.memory = memory }

    @inline(__always)
    private static func place(
        _ chunk: UnsafeMutablePointer<Chunk>, _ index: Int
    ) -> UnsafeMutablePointer<HTTP2Event> {
        unsafe UnsafeMutableRawPointer(chunk + 1).assumingMemoryBound(to: HTTP2Event.self) + index
    }

    /// Adds an event at the end; false when it was dropped, after which the session ends: its
    /// memory `isExhausted`.
    @inline(__always)
    @discardableResult
    mutating func append(_ event: HTTP2Event) -> Bool {
        let chunk: UnsafeMutablePointer<Chunk>
        if let last = unsafe last, unsafe last.pointee.written < Self.capacity {
            unsafe chunk = last
        } else {
            guard let added = unsafe addChunk() else { return false }
            unsafe chunk = added
        }
        let index = unsafe chunk.pointee.written
        unsafe Self.place(chunk, index).initialize(to: event)
        unsafe chunk.pointee.written = index &+ 1
        return true
    }

    private mutating func addChunk() -> UnsafeMutablePointer<Chunk>? {
        guard let block = unsafe memory[].take(Self.chunkBytes) else { return nil }
        let chunk = unsafe block.bindMemory(to: Chunk.self, capacity: 1)
        unsafe chunk.initialize(to: Chunk(next: nil, read: 0, written: 0))
        if let last = unsafe last { unsafe last.pointee.next = chunk } else { unsafe first = chunk }
        unsafe last = chunk
        return unsafe chunk
    }

    /// Removes the oldest event; nil when there is none.
    @inline(__always)
    mutating func next() -> HTTP2Event? {
        guard let chunk = unsafe first else { return nil }
        let index = unsafe chunk.pointee.read
        let event = unsafe Self.place(chunk, index).pointee
        unsafe chunk.pointee.read = index &+ 1
        if unsafe index &+ 1 == chunk.pointee.written {
            // The last chunk is given back as soon as it runs empty: most queues are short.
            unsafe first = chunk.pointee.next
            if unsafe first == nil { unsafe last = nil }
            unsafe memory[].give(UnsafeMutableRawPointer(chunk))
        }
        return event
    }
}
