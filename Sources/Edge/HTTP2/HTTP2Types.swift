// The small values of the HTTP/2 interface: role, settings, error codes, failure.

import CNGHTTP2

/// Which end of a connection a session plays.
enum HTTP2Role: UInt8, Sendable { case server, client }

/// What a session announces to its peer, and the size of its receive windows.
struct HTTP2Settings: BitwiseCopyable, Sendable {
    /// Streams that the peer may have open at once; server only.
    var maxStreams: UInt32 = 128
    /// Octets that the peer may send on one stream ahead of `consume`.
    var streamWindow: UInt32 = 256 * 1024
    /// Octets that the peer may send on all streams between two reads of this side.
    var connectionWindow: UInt32 = 1024 * 1024
    /// Octets of a field section, advisory (RFC 9113 §6.5.2).
    var headListBytes: UInt32 = UInt32(Limits.headBytes)
    /// Extended CONNECT (RFC 8441) is offered; server only.
    var enableConnectProtocol = true
}

/// Error codes of RFC 9113 §7.
enum HTTP2Code {
    static let noError: UInt32 = 0
    static let protocolError: UInt32 = 1
    static let internalError: UInt32 = 2
    static let flowControlError: UInt32 = 3
    static let streamClosed: UInt32 = 5
    static let frameSizeError: UInt32 = 6
    static let refusedStream: UInt32 = 7
    static let cancel: UInt32 = 8
    static let connectError: UInt32 = 10
    static let enhanceYourCalm: UInt32 = 11
    static let http11Required: UInt32 = 13
}

/// A connection that cannot go on: close it, nothing more can be written.
struct HTTP2Failure: Error, Equatable {
    /// nghttp2's negative error number, for diagnostics.
    let code: Int32

    var isOutOfMemory: Bool { code == NGHTTP2_ERR_NOMEM.rawValue }

    /// Whose doing it was, in a few words.
    var reason: StaticString {
        switch code {
        case NGHTTP2_ERR_BAD_CLIENT_MAGIC.rawValue: "not an HTTP/2 client preface"
        case NGHTTP2_ERR_FLOODED.rawValue: "flood of frames that need an answer"
        case NGHTTP2_ERR_TOO_MANY_CONTINUATIONS.rawValue: "too many CONTINUATION frames"
        case NGHTTP2_ERR_NOMEM.rawValue: "out of memory"
        default: "HTTP/2 failure"
        }
    }
}
