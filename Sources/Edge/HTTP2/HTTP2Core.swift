// The pinned half of an HTTP/2 session: what nghttp2's callbacks fill.

import CNGHTTP2

/// State at the address that nghttp2 hands to callbacks.
///
/// Callbacks only record: an event, a head under way, a count. They never call upwards, and of
/// nghttp2 only what may be called from callbacks (stream user data, submissions).
@safe
struct HTTP2Core: ~Copyable {
    // A pointer goes first: where the first member of a struct that cannot be copied is smaller,
    // Swift 6.3 crashes under the thread sanitizer.
    private(set) var heads: Ref<HeadPool>
    private(set) var memory: Ref<HTTP2Memory>
    let role: HTTP2Role
    var events: HTTP2EventQueue
    /// The field section under way and its stream; sections never interleave on a connection.
    var head: Ref<Head>?
    var headStream: Int32 = 0
    var reader = HTTP2HeadReader(.request)
    /// Client: requests submitted and not closed; server: requests delivered and not closed.
    private(set) var openStreams = 0
    /// Streams that live on without an outlet, their exchange being over: until RST_STREAM is
    /// written, for the most part.
    private(set) var detached: [Int32] = []
    /// Content delivered by the `receive` under way.
    var arrived = 0
    /// Where the peer's frames begin, and what they come to.
    var frames: HTTP2FrameReader
    var meter = FrameMeter()
    /// Server: which of the client's streams have closed.
    var clientFrames = HTTP2ClientFrames()
    /// Server: the last stream that the client reset in this read, or 0.
    var cancelled: Int32 = 0
    /// The peer said GOAWAY.
    var hasGoneAway = false
    /// This side said GOAWAY: streams that were opened too late for it are not known here.
    var hasSaidGoAway = false
    /// GOAWAY was submitted because of a flood.
    var hasEndedFlood = false
    /// nghttp2 reported an error after which it must not be called.
    var hasFailed = false
    /// Where `write` puts frames, while it runs.
    var output: UnsafeMutablePointer<ByteQueue>?
    var outputLimit = 0
    /// The outlet of the DATA frame under way.
    var sending: Ref<StreamOutlet>?

    init(role: HTTP2Role, heads: Ref<HeadPool>, memory: Ref<HTTP2Memory>) {
        self.role = role
        frames = HTTP2FrameReader(role)
        self.heads = heads
        self.memory = memory
        events = HTTP2EventQueue(memory: memory)
        head = nil
        unsafe output = nil
        sending = nil
    }

    /// Nothing is under way that belongs to this worker.
    var isAtRest: Bool { openStreams == 0 && events.isEmpty && head == nil }

    /// Goes on in another worker.
    mutating func move(heads: Ref<HeadPool>, memory: Ref<HTTP2Memory>) {
        precondition(isAtRest)
        self.heads = heads
        self.memory = memory
        events.move(to: memory)
    }

    /// Gives back the head under way and those in events that nobody took.
    mutating func abandon() {
        dropHead()
        while let event = events.next() {
            switch event {
            case .head(_, _, let head, _), .trailers(_, _, let head): heads[].give(head)
            default: break
            }
        }
    }

    @inline(__always)
    mutating func dropHead() {
        guard let head else { return }
        heads[].give(head)
        self.head = nil
    }

    @inline(__always)
    mutating func streamOpened() {
        openStreams &+= 1
        if role == .server {
            memory[].serverStreams.opened &+= 1
        } else {
            memory[].clientStreams.opened &+= 1
        }
    }

    @inline(__always)
    mutating func streamsClosed(_ count: Int) {
        openStreams &-= count
        if role == .server {
            memory[].serverStreams.closed &+= UInt64(truncatingIfNeeded: count)
        } else {
            memory[].clientStreams.closed &+= UInt64(truncatingIfNeeded: count)
        }
    }

    /// The session ends, and its streams with it.
    mutating func endStreams() {
        streamsClosed(openStreams)
        detached = []
    }

    /// A stream that lives has lost its outlet, or never had one.
    mutating func noteDetached(_ stream: Int32) {
        if !detached.contains(stream) { detached.append(stream) }
    }

    mutating func forgetDetached(_ stream: Int32) {
        guard let place = detached.firstIndex(of: stream) else { return }
        detached.swapAt(place, detached.count - 1)
        detached.removeLast()
    }

    /// An outlet's stream is gone, or does not need it any more.
    @inline(__always)
    mutating func forget(_ outlet: Ref<StreamOutlet>) {
        outlet[].stream = 0
        outlet[].isDeferred = false
    }

    mutating func beginHead(_ stream: Int32, _ section: HTTP2HeadReader.Section) {
        dropHead()
        head = heads[].take()
        headStream = stream
        reader = HTTP2HeadReader(section)
    }

    /// False: reset the stream and hide the rest of its section.
    @inline(__always)
    mutating func addLine(_ name: Bytes, _ value: Bytes, stream: Int32) -> Bool {
        guard let head, headStream == stream else { return true }
        return reader.add(name, value, to: &head[])
    }

    /// Ends the section under way; returns the code to reset its stream with.
    mutating func finishHead(_ stream: Int32, endsStream: Bool, owner: Token) -> UInt32? {
        guard let head, headStream == stream else { return nil }
        if let code = reader.finish(&head[], endsStream: endsStream) {
            dropHead()
            return code
        }
        self.head = nil
        let event: HTTP2Event
        if reader.section == .trailers {
            event = .trailers(stream: stream, owner: owner, head: head)
        } else {
            event = .head(stream: stream, owner: owner, head: head, endsStream: endsStream)
        }
        if !events.append(event) { heads[].give(head) }
        return nil
    }
}

/// nghttp2's stream user data: nothing, "its head was delivered", or the outlet's address.
enum StreamMark {
    /// Owned or seen by somebody, without an outlet; below any address that an outlet can have.
    static var delivered: UnsafeMutableRawPointer? { unsafe UnsafeMutableRawPointer(bitPattern: 1) }

    @inline(__always)
    static func outlet(_ data: UnsafeMutableRawPointer?) -> Ref<StreamOutlet>? {
        guard let data = unsafe data, UInt(bitPattern: data) > 1 else { return nil }
        return unsafe Ref(data.assumingMemoryBound(to: StreamOutlet.self))
    }

    @inline(__always)
    static func owner(_ data: UnsafeMutableRawPointer?) -> Token {
        unsafe outlet(data)?[].owner ?? .none
    }
}
