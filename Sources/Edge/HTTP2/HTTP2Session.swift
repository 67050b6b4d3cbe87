// One end of an HTTP/2 connection (RFC 9113), without I/O.

import CNGHTTP2

/// An HTTP/2 connection as a state machine over nghttp2: bytes in, events out, frames out.
///
///     receive(bytes) ─► nextEvent()*          submit… / resume / consume / reset / goAway
///                                                          │
///                                              write(into: queue) ─► nextEvent()*
///
/// Events queue up inside `receive` and `write` and are drained by the caller after each. Content
/// is taken off the connection's window at once, so that one stalled stream never holds up the
/// others; the stream's window opens only with `consume`. Ending a session frees everything that it
/// holds and reports nothing; outlets still attached then are their owners' to forget.
@safe
struct HTTP2Session: ~Copyable {
    private let core: Ref<HTTP2Core>
    private let handle: OpaquePointer
    private static var resetType: UInt8 { 3 }

    /// A session with SETTINGS and the connection's window update ready to be written; nil when
    /// memory is short.
    init?(
        role: HTTP2Role, settings: HTTP2Settings, pool: Ref<BufferPool>, heads: Ref<HeadPool>,
        memory: Ref<HTTP2Memory>
    ) {
        core = .allocate(HTTP2Core(role: role, heads: heads, memory: memory))
        var allocator = unsafe makeHTTP2Allocator(core)
        var made: OpaquePointer?
        let user = unsafe UnsafeMutableRawPointer(core.pointer)
        let callbacks = unsafe memory[].callbacks
        let options = unsafe memory[].options
        let code =
            switch role {
            case .server:
                unsafe nghttp2_session_server_new3(&made, callbacks, user, options, &allocator)
            case .client:
                unsafe nghttp2_session_client_new3(&made, callbacks, user, options, &allocator)
            }
        guard code == 0, let handle = unsafe made else {
            memory[].recover()
            core.destroy()
            return nil
        }
        unsafe self.handle = handle
        submit(settings, role)
    }

    deinit {
        end()
        core[].abandon()
        core.destroy()
    }

    /// At rest: without streams, with every event taken, and with nothing half read of a head.
    var mayMove: Bool { !core[].hasFailed && core[].isAtRest }

    /// Goes on in another worker, whose thread calls this; only where it `mayMove`.
    func move(heads: Ref<HeadPool>, memory: Ref<HTTP2Memory>) {
        core[].move(heads: heads, memory: memory)
    }

    private func submit(_ settings: HTTP2Settings, _ role: HTTP2Role) {
        let isServer = role == .server
        let entries: [5 of nghttp2_settings_entry] = [
            entry(NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, min(settings.streamWindow, 0x7FFF_FFFF)),
            entry(NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, settings.headListBytes),
            // RFC 9218 §2.1: priorities of RFC 7540 are neither sent nor heeded.
            entry(NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1),
            isServer
                ? entry(NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, settings.maxStreams)
                : entry(NGHTTP2_SETTINGS_ENABLE_PUSH, 0),
            entry(NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1),
        ]
        let count = isServer && settings.enableConnectProtocol ? 5 : 4
        let code = unsafe entries.span.withUnsafeBufferPointer { buffer in
            unsafe nghttp2_submit_settings(handle, noFlags, buffer.baseAddress, count)
        }
        guard check(code) == 0 else { return }
        let window = Int32(min(settings.connectionWindow, 0x7FFF_FFFF))
        unsafe check(nghttp2_session_set_local_window_size(handle, noFlags, 0, window))
    }

    /// What a call of nghttp2 came to; the session has ended if that is a fatal error.
    ///
    /// A block that was missing is one, even where a callback or nghttp2 did without.
    @inline(__always)
    @discardableResult
    private func check(_ code: Int32) -> Int32 {
        let code = core[].memory[].isExhausted ? NGHTTP2_ERR_NOMEM.rawValue : code
        if code < 0, nghttp2_is_fatal(code) != 0 { end() }
        return code
    }

    /// Frees what nghttp2 holds, which must not be called any more.
    ///
    /// After a fatal error that is at once: until then its memory may be withholding blocks.
    private func end() {
        guard !core[].hasFailed else { return }
        core[].hasFailed = true
        unsafe nghttp2_session_del(handle)
        core[].endStreams()
        core[].memory[].recover()
    }

    private func entry(_ name: nghttp2_settings_id, _ value: UInt32) -> nghttp2_settings_entry {
        nghttp2_settings_entry(settings_id: Int32(name.rawValue), value: value)
    }

    // MARK: Bytes and events

    /// Takes all of `input`; what it meant is in `nextEvent`, whose content lies in `input`.
    ///
    /// Throws when the connection must be closed without another word. Lesser errors of the peer
    /// become RST_STREAM or GOAWAY in the next `write`; after the latter `isFinished` turns true.
    /// What a flood (`oddities.flood`) sends from there on is not even looked at.
    mutating func receive(_ input: Bytes, now: Instant) throws(HTTP2Failure) {
        guard !core[].hasFailed, !input.isEmpty else { return }
        core[].meter.budget.settle(now)
        if endsFlood() { return }
        core[].arrived = 0
        core[].cancelled = 0
        try settle(unsafe receiveFrames(handle, core, input))
        core[].meter.endRead(underWay: core[].frames.isWithinFrame)
        let arrived = core[].arrived
        if arrived > 0 { unsafe check(nghttp2_session_consume_connection(handle, arrived)) }
        _ = endsFlood()
    }

    /// Says goodbye to a peer that has used up its budget of oddities; true if it has.
    @inline(__always)
    private mutating func endsFlood() -> Bool {
        guard core[].meter.budget.flood != nil else { return false }
        if !core[].hasEndedFlood {
            core[].hasEndedFlood = true
            terminate(code: HTTP2Code.enhanceYourCalm)
        }
        return true
    }

    /// The oddities of this connection, and whether they have become a flood.
    var oddities: OddityBudget {
        get { core[].meter.budget }
        nonmutating _modify { yield &core[].meter.budget }
    }

    /// The peer owes the rest of its preface, of a frame or of a head.
    var awaitsRest: Bool { core[].meter.awaitsRest || core[].frames.awaitsRest }

    /// Frames and heads of the peer that have begun: whether another one is awaited than before.
    var begunFrames: UInt64 {
        let isWithinNext = core[].frames.isWithinHeader && !core[].meter.isWithinHead
        return core[].meter.begun &+ (isWithinNext ? 1 : 0)
    }

    /// Throws what ended the session, if anything did.
    @inline(__always)
    private func settle(_ outcome: Int) throws(HTTP2Failure) {
        let code = check(Int32(truncatingIfNeeded: outcome))
        guard code < 0 else { return }
        end()
        if code == NGHTTP2_ERR_FLOODED.rawValue {
            core[].meter.budget.note(.unreadAcknowledgements)
        }
        throw HTTP2Failure(code: code)
    }

    /// The oldest event not yet taken; nil when there is none.
    mutating func nextEvent() -> HTTP2Event? {
        guard let event = nextOfLivingStream() else { return nil }
        // A request's content may be queued behind its head, before an outlet was attached.
        switch event {
        case .data(let stream, .none, let bytes):
            return .data(stream: stream, owner: owner(stream), bytes: bytes)
        case .end(let stream, .none): return .end(stream: stream, owner: owner(stream))
        case .trailers(let stream, .none, let head):
            return .trailers(stream: stream, owner: owner(stream), head: head)
        default: return event
        }
    }

    /// Leaves out the heads of streams that the client has reset in the same read (CVE-2023-44487):
    /// nobody has begun them, so nobody needs to hear of their end either.
    @inline(__always)
    private func nextOfLivingStream() -> HTTP2Event? {
        while let event = core[].events.next() {
            guard core[].cancelled != 0, !core[].hasFailed,
                case .head(let stream, _, let head, _) = event,
                unsafe nghttp2_session_get_stream_user_data(handle, stream) == nil
            else { return event }
            core[].heads[].give(head)
        }
        return nil
    }

    private func owner(_ stream: Int32) -> Token {
        guard !core[].hasFailed else { return .none }
        return unsafe StreamMark.owner(nghttp2_session_get_stream_user_data(handle, stream))
    }

    /// Appends frames until `out` holds `limit` octets or nothing can be written now.
    ///
    /// True when only the limit stopped it: frames that wait for a window, or for the peer's limit
    /// of streams, do not count.
    ///
    /// The last frame may exceed the limit. Drain events afterwards: streams may have closed.
    mutating func write(
        into out: inout ByteQueue, upTo limit: Int
    ) throws(HTTP2Failure) -> Bool {
        guard !core[].hasFailed else { return false }
        let most = min(limit, Limits.http2WriteBytes)
        var failure = 0
        unsafe withUnsafeMutablePointer(to: &out) { place in
            unsafe core[].output = place
            core[].outputLimit = most
            while unsafe place.pointee.count < most {
                var frame: UnsafePointer<UInt8>?
                let count = unsafe nghttp2_session_mem_send(handle, &frame)
                guard count > 0, let frame = unsafe frame else {
                    failure = min(count, 0)
                    break
                }
                unsafe place.pointee.append(Bytes(frame, count: count))
                // The fourth octet is the frame's type (RFC 9113 §4.1).
                if unsafe count > 12 && frame[3] == HTTP2Session.resetType {
                    // The code's last octet; none that nghttp2 chooses is above 255.
                    unsafe core[].meter.sentReset(code: UInt32(frame[12]))
                }
            }
            unsafe core[].output = nil
        }
        try settle(failure)
        let isFlood = endsFlood()
        return (out.count >= most || isFlood) && wantsWrite
    }

    /// The session has ended by a failure, be it the peer's or for want of memory.
    var hasFailed: Bool { core[].hasFailed }

    /// Frames wait for `write`.
    var wantsWrite: Bool {
        unsafe !core[].hasFailed && nghttp2_session_want_write(handle) != 0
    }

    /// Nothing more is to be read or written: close the connection.
    var isFinished: Bool {
        unsafe core[].hasFailed
            || nghttp2_session_want_read(handle) == 0 && nghttp2_session_want_write(handle) == 0
    }

    /// The peer has neither said that it will end nor lost every claim to be heard.
    var peerMayStillSend: Bool { !core[].hasGoneAway && !core[].hasEndedFlood }

    // MARK: Streams

    /// Requests under way: on a client submitted, on a server delivered, and not yet `.closed`.
    var openStreams: Int { core[].openStreams }

    /// Sets where the stream's bytes come from and whose name its events carry.
    ///
    /// False when the stream is gone: its `.closed`, without owner, is among the events to come.
    @discardableResult
    mutating func attach(_ stream: Int32, outlet: Ref<StreamOutlet>) -> Bool {
        guard !core[].hasFailed else { return false }
        let data = unsafe UnsafeMutableRawPointer(outlet.pointer)
        guard unsafe nghttp2_session_set_stream_user_data(handle, stream, data) == 0 else {
            return false
        }
        outlet[].stream = stream
        return true
    }

    /// Forgets the stream's outlet; a body that has not ended then ends with RST_STREAM.
    ///
    /// `.closed` still follows, without owner.
    mutating func detach(_ stream: Int32) {
        guard !core[].hasFailed else { return }
        let mark = unsafe nghttp2_session_get_stream_user_data(handle, stream)
        if let outlet = unsafe StreamMark.outlet(mark) { core[].forget(outlet) }
        guard unsafe mark != nil || core[].role == .client else { return }
        let code = unsafe nghttp2_session_set_stream_user_data(
            handle, stream, StreamMark.delivered)
        if code == 0 { core[].noteDetached(stream) }
    }

    /// Whether nghttp2 knows a stream that an outlet waits on.
    ///
    /// A request that was submitted and not yet written has no stream there: it counts as one.
    func carries(_ outlet: Ref<StreamOutlet>) -> Bool {
        let stream = outlet[].stream
        guard stream != 0, !core[].hasFailed else { return false }
        let mark = unsafe nghttp2_session_get_stream_user_data(handle, stream)
        if unsafe mark == nil { return core[].role == .client }
        return unsafe StreamMark.outlet(mark) == outlet
    }

    /// Streams that have no outlet and that nghttp2 knows, or is about to.
    var detachedStreams: Int {
        core[].detached.count { stream in
            unsafe core[].role == .client || nghttp2_session_find_stream(handle, stream) != nil
        }
    }

    /// Tells that bytes were appended to an outlet or that it has ended.
    @inline(__always)
    mutating func resume(_ outlet: Ref<StreamOutlet>) {
        guard outlet[].isDeferred, outlet[].stream != 0, !core[].hasFailed else { return }
        outlet[].isDeferred = false
        unsafe check(nghttp2_session_resume_data(handle, outlet[].stream))
    }

    /// Ends a stream with RST_STREAM (RFC 9113 §6.4); `.closed` follows once it is written.
    mutating func reset(_ stream: Int32, code: UInt32) {
        guard !core[].hasFailed, stream > 0 else { return }
        core[].meter.willReset()
        unsafe check(nghttp2_submit_rst_stream(handle, noFlags, stream, code))
    }

    /// Opens the stream's window again by octets of content that went on.
    mutating func consume(_ stream: Int32, _ count: Int) {
        guard !core[].hasFailed, stream > 0, count > 0 else { return }
        unsafe check(nghttp2_session_consume_stream(handle, stream, count))
    }

    // MARK: Server

    /// Answers with a final response; false when the stream is gone.
    ///
    /// Without an outlet, or with one that has ended empty, the head ends the stream.
    mutating func submitResponse(
        _ stream: Int32, _ head: borrowing Head, outlet: Ref<StreamOutlet>?
    ) -> Bool {
        guard !core[].hasFailed else { return false }
        // nghttp2 would accept a response to a stream that no longer exists and drop it later.
        if let outlet {
            guard attach(stream, outlet: outlet) else { return false }
        } else if unsafe nghttp2_session_find_stream(handle, stream) == nil {
            return false
        }
        var list = HTTP2FieldList(core[].memory)
        list.addStatus(head.status)
        list.addLines(head)
        if head.framing == .none, let announced = head.announcedLength {
            // What GET would have brought (RFC 9110 §8.6).
            list.addContentLength(.length(announced))
        } else {
            list.addContentLength(head.framing)
        }
        guard hasContent(outlet) else {
            return unsafe check(
                nghttp2_submit_response(handle, stream, list.base, list.count, nil)) == 0
        }
        var source = unsafe outletSource
        return unsafe check(
            nghttp2_submit_response(handle, stream, list.base, list.count, &source)) == 0
    }

    /// Sends a 1xx response ahead of the final one.
    mutating func submitInformational(_ stream: Int32, _ head: borrowing Head) {
        guard !core[].hasFailed, stream > 0 else { return }
        var list = HTTP2FieldList(core[].memory)
        list.addStatus(head.status)
        list.addLines(head)
        unsafe check(
            nghttp2_submit_headers(handle, noFlags, stream, nil, list.base, list.count, nil))
    }

    private func hasContent(_ outlet: Ref<StreamOutlet>?) -> Bool {
        guard let outlet else { return false }
        return !outlet[].hasEnded || !outlet[].queue.isEmpty || outlet[].trailers != nil
    }

    // MARK: Client

    /// Streams that may be open at once: the peer's limit (100 before its SETTINGS), cut to the
    /// stream identifiers left; 0 once the peer or this side has said GOAWAY.
    var streamCapacity: Int {
        guard !core[].hasFailed, !core[].hasGoneAway,
            unsafe nghttp2_session_check_request_allowed(handle) != 0
        else { return 0 }
        let limit = unsafe nghttp2_session_get_remote_settings(
            handle, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS)
        let next = unsafe nghttp2_session_get_next_stream_id(handle)
        let left = (0x8000_0000 - Int(next)) / 2
        return min(Int(limit), core[].openStreams + max(left, 0))
    }

    /// The peer takes extended CONNECT (RFC 8441 §3).
    var allowsExtendedConnect: Bool {
        unsafe !core[].hasFailed
            && nghttp2_session_get_remote_settings(
                handle, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL) == 1
    }

    /// Opens a stream; nil when the connection takes none now (`streamCapacity`).
    ///
    /// Without an outlet the head ends the stream, and events carry no owner.
    mutating func submitRequest(
        _ head: borrowing Head, scheme: StaticString, authority: Bytes,
        outlet: Ref<StreamOutlet>?
    ) -> Int32? {
        guard core[].openStreams < streamCapacity else { return nil }
        var list = HTTP2FieldList(core[].memory)
        list.add(":method", head.bytes(head.methodText))
        list.add(":scheme", Bytes(scheme))
        list.add(":authority", authority)
        list.add(":path", head.bytes(head.target))
        if head.method == .connect { list.add(":protocol", head.bytes(head.upgrade)) }
        list.addLines(head)
        if head.acceptsTrailers { list.add("te", Bytes("trailers")) }
        list.addContentLength(head.framing)
        let mark =
            unsafe outlet.map { unsafe UnsafeMutableRawPointer($0.pointer) }
            ?? StreamMark.delivered
        var stream: Int32
        if hasContent(outlet) {
            var source = unsafe outletSource
            stream = unsafe nghttp2_submit_request(
                handle, nil, list.base, list.count, &source, mark)
        } else {
            stream = unsafe nghttp2_submit_request(handle, nil, list.base, list.count, nil, mark)
        }
        guard check(stream) > 0 else { return nil }
        core[].streamOpened()
        core[].meter.sentRequest()
        outlet?[].stream = stream
        return stream
    }

    // MARK: Connection

    /// Sends a PING; `.pingAcknowledged` tells that the peer lives (RFC 9113 §6.7).
    mutating func ping() {
        guard !core[].hasFailed else { return }
        core[].meter.sentPing()
        unsafe check(nghttp2_submit_ping(handle, noFlags, nil))
    }

    /// Server: announces a GOAWAY, so that requests in flight still count (RFC 9113 §6.8).
    mutating func shutdownNotice() {
        guard !core[].hasFailed else { return }
        unsafe check(nghttp2_submit_shutdown_notice(handle))
    }

    /// The peer was told that no further streams are taken, or that the connection ends.
    var hasSaidGoAway: Bool { core[].hasSaidGoAway }

    /// Takes no streams beyond those seen; those go on, and the session finishes after them.
    mutating func goAway(code: UInt32) {
        guard !core[].hasFailed else { return }
        core[].hasSaidGoAway = true
        let last = unsafe nghttp2_session_get_last_proc_stream_id(handle)
        unsafe check(nghttp2_submit_goaway(handle, noFlags, last, code, nil, 0))
    }

    /// Sends GOAWAY and gives up on every stream; the session is finished once it is written.
    mutating func terminate(code: UInt32) {
        guard !core[].hasFailed else { return }
        core[].hasSaidGoAway = true
        unsafe check(nghttp2_session_terminate_session(handle, code))
    }
}

private var noFlags: UInt8 { UInt8(NGHTTP2_FLAG_NONE.rawValue) }

/// Reads whatever outlet the stream's user data names at that time.
private var outletSource: nghttp2_data_provider {
    unsafe nghttp2_data_provider(
        source: nghttp2_data_source(ptr: nil), read_callback: onReadOutlet)
}
