// What nghttp2 calls: each function records what happened in the session's core, and returns.

import CNGHTTP2

/// The callbacks of every session; immutable once made.
func makeHTTP2Callbacks() -> OpaquePointer {
    var made: OpaquePointer?
    guard unsafe nghttp2_session_callbacks_new(&made) == 0, let callbacks = unsafe made else {
        preconditionFailure("no memory for HTTP/2 callbacks")
    }
    unsafe nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, onBeginHeaders)
    unsafe nghttp2_session_callbacks_set_on_header_callback(callbacks, onHeader)
    unsafe nghttp2_session_callbacks_set_on_invalid_header_callback(callbacks, onInvalidHeader)
    unsafe nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, onFrame)
    unsafe nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, onInvalidFrame)
    unsafe nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, onData)
    unsafe nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, onClose)
    unsafe nghttp2_session_callbacks_set_send_data_callback(callbacks, onSendData)
    return unsafe callbacks
}

@inline(__always)
private func core(_ user: UnsafeMutableRawPointer?) -> Ref<HTTP2Core> {
    guard let user = unsafe user else { preconditionFailure("an HTTP/2 session without its core") }
    return unsafe Ref(user.assumingMemoryBound(to: HTTP2Core.self))
}

/// `nghttp2_frame` is a large union: only its header is read, in place.
@inline(__always)
private func header(_ frame: UnsafePointer<nghttp2_frame>?) -> nghttp2_frame_hd {
    guard let frame = unsafe frame else { preconditionFailure("an HTTP/2 event without frame") }
    return unsafe UnsafeRawPointer(frame).load(as: nghttp2_frame_hd.self)
}

@inline(__always)
private func category(_ frame: UnsafePointer<nghttp2_frame>?) -> nghttp2_headers_category {
    guard let frame = unsafe frame else { return NGHTTP2_HCAT_HEADERS }
    return unsafe UnsafeRawPointer(frame).assumingMemoryBound(to: nghttp2_headers.self).pointee.cat
}

private let frameData = UInt8(0)
private let frameHeaders = UInt8(1)
private let frameReset = UInt8(3)
private let frameSettings = UInt8(4)
private let framePing = UInt8(6)
private let frameGoAway = UInt8(7)
private let flagEndStream = UInt8(1)
private let flagAck = UInt8(1)

private func onBeginHeaders(
    _: OpaquePointer?, _ frame: UnsafePointer<nghttp2_frame>?, _ user: UnsafeMutableRawPointer?
) -> Int32 {
    let hd = unsafe header(frame)
    guard hd.type == frameHeaders else { return 0 }
    let core = unsafe core(user)
    let section: HTTP2HeadReader.Section
    switch unsafe category(frame) {
    case NGHTTP2_HCAT_REQUEST: section = .request
    case NGHTTP2_HCAT_RESPONSE: section = .response
    // After 1xx, the final response is of this kind too; `onHeader` sees its :status.
    default: section = .trailers
    }
    core[].beginHead(hd.stream_id, section)
    return 0
}

private func onHeader(
    _: OpaquePointer?, _ frame: UnsafePointer<nghttp2_frame>?,
    _ name: UnsafePointer<UInt8>?, _ nameCount: Int,
    _ value: UnsafePointer<UInt8>?, _ valueCount: Int, _: UInt8, _ user: UnsafeMutableRawPointer?
) -> Int32 {
    guard let name = unsafe name, let value = unsafe value else { return 0 }
    let core = unsafe core(user)
    let stream = unsafe header(frame).stream_id
    let nameBytes = unsafe Bytes(name, count: nameCount)
    if core[].reader.section == .trailers, nameBytes.equals(":status") {
        core[].beginHead(stream, .response)
    }
    let isWithin = unsafe core[].addLine(
        nameBytes, Bytes(value, count: valueCount), stream: stream)
    return isWithin ? 0 : NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE.rawValue
}

/// A line that nghttp2 would skip makes the message malformed (RFC 9113 §8.2.1).
private func onInvalidHeader(
    _: OpaquePointer?, _: UnsafePointer<nghttp2_frame>?, _: UnsafePointer<UInt8>?, _: Int,
    _: UnsafePointer<UInt8>?, _: Int, _: UInt8, _: UnsafeMutableRawPointer?
) -> Int32 {
    NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE.rawValue
}

private func onFrame(
    _ session: OpaquePointer?, _ frame: UnsafePointer<nghttp2_frame>?,
    _ user: UnsafeMutableRawPointer?
) -> Int32 {
    let hd = unsafe header(frame)
    let core = unsafe core(user)
    switch hd.type {
    case frameData:
        core[].meter.told()
        guard hd.flags & flagEndStream != 0 else { return 0 }
        let mark = unsafe nghttp2_session_get_stream_user_data(session, hd.stream_id)
        unsafe core[].events.append(.end(stream: hd.stream_id, owner: StreamMark.owner(mark)))
    case frameHeaders:
        core[].meter.told()
        unsafe finishHead(session, hd, core)
    case frameReset:
        // A stream that is still there has not been answered in full, whatever code the client
        // gives; a service may refuse as it likes.
        guard core[].role == .server else { return 0 }
        core[].cancelled = hd.stream_id
        if unsafe nghttp2_session_get_stream_user_data(session, hd.stream_id) != nil {
            core[].meter.budget.note(.cancelledStream)
        }
    case frameSettings where hd.flags & flagAck == 0:
        if core[].role == .server { unsafe checkWindows(session, core) }
        core[].events.append(.settings)
    case framePing where hd.flags & flagAck != 0: core[].events.append(.pingAcknowledged)
    case frameGoAway:
        guard let frame = unsafe frame else { return 0 }
        let notice = unsafe UnsafeRawPointer(frame).assumingMemoryBound(to: nghttp2_goaway.self)
        core[].hasGoneAway = true
        unsafe core[].events.append(
            .goAway(
                lastStream: notice.pointee.last_stream_id, code: notice.pointee.error_code))
    default: break
    }
    return 0
}

/// nghttp2 resets a stream whose window the client's SETTINGS made too large, but that is an error
/// of the connection (RFC 9113 §6.9.2).
///
/// These SETTINGS have queued their acknowledgement, and nothing else but such resets.
private func checkWindows(_ session: OpaquePointer?, _ core: Ref<HTTP2Core>) {
    let queued = unsafe nghttp2_session_get_outbound_queue_size(session)
    guard queued > core[].clientFrames.queuedBefore + 1 else { return }
    core[].hasSaidGoAway = true
    unsafe nghttp2_session_terminate_session(session, HTTP2Code.flowControlError)
}

private func finishHead(_ session: OpaquePointer?, _ hd: nghttp2_frame_hd, _ core: Ref<HTTP2Core>) {
    let stream = hd.stream_id
    let mark = unsafe nghttp2_session_get_stream_user_data(session, stream)
    // A stream that this side reset inside its head is gone, and so is the head.
    guard core[].head != nil, core[].headStream == stream else { return }
    let isRequest = core[].reader.section == .request
    let refusal = unsafe core[].finishHead(
        stream, endsStream: hd.flags & flagEndStream != 0, owner: StreamMark.owner(mark))
    if let code = refusal {
        unsafe nghttp2_submit_rst_stream(session, UInt8(NGHTTP2_FLAG_NONE.rawValue), stream, code)
    } else if isRequest, unsafe mark == nil {
        core[].streamOpened()
        unsafe nghttp2_session_set_stream_user_data(session, stream, StreamMark.delivered)
    }
}

/// nghttp2 resets the stream or ends the connection by itself.
private func onInvalidFrame(
    _: OpaquePointer?, _ frame: UnsafePointer<nghttp2_frame>?, _: Int32,
    _ user: UnsafeMutableRawPointer?
) -> Int32 {
    let core = unsafe core(user)
    let hd = unsafe header(frame)
    if hd.type == frameHeaders {
        core[].dropHead()
        // Refused before it was a stream: what its client sends on it is not its fault.
        core[].clientFrames.forgive(hd.stream_id)
    }
    return 0
}

private func onData(
    _ session: OpaquePointer?, _: UInt8, _ stream: Int32, _ data: UnsafePointer<UInt8>?,
    _ count: Int, _ user: UnsafeMutableRawPointer?
) -> Int32 {
    guard let data = unsafe data else { return 0 }
    let core = unsafe core(user)
    let mark = unsafe nghttp2_session_get_stream_user_data(session, stream)
    core[].arrived &+= count
    unsafe core[].events.append(
        .data(
            stream: stream, owner: StreamMark.owner(mark), bytes: Bytes(data, count: count)))
    return 0
}

private func onClose(
    _ session: OpaquePointer?, _ stream: Int32, _ code: UInt32, _ user: UnsafeMutableRawPointer?
) -> Int32 {
    let core = unsafe core(user)
    if core[].headStream == stream { core[].dropHead() }
    if core[].role == .server {
        // Whatever the code: an early answer is followed by a reset without error (RFC 9113 §8.1).
        if unsafe nghttp2_session_get_stream_remote_close(session, stream) == 0 {
            core[].clientFrames.forgive(stream)
        }
    }
    let mark = unsafe nghttp2_session_get_stream_user_data(session, stream)
    guard unsafe mark != nil else { return 0 }
    core[].streamsClosed(1)
    if code == HTTP2Code.noError, stream != core[].cancelled { core[].meter.budget.credit() }
    var owner = Token.none
    if let outlet = unsafe StreamMark.outlet(mark) {
        owner = outlet[].owner
        core[].forget(outlet)
    } else {
        core[].forgetDetached(stream)
    }
    core[].events.append(.closed(stream: stream, owner: owner, code: code))
    return 0
}

/// Decides the next DATA frame of a stream; its bytes follow in `onSendData`.
func onReadOutlet(
    _ session: OpaquePointer?, _ stream: Int32, _: UnsafeMutablePointer<UInt8>?, _ most: Int,
    _ flags: UnsafeMutablePointer<UInt32>?, _: UnsafeMutablePointer<nghttp2_data_source>?,
    _ user: UnsafeMutableRawPointer?
) -> Int {
    let core = unsafe core(user)
    let mark = unsafe nghttp2_session_get_stream_user_data(session, stream)
    // Detached before its end: what was promised will not come, so nghttp2 resets the stream.
    guard let flags = unsafe flags, let outlet = unsafe StreamMark.outlet(mark) else {
        return Int(NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE.rawValue)
    }
    let waiting = outlet[].count
    let hasEnded = outlet[].hasEnded
    if waiting == 0, !hasEnded {
        outlet[].isDeferred = true
        return Int(NGHTTP2_ERR_DEFERRED.rawValue)
    }
    let count = min(waiting, most)
    core[].sending = outlet
    var wanted = NGHTTP2_DATA_FLAG_NO_COPY.rawValue
    if hasEnded, count == waiting {
        wanted |= NGHTTP2_DATA_FLAG_EOF.rawValue
        if let trailers = outlet[].trailers {
            switch unsafe submitTrailers(session, stream, trailers, core[].memory) {
            case .some(true): wanted |= NGHTTP2_DATA_FLAG_NO_END_STREAM.rawValue
            case .some(false): break
            case .none: return Int(NGHTTP2_ERR_CALLBACK_FAILURE.rawValue)
            }
        }
    }
    unsafe flags.pointee = wanted
    return count
}

/// Queues the trailer section behind the last DATA frame; false when nothing is left of it, nil
/// when the session cannot go on.
private func submitTrailers(
    _ session: OpaquePointer?, _ stream: Int32, _ head: Ref<Head>, _ memory: Ref<HTTP2Memory>
) -> Bool? {
    var list = HTTP2FieldList(memory)
    list.addLines(head[])
    guard list.count > 0 else { return false }
    let code = unsafe nghttp2_submit_trailer(session, stream, list.base, list.count)
    return nghttp2_is_fatal(code) != 0 ? nil : code == 0
}

private func onSendData(
    _: OpaquePointer?, _ frame: UnsafeMutablePointer<nghttp2_frame>?,
    _ prefix: UnsafePointer<UInt8>?, _ count: Int, _: UnsafeMutablePointer<nghttp2_data_source>?,
    _ user: UnsafeMutableRawPointer?
) -> Int32 {
    let core = unsafe core(user)
    guard let prefix = unsafe prefix, let output = unsafe core[].output,
        let outlet = core[].sending
    else { return NGHTTP2_ERR_CALLBACK_FAILURE.rawValue }
    core[].sending = nil
    core[].meter.sentData()
    let before = outlet[].count
    // One check for room: 9 octets of frame header, then the content. Padding is never chosen.
    unsafe copyMemory(output.pointee.reserve(9 + count), prefix, 9)
    unsafe output.pointee.commit(9)
    if count > 0 { unsafe outlet[].move(count, to: &output.pointee) }
    let after = before - count
    if after > 0, count < Limits.tinyWindow { core[].meter.budget.note(.tinyWindow) }
    let hasCrossed = before >= Limits.lowWater && after < Limits.lowWater
    if !outlet[].hasEnded, hasCrossed || after == 0 {
        core[].events.append(.drained(stream: outlet[].stream, owner: outlet[].owner))
    }
    return unsafe output.pointee.count >= core[].outputLimit ? NGHTTP2_ERR_PAUSE.rawValue : 0
}
