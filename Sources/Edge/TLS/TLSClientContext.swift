// The client side: whom upstream servers must be, and what is remembered to resume with them.

import COpenSSL
import Synchronization

/// Everything that the client side of a handshake needs; immutable, shared by all workers.
///
/// Sessions hold their SSL_CTX themselves: this object may go (reload) while they live.
@safe
final class TLSClientContext: Sendable {
    // Safety: configured by `init` only; SSL_new on several threads is what an SSL_CTX is made for.
    nonisolated(unsafe) let base: OpaquePointer
    let verifies: Bool
    private let life = LiveObject(.clientContext)

    /// Loads the roots.
    init(_ settings: TLSClientSettings) throws(TLSConfigurationError) {
        let path = settings.caPath ?? ""
        guard let context = unsafe SSL_CTX_new(TLS_client_method()) else {
            throw TLSConfigurationError(
                path: path, message: TLSConfigurationError.takeReason("out of memory"))
        }
        unsafe base = context
        verifies = settings.verifies
        unsafe edge_ssl_ctx_prepare(context, settings.minimumVersion.number)
        unsafe TLSWireBIO.watch(context)
        unsafe SSL_CTX_set_verify(context, verifies ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, nil)
        unsafe edge_ssl_ctx_set_cache_mode(
            context, Int(SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL))
        unsafe SSL_CTX_sess_set_new_cb(context, newSessionCallback)
        let isConfigured =
            unsafe SSL_CTX_set_ciphersuites(
                context,
                "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256") == 1
            && edge_ssl_ctx_set_groups(context, "X25519:P-256:P-384") == 1
        let hasRoots =
            if !verifies {
                true
            } else if let file = settings.caPath {
                unsafe SSL_CTX_load_verify_file(context, file) == 1
            } else {
                unsafe SSL_CTX_set_default_verify_paths(context) == 1
            }
        // From here on `deinit` frees the SSL_CTX.
        guard isConfigured, hasRoots else {
            throw TLSConfigurationError(path: path, message: Self.rootsProblem())
        }
        ERR_clear_error()
    }

    deinit { unsafe SSL_CTX_free(base) }

    private static func rootsProblem() -> String {
        // The first error names the cause; later ones only say that there was one.
        let isSystem = ERR_GET_LIB(ERR_peek_error()) == ERR_LIB_SYS
        defer { ERR_clear_error() }
        return isSystem
            ? TLSConfigurationError.reason(ERR_peek_error(), "cannot be opened")
            : "no certificate in PEM form"
    }
}

/// What one upstream host gave us to resume with: at most four sessions, the newest used first.
@safe
final class TLSClientSessions: Sendable {
    private static let most = 4

    /// Addresses of SSL_SESSIONs, each with a reference that this object owns; oldest first.
    private struct Kept {
        var sessions: [4 of UInt] = .init(repeating: 0)
        var count = 0
    }

    private let kept = Mutex(Kept())

    init() {}

    deinit { removeAll() }

    /// How many sessions are kept.
    var count: Int { kept.withLock { $0.count } }

    /// Forgets all sessions: the host changed its identity or refused one.
    func removeAll() {
        kept.withLock { kept in
            while kept.count > 0 {
                kept.count -= 1
                unsafe SSL_SESSION_free(OpaquePointer(bitPattern: kept.sessions[kept.count]))
            }
        }
    }

    /// Keeps a session, with its reference; the oldest gives way.
    fileprivate func keep(_ session: OpaquePointer) {
        let address = UInt(bitPattern: session)
        kept.withLock { kept in
            if kept.count == Self.most {
                unsafe SSL_SESSION_free(OpaquePointer(bitPattern: kept.sessions[0]))
                for index in 1..<Self.most { kept.sessions[index - 1] = kept.sessions[index] }
                kept.count -= 1
            }
            kept.sessions[kept.count] = address
            kept.count += 1
        }
    }

    /// Keeps the renewed ticket of a resumed TLS 1.2 session in place of the one that was offered.
    ///
    /// OpenSSL announces new sessions, but not this.
    func renew(_ offered: UInt, from ssl: OpaquePointer) {
        guard unsafe SSL_session_reused(ssl) == 1, unsafe SSL_version(ssl) < TLS1_3_VERSION,
            let current = unsafe SSL_get1_session(ssl)
        else { return }
        guard UInt(bitPattern: current) != offered else {
            unsafe SSL_SESSION_free(current)
            return
        }
        kept.withLock { kept in
            for index in 0..<kept.count where kept.sessions[index] == offered {
                unsafe SSL_SESSION_free(OpaquePointer(bitPattern: offered))
                kept.count -= 1
                for place in index..<kept.count { kept.sessions[place] = kept.sessions[place + 1] }
                return
            }
        }
        unsafe keep(current)
    }

    /// Puts the newest usable session on `ssl` and returns its address; 0: none.
    ///
    /// One of TLS 1.3 is used once (RFC 8446 §C.4).
    func offer(to ssl: OpaquePointer) -> UInt {
        let now = WallTime.now().nanoseconds / 1_000_000_000
        let address: UInt = kept.withLock { kept in
            while kept.count > 0 {
                let address = kept.sessions[kept.count - 1]
                let newest = unsafe OpaquePointer(bitPattern: address)
                let ends = unsafe SSL_SESSION_get_time(newest) + SSL_SESSION_get_timeout(newest)
                let isUsable = unsafe ends > Int(now) && SSL_SESSION_is_resumable(newest) == 1
                let version = unsafe SSL_SESSION_get_protocol_version(newest)
                if isUsable, version < TLS1_3_VERSION {
                    unsafe SSL_SESSION_up_ref(newest)
                    return address
                }
                kept.count -= 1
                if isUsable { return address }
                unsafe SSL_SESSION_free(newest)
            }
            return 0
        }
        guard let session = unsafe OpaquePointer(bitPattern: address) else { return 0 }
        unsafe SSL_set_session(ssl, session)
        unsafe SSL_SESSION_free(session)
        return address
    }
}

/// A server sent something to resume with; 1: the session's reference is ours now.
private func newSessionCallback(_ ssl: OpaquePointer?, _ session: OpaquePointer?) -> Int32 {
    guard let session = unsafe session, let raw = unsafe SSL_get_ex_data(ssl, 0) else { return 0 }
    unsafe Unmanaged<TLSClientSessions>.fromOpaque(raw)._withUnsafeGuaranteedRef {
        unsafe $0.keep(session)
    }
    return 1
}
