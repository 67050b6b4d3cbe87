// One TLS connection, either side: plaintext here, records on its wire.

import COpenSSL

/// How far a handshake is.
enum TLSStep: BitwiseCopyable {
    case done
    case wantsRead
    /// An alert may stand in the wire's output: send it before closing.
    case failed(TLSFailure)
}

/// What a read found.
enum TLSRead: BitwiseCopyable {
    case bytes(Int)
    case wantsRead
    /// The peer sends no more; not clean when it did not say so (close_notify): what came before
    /// may have been cut short (RFC 8446 §6.1). Writing is still possible.
    case closed(clean: Bool)
    case failed(TLSFailure)
}

/// A TLS session over a pinned wire, which must outlive it.
///
/// Every call may leave records in `wire[].output`; nothing here sends.
@safe
struct TLSSession: ~Copyable {
    /// 64 records in one read: a peer that sends a byte in each gets a turn of a tenth of a
    /// millisecond, as others do with full records.
    private static var mostRecords: Int { 64 }

    private let ssl: OpaquePointer
    private let wire: Ref<TLSWire>
    private let sessions: TLSClientSessions?
    /// An end that was found behind bytes that had to be handed out first.
    private var outcome: TLSRead?
    /// Client's side: the address of the session offered for resumption, to be compared only.
    private var offered: UInt = 0

    /// The server's side of a connection; nil when memory is short.
    init?(server: TLSServerContext, wire: Ref<TLSWire>) {
        guard let ssl = unsafe Self.make(server.base, wire) else { return nil }
        unsafe SSL_set_accept_state(ssl)
        unsafe self.ssl = ssl
        self.wire = wire
        sessions = nil
    }

    /// The client's side of a connection to `serverName`, a host name or an IP literal; nil when
    /// memory is short or the name cannot be one.
    init?(
        client: TLSClientContext, wire: Ref<TLSWire>, serverName: Bytes, alpn: ALPNSet,
        sessions: TLSClientSessions?
    ) {
        guard let ssl = unsafe Self.make(client.base, wire) else { return nil }
        unsafe SSL_set_connect_state(ssl)
        guard unsafe Self.expect(ssl, serverName), unsafe Self.offer(ssl, alpn) else {
            unsafe SSL_free(ssl)
            ERR_clear_error()
            return nil
        }
        if let sessions {
            // Borrowed: this struct keeps the object alive for as long as the SSL.
            unsafe SSL_set_ex_data(ssl, 0, Unmanaged.passUnretained(sessions).toOpaque())
            offered = unsafe sessions.offer(to: ssl)
        }
        unsafe self.ssl = ssl
        self.wire = wire
        self.sessions = sessions
    }

    deinit {
        // Without this OpenSSL takes the missing close_notify for a reason not to resume.
        unsafe SSL_set_shutdown(ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN)
        unsafe SSL_free(ssl)
    }

    private static func make(_ context: OpaquePointer, _ wire: Ref<TLSWire>) -> OpaquePointer? {
        ERR_clear_error()
        guard let ssl = unsafe SSL_new(context) else { return nil }
        guard let bio = unsafe TLSWireBIO.make(wire) else {
            unsafe SSL_free(ssl)
            return nil
        }
        unsafe SSL_set_bio(ssl, bio, bio)
        return unsafe ssl
    }

    /// Sets who the server must be: SNI and the certificate's name, or its IP address without SNI
    /// (RFC 6066 §3).
    private static func expect(_ ssl: OpaquePointer, _ host: Bytes) -> Bool {
        let parameters = unsafe SSL_get0_param(ssl)
        if let address = AddressBytes(text: host) {
            return address.withRaw {
                unsafe X509_VERIFY_PARAM_set1_ip(parameters, $0.base, $0.count) == 1
            }
        }
        var count = host.count
        if count > 0, host[count - 1] == UInt8(ascii: ".") { count -= 1 }
        guard count > 0, count <= Limits.hostBytes, host.firstIndex(of: 0) == nil else {
            return false
        }
        return unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: count + 1) { buffer in
            for index in 0..<count { unsafe buffer[index] = CChar(bitPattern: host[index]) }
            unsafe buffer[count] = 0
            unsafe X509_VERIFY_PARAM_set_hostflags(
                parameters, UInt32(X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS))
            return unsafe edge_ssl_set_host_name(ssl, buffer.baseAddress) == 1
                && X509_VERIFY_PARAM_set1_host(parameters, buffer.baseAddress, count) == 1
        }
    }

    private static func offer(_ ssl: OpaquePointer, _ alpn: ALPNSet) -> Bool {
        let list: StaticString =
            switch alpn {
            case .both: "\u{2}h2\u{8}http/1.1"
            case .http2: "\u{2}h2"
            case .http1: "\u{8}http/1.1"
            default: ""
            }
        let bytes = Bytes(list)
        return unsafe bytes.isEmpty
            || SSL_set_alpn_protos(ssl, bytes.base, UInt32(bytes.count)) == 0
    }

    /// Lends OpenSSL's object, for tests that play a peer which the product never is.
    func withSSL(_ body: (OpaquePointer) -> Void) { unsafe body(ssl) }

    /// Goes on with the handshake as far as the received bytes allow.
    mutating func handshake() -> TLSStep {
        ERR_clear_error()
        while true {
            wire[].forgetStarvation()
            let result = unsafe SSL_do_handshake(ssl)
            if result == 1 {
                if offered != 0 { renewSession() }
                wire[].isEstablished = true
                return .done
            }
            switch unsafe SSL_get_error(ssl, result) {
            case SSL_ERROR_WANT_READ:
                if wire[].isStarved { return .wantsRead }
                wire[].charge()
                if wire[].isFlooded { return .failed(TLSFailure(.flood)) }
            case SSL_ERROR_ZERO_RETURN:
                ERR_clear_error()
                return .failed(TLSFailure(.closed))
            default: return unsafe .failed(.take(from: ssl, wire))
            }
        }
    }

    private mutating func renewSession() {
        unsafe sessions?.renew(offered, from: ssl)
        offered = 0
    }

    /// Decrypts up to `capacity` bytes, from as many records as have arrived.
    @inline(__always)
    mutating func read(into place: UnsafeMutablePointer<UInt8>, capacity: Int) -> TLSRead {
        if let outcome { return outcome }
        var total = 0
        var records = 0
        while total < capacity, records < Self.mostRecords {
            wire[].forgetStarvation()
            var count = 0
            if unsafe SSL_read_ex(ssl, place + total, capacity - total, &count) == 1 {
                total += count
                records &+= 1
                wire[].pay(count)
                if unsafe SSL_has_pending(ssl) == 0 { break }
                continue
            }
            guard let end = ending() else { continue }
            if total == 0 { return end }
            if case .wantsRead = end { break }
            outcome = end
            break
        }
        return .bytes(total)
    }

    /// Why a read gave nothing; nil: a record without data, go on.
    @inline(never)
    private mutating func ending() -> TLSRead? {
        switch unsafe SSL_get_error(ssl, 0) {
        case SSL_ERROR_WANT_READ:
            if wire[].isStarved { return .wantsRead }
            return wire[].isFlooded ? .failed(TLSFailure(.flood)) : nil
        // The end of the socket counts as one (IGNORE_UNEXPECTED_EOF), and OpenSSL gets there only
        // if no close_notify came before it.
        case SSL_ERROR_ZERO_RETURN: return .closed(clean: !wire[].hasEnded)
        default: return unsafe .failed(.take(from: ssl, wire))
        }
    }

    /// Encrypts all of `bytes` into the wire's output; false: the session is dead.
    @inline(__always)
    mutating func write(_ bytes: Bytes) -> Bool {
        guard bytes.count > 0 else { return true }
        var written = 0
        if unsafe SSL_write_ex(ssl, bytes.base, bytes.count, &written) == 1 { return true }
        ERR_clear_error()
        return false
    }

    /// Received bytes wait inside OpenSSL: read again without waiting for the socket.
    ///
    /// What the last read asked in vain the rest of is no more than the beginning of a record.
    @inline(__always)
    var hasBuffered: Bool {
        unsafe outcome != nil || !wire[].isStarved && SSL_has_pending(ssl) == 1
    }

    /// Tells the peer that nothing more will be sent; does not wait for its answer.
    mutating func closeNotify() {
        guard unsafe SSL_in_init(ssl) == 0 else { return }
        unsafe SSL_shutdown(ssl)
        ERR_clear_error()
    }

    /// Gives OpenSSL's record buffers back while idle; they return with the next record.
    ///
    /// Does nothing while a part of a record is held.
    mutating func releaseBuffers() { unsafe SSL_free_buffers(ssl) }
}

extension TLSSession {
    /// What ALPN chose; nil: nothing was offered or chosen, so HTTP/1.1.
    var negotiated: ALPNProtocol? {
        var name: UnsafePointer<UInt8>?
        var count: UInt32 = 0
        unsafe SSL_get0_alpn_selected(ssl, &name, &count)
        guard let name = unsafe name else { return nil }
        return unsafe ALPNProtocol(name: Bytes(name, count: Int(count)))
    }

    /// As logs name it.
    var versionName: StaticString {
        switch unsafe SSL_version(ssl) {
        case TLS1_3_VERSION: "TLSv1.3"
        case TLS1_2_VERSION: "TLSv1.2"
        default: "unknown"
        }
    }

    /// OpenSSL's name of the cipher suite.
    var cipherName: Bytes {
        unsafe SSL_CIPHER_get_name(SSL_get_current_cipher(ssl)).map { unsafe Self.bytes($0) }
            ?? .empty
    }

    var isResumed: Bool { unsafe SSL_session_reused(ssl) == 1 }

    /// Lends the name that the client sent (RFC 6066), as it was sent; nil: none.
    func withServerName<Result>(_ body: (Bytes) -> Result) -> Result? {
        guard let text = unsafe SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name) else {
            return nil
        }
        return unsafe body(Self.bytes(text))
    }

    /// Server's side: whether the certificates chosen for this session cover an authority's host.
    ///
    /// If not, a request for it is misdirected (421, RFC 9110 §7.4).
    ///
    /// The host comes without port; IPv6 with or without brackets. Allocates nothing.
    func coversHost(_ host: Bytes) -> Bool {
        unsafe ServerAttachment.borrow(from: SSL_get_SSL_CTX(ssl)) { $0.covers(host) } ?? false
    }

    /// Server's side: whether a request for a host may come over this connection.
    ///
    /// It may when the host is the name the client opened it for, or one that the
    /// certificates cover, or the client named none.
    func admits(_ host: Bytes) -> Bool {
        withServerName { name in
            guard name.count == host.count else { return coversHost(host) }
            for index in 0..<name.count
            where ASCII.lowercase(name[index]) != ASCII.lowercase(host[index]) {
                return coversHost(host)
            }
            return true
        } ?? true
    }

    /// Server's side: which of the settings' certificates was presented, from 0; when a session was
    /// resumed, the one that stands first for the name.
    var certificateIndex: Int? {
        let presented = unsafe UInt(bitPattern: SSL_get_certificate(ssl))
        let wasPresented = !isResumed
        return unsafe ServerAttachment.borrow(from: SSL_get_SSL_CTX(ssl)) { attachment -> Int? in
            for certificate in attachment.certificates
            where !wasPresented || certificate.identity == presented {
                return certificate.index
            }
            return nil
        } ?? nil
    }

    /// A C string that lives as long as its owner, without its end.
    static func bytes(_ text: UnsafePointer<CChar>) -> Bytes {
        var count = 0
        while unsafe text[count] != 0 { count += 1 }
        return unsafe Bytes(
            UnsafeRawPointer(text).assumingMemoryBound(to: UInt8.self), count: count)
    }
}
