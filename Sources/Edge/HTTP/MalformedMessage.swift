// What a codec throws when a peer breaks the protocol.

/// A message that cannot be understood, with the status that a client is told.
///
/// `status` is 400, 414, 417, 421, 431, 501 or 505; a malformed message from upstream is answered
/// 502 whatever it says. The connection cannot be used any further.
struct MalformedMessage: Error, BitwiseCopyable {
    let status: UInt16
    let reason: StaticString

    @inline(__always)
    init(_ status: UInt16, _ reason: StaticString) {
        self.status = status
        self.reason = reason
    }
}
