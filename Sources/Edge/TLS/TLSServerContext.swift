// The server side's certificates, versions and protocols, ready for handshakes.

import COpenSSL

/// What an SSL_CTX of the server side carries for its callbacks; lives exactly as long as the
/// SSL_CTX, hence longer than any handshake, whatever a reload drops.
final class ServerAttachment: Sendable {
    /// The certificates of this SSL_CTX, at most one per kind of key.
    let certificates: [LoadedNames]
    let ticketKeys: TicketKeys
    /// On the SSL_CTX that sessions begin with: where names lead to.
    let choices: CertificateChoices?
    fileprivate let keyLog: KeyLog?
    private let life = LiveObject(.serverContext)

    fileprivate init(
        certificates: [LoadedNames], ticketKeys: TicketKeys, choices: CertificateChoices?,
        keyLog: KeyLog?
    ) {
        self.certificates = certificates
        self.ticketKeys = ticketKeys
        self.choices = choices
        self.keyLog = keyLog
    }

    /// The slot of SSL_CTX's ex_data that holds the attachment.
    private static let slot: Int32 = unsafe CRYPTO_get_ex_new_index(
        CRYPTO_EX_INDEX_SSL_CTX, 0, nil, nil, nil
    ) { _, attachment, _, _, _, _ in
        guard let attachment = unsafe attachment else { return }
        unsafe Unmanaged<ServerAttachment>.fromOpaque(attachment).release()
    }

    fileprivate func attach(to context: OpaquePointer) -> Bool {
        let retained = unsafe Unmanaged.passRetained(self)
        if unsafe SSL_CTX_set_ex_data(context, Self.slot, retained.toOpaque()) == 1 { return true }
        unsafe retained.release()
        return false
    }

    /// Lends the attachment of an SSL_CTX without retaining it; nil on a client's SSL_CTX.
    @inline(__always)
    static func borrow<Result>(
        from context: OpaquePointer?, _ body: (ServerAttachment) -> Result
    ) -> Result? {
        guard let raw = unsafe SSL_CTX_get_ex_data(context, slot) else { return nil }
        return unsafe Unmanaged<ServerAttachment>.fromOpaque(raw)._withUnsafeGuaranteedRef(body)
    }

    /// Whether every certificate that this SSL_CTX may present covers the host.
    func covers(_ host: Bytes) -> Bool {
        let address = AddressBytes(text: host)
        for certificate in certificates where !certificate.covers(host, address) { return false }
        return true
    }
}

/// The names of one certificate, for asking whether it covers a host.
struct LoadedNames: Sendable {
    /// Its place in the settings, from 0.
    let index: Int
    /// The X509's address, to be compared only.
    let identity: UInt
    private let names: ServerNames
    private let addresses: [AddressBytes]

    fileprivate init(_ certificate: Certificate, index: Int, hash: ByteHash) {
        self.index = index
        identity = unsafe UInt(bitPattern: certificate.leaf)
        names = ServerNames(certificate.names.map { ($0, 0) }, hash: hash)
        addresses = certificate.addresses
    }

    fileprivate func covers(_ host: Bytes, _ address: AddressBytes?) -> Bool {
        if let address { return addresses.contains(address) }
        return names.find(host) != nil
    }
}

/// Where a server name leads to: one SSL_CTX per combination of certificates.
@safe
final class CertificateChoices: Sendable {
    private let table: ServerNames
    // Safety: filled by `init` only; SSL_CTXs count their references atomically.
    /// The SSL_CTXs other than the first one; this object owns a reference to each.
    nonisolated(unsafe) private let others: [OpaquePointer]

    fileprivate init(table: ServerNames, others: [OpaquePointer]) {
        self.table = table
        unsafe self.others = others
    }

    deinit { for index in unsafe others.indices { unsafe SSL_CTX_free(others[index]) } }

    /// The SSL_CTX for a name; nil: the one that the session began with.
    fileprivate func find(_ name: Bytes) -> OpaquePointer? {
        guard let choice = table.find(name), choice > 0 else { return nil }
        return unsafe others[Int(choice) - 1]
    }
}

/// Secrets for a network analyser, in the NSS format.
@safe
private final class KeyLog: Sendable {
    // Safety: each use is one BIO_write, hence one write(2), and changes only flags of the BIO.
    nonisolated(unsafe) private let file: OpaquePointer

    init(path: String) throws(TLSConfigurationError) {
        guard let file = unsafe edge_open_key_log(path) else {
            throw TLSConfigurationError(
                path: path, message: TLSConfigurationError.takeReason("cannot be opened"))
        }
        unsafe self.file = file
        unsafe KnownDescriptors.add(edge_key_log_descriptor(file))
    }

    deinit {
        unsafe KnownDescriptors.remove(edge_key_log_descriptor(file))
        unsafe BIO_free_all(file)
    }

    func write(_ line: UnsafePointer<CChar>) {
        var text = unsafe Array(String(cString: line).utf8)
        text.append(UInt8(ascii: "\n"))
        // One write per line to a file in append mode: threads need no lock.
        unsafe _ = BIO_write(file, text, Int32(text.count))
    }
}

/// Everything that the server side of a handshake needs; immutable, shared by all workers.
///
/// Sessions hold their SSL_CTX themselves: this object may go (reload) while they live.
@safe
final class TLSServerContext: Sendable {
    // Safety: configured by `init` only; SSL_new on several threads is what an SSL_CTX is made for.
    /// The SSL_CTX with the default certificates, which every session begins with.
    nonisolated(unsafe) let base: OpaquePointer

    /// Loads and checks all files.
    init(_ settings: TLSServerSettings) throws(TLSConfigurationError) {
        let plan = try CertificatePlan(settings.certificates)
        let keyLog: KeyLog? =
            if let path = settings.keyLogPath { try KeyLog(path: path) } else { nil }
        var seed: UInt64 = 0
        unsafe withUnsafeMutableBytes(of: &seed) { raw in
            _ = unsafe RAND_bytes(raw.baseAddress?.assumingMemoryBound(to: UInt8.self), 8)
        }
        let hash = ByteHash(seed: seed)
        var others: [OpaquePointer] = unsafe []
        do throws(TLSConfigurationError) {
            for group in plan.groups.dropFirst() {
                unsafe others.append(
                    try Self.make(settings, plan, group, hash, keyLog, choices: nil))
            }
        } catch {
            for index in unsafe others.indices { unsafe SSL_CTX_free(others[index]) }
            throw error
        }
        let choices = unsafe CertificateChoices(
            table: ServerNames(plan.names, hash: hash), others: others)
        unsafe base = try Self.make(settings, plan, plan.groups[0], hash, keyLog, choices: choices)
    }

    deinit { unsafe SSL_CTX_free(base) }

    /// The number of SSL_CTXs, for tests.
    var choiceCount: Int {
        unsafe ServerAttachment.borrow(from: base) { ($0.choices?.count ?? 0) + 1 } ?? 0
    }

    private static func make(
        _ settings: TLSServerSettings, _ plan: CertificatePlan, _ group: [Int], _ hash: ByteHash,
        _ keyLog: KeyLog?, choices: CertificateChoices?
    ) throws(TLSConfigurationError) -> OpaquePointer {
        let first = settings.certificates[group[0]].certificatePath
        guard let context = unsafe SSL_CTX_new(TLS_server_method()) else {
            throw TLSConfigurationError(
                path: first, message: TLSConfigurationError.takeReason("out of memory"))
        }
        do throws(TLSConfigurationError) {
            for index in group {
                let certificate = plan.certificates[index]
                guard
                    unsafe SSL_CTX_use_cert_and_key(
                        context, certificate.leaf, certificate.key, certificate.issuers, 0) == 1
                else {
                    throw TLSConfigurationError(
                        path: settings.certificates[index].certificatePath,
                        message: TLSConfigurationError.takeReason("refused"),
                        certificateIndex: index)
                }
            }
            let attachment = ServerAttachment(
                certificates: group.map {
                    LoadedNames(plan.certificates[$0], index: $0, hash: hash)
                }, ticketKeys: settings.ticketKeys, choices: choices, keyLog: keyLog)
            guard unsafe configure(context, settings), unsafe attachment.attach(to: context) else {
                throw TLSConfigurationError(
                    path: first, message: TLSConfigurationError.takeReason("out of memory"))
            }
            if keyLog != nil { unsafe SSL_CTX_set_keylog_callback(context, keyLogCallback) }
        } catch {
            unsafe SSL_CTX_free(context)
            throw error
        }
        return unsafe context
    }

    private static func configure(
        _ context: OpaquePointer, _ settings: TLSServerSettings
    ) -> Bool {
        unsafe edge_ssl_ctx_prepare(context, settings.minimumVersion.number)
        unsafe edge_ssl_ctx_prefer_server(context)
        unsafe TLSWireBIO.watch(context)
        // Mozilla's intermediate list without DHE; AES-128 first: 10 rounds for 14, and SHA-256
        // instead of SHA-384 in the handshake.
        guard
            unsafe SSL_CTX_set_cipher_list(
                context,
                "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
                    + "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
                    + "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305") == 1,
            unsafe SSL_CTX_set_ciphersuites(
                context,
                "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256") == 1,
            unsafe edge_ssl_ctx_set_groups(context, "X25519:P-256:P-384") == 1
        else { return false }
        // Tickets hold all state: nothing is cached here. One ticket per handshake is enough for
        // clients that keep one connection, and saves a record and its sealing.
        unsafe edge_ssl_ctx_set_cache_mode(context, Int(SSL_SESS_CACHE_OFF))
        guard unsafe SSL_CTX_set_num_tickets(context, 1) == 1,
            unsafe SSL_CTX_set_session_id_context(context, "edge", 4) == 1,
            unsafe SSL_CTX_set_tlsext_ticket_key_evp_cb(context, ticketKeyCallback) == 1
        else { return false }
        unsafe edge_ssl_ctx_set_servername_callback(context, serverNameCallback, nil)
        if !settings.alpn.isEmpty {
            // The order of preference travels in the pointer itself: two bits per protocol.
            var order: UInt = 0
            for choice in settings.alpn.prefix(4).reversed() {
                order = order << 2 | UInt(choice.rawValue)
            }
            unsafe SSL_CTX_set_alpn_select_cb(
                context, alpnCallback, UnsafeMutableRawPointer(bitPattern: order))
        }
        return true
    }
}

extension CertificateChoices {
    fileprivate var count: Int { unsafe others.count }
}

/// Chooses certificates by the name that the client sent (RFC 6066 §3).
private func serverNameCallback(
    _ ssl: OpaquePointer?, _ alert: UnsafeMutablePointer<Int32>?, _: UnsafeMutableRawPointer?
) -> Int32 {
    guard let text = unsafe SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name) else {
        return SSL_TLSEXT_ERR_NOACK
    }
    let name = unsafe TLSSession.bytes(text)
    let current = unsafe SSL_get_SSL_CTX(ssl)
    let choice: OpaquePointer?? = unsafe ServerAttachment.borrow(from: current) { attachment in
        unsafe attachment.choices?.find(name)
    }
    if let found = unsafe choice, let found = unsafe found {
        guard unsafe SSL_set_SSL_CTX(ssl, found) != nil else { return SSL_TLSEXT_ERR_ALERT_FATAL }
    }
    return SSL_TLSEXT_ERR_OK
}

/// Chooses the protocol that we like best of those the client offers (RFC 7301 §3.2).
private func alpnCallback(
    _ ssl: OpaquePointer?, _ chosen: UnsafeMutablePointer<UnsafePointer<UInt8>?>?,
    _ chosenCount: UnsafeMutablePointer<UInt8>?, _ offered: UnsafePointer<UInt8>?,
    _ offeredCount: UInt32, _ order: UnsafeMutableRawPointer?
) -> Int32 {
    guard let offered = unsafe offered, let chosen = unsafe chosen,
        let chosenCount = unsafe chosenCount
    else { return SSL_TLSEXT_ERR_ALERT_FATAL }
    let list = unsafe Bytes(offered, count: Int(offeredCount))
    var rest = UInt(bitPattern: order)
    while let wanted = ALPNProtocol(rawValue: UInt8(rest & 3)) {
        rest >>= 2
        var index = 0
        while index < list.count {
            let count = Int(list[index])
            guard count <= list.count - index - 1 else { return SSL_TLSEXT_ERR_ALERT_FATAL }
            let name = list.slice(index + 1, count: count)
            if name.equals(wanted.name) {
                unsafe chosen.pointee = unsafe name.base
                unsafe chosenCount.pointee = UInt8(truncatingIfNeeded: count)
                return SSL_TLSEXT_ERR_OK
            }
            index += count + 1
        }
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL
}

private func keyLogCallback(_ ssl: OpaquePointer?, _ line: UnsafePointer<CChar>?) {
    guard let line = unsafe line else { return }
    _ = unsafe ServerAttachment.borrow(from: SSL_get_SSL_CTX(ssl)) { attachment in
        unsafe attachment.keyLog?.write(line)
    }
}
