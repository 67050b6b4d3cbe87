// Why a TLS session failed, in a form that costs nothing to pass on.

import COpenSSL

/// The end of a TLS session that was not agreed upon.
struct TLSFailure: Error, BitwiseCopyable, Equatable {
    enum Kind: UInt8, BitwiseCopyable {
        /// The peer broke the protocol, sent an alert, or shares no parameters with us.
        case protocolError
        /// The peer's certificate was refused: unknown issuer, expired, not yet valid, revoked.
        case certificateInvalid
        /// The peer's certificate is for another name.
        case certificateNameMismatch
        /// The peer ended the connection during the handshake.
        case closed
        /// The socket failed; `code` is the errno.
        case io
        /// The peer kept sending records without data, or wanted to negotiate again.
        case flood
        /// OpenSSL ran out of memory or of room for its output.
        case resources
    }

    let kind: Kind
    /// OpenSSL's packed error; the errno for `io`; OpenSSL's verification result for certificates.
    let code: UInt

    init(_ kind: Kind, code: UInt = 0) {
        self.kind = kind
        self.code = code
    }

    static func io(_ errno: Int32) -> TLSFailure { TLSFailure(.io, code: UInt(errno.magnitude)) }

    /// The cause in a few words; text that lives as long as the process.
    var reason: Bytes {
        switch kind {
        case .closed: return Bytes("the peer closed the connection during the handshake")
        case .io: return Bytes("the socket failed")
        case .flood: return Bytes("too many records without data")
        case .certificateInvalid, .certificateNameMismatch:
            return unsafe Self.text(X509_verify_cert_error_string(Int(code)))
        case .protocolError, .resources:
            guard let text = unsafe ERR_reason_error_string(code) else {
                return Bytes(kind == .resources ? "out of memory" : "protocol error")
            }
            return unsafe Self.text(text)
        }
    }

    private static func text(_ text: UnsafePointer<CChar>?) -> Bytes {
        guard let text = unsafe text else { return Bytes("unknown") }
        return unsafe TLSSession.bytes(text)
    }

    /// What the failed call on `ssl` left behind; empties the thread's error queue.
    @inline(never)
    static func take(from ssl: OpaquePointer, _ wire: Ref<TLSWire>) -> TLSFailure {
        let code = ERR_peek_error()
        ERR_clear_error()
        if wire[].isFlooded { return TLSFailure(.flood) }
        guard code != 0 else {
            if wire[].failure != 0 { return .io(wire[].failure) }
            return TLSFailure(wire[].hasEnded ? .closed : .protocolError)
        }
        let reason = ERR_GET_REASON(code)
        guard ERR_GET_LIB(code) == ERR_LIB_SSL else {
            return TLSFailure(
                reason == ERR_R_MALLOC_FAILURE ? .resources : .protocolError, code: code)
        }
        guard reason == SSL_R_CERTIFICATE_VERIFY_FAILED else {
            return TLSFailure(.protocolError, code: code)
        }
        let result = unsafe Int32(truncatingIfNeeded: SSL_get_verify_result(ssl))
        switch result {
        case X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH:
            return TLSFailure(.certificateNameMismatch, code: UInt(result))
        default: return TLSFailure(.certificateInvalid, code: UInt(result.magnitude))
        }
    }
}
