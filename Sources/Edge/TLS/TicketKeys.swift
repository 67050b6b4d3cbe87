// The keys that session tickets are sealed with (RFC 5077 §4, RFC 8446 §4.6.1).

import COpenSSL
import Synchronization

/// One ticket key: 80 bytes as nginx and HAProxy keep them, name (16), HMAC key (32), AES key (32).
struct TicketKey: BitwiseCopyable {
    static let byteCount = 80

    fileprivate var bytes: [80 of UInt8]
    fileprivate var made: Instant

    fileprivate init(_ source: Bytes, made: Instant) {
        bytes = .init { source[$0] }
        self.made = made
    }

    /// nil when the system gives no randomness, for want of memory above all.
    fileprivate static func random(_ now: Instant) -> TicketKey? {
        var raw = [UInt8](repeating: 0, count: byteCount)
        guard unsafe RAND_bytes(&raw, Int32(byteCount)) == 1 else {
            ERR_clear_error()
            return nil
        }
        defer { unsafe OPENSSL_cleanse(&raw, byteCount) }
        return raw.withBytes { TicketKey($0, made: now) }
    }

    fileprivate func isNamed(_ name: UnsafePointer<UInt8>) -> Bool {
        for index in 0..<16 where unsafe name[index] != bytes[index] { return false }
        return true
    }
}

/// A checked file of ticket keys; the first seals, all of them open.
struct TicketKeyFile: Sendable {
    static let mostKeys = 16

    fileprivate let keys: [TicketKey]

    /// Reads 1 to 16 keys of 80 bytes.
    init(path: String) throws(TLSConfigurationError) {
        let raw = try Self.read(path)
        guard !raw.isEmpty, raw.count % TicketKey.byteCount == 0,
            raw.count / TicketKey.byteCount <= Self.mostKeys
        else {
            throw TLSConfigurationError(
                path: path, message: "holds \(raw.count) bytes, not 1 to 16 keys of 80 bytes")
        }
        let now = Instant.now()
        var keys: [TicketKey] = []
        for start in stride(from: 0, to: raw.count, by: TicketKey.byteCount) {
            keys.append(
                raw.withBytes {
                    TicketKey($0.slice(start, count: TicketKey.byteCount), made: now)
                })
        }
        self.keys = keys
    }

    private static func read(_ path: String) throws(TLSConfigurationError) -> [UInt8] {
        guard let file = unsafe BIO_new_file(path, "r") else {
            throw TLSConfigurationError(
                path: path, message: TLSConfigurationError.takeReason("cannot be opened"))
        }
        defer { unsafe BIO_free_all(file) }
        // One byte more than the most, so that a longer file is noticed.
        var raw = [UInt8](repeating: 0, count: mostKeys * TicketKey.byteCount + 1)
        var filled = 0
        while filled < raw.count {
            let space = raw.count - filled
            let count = unsafe raw.withUnsafeMutableBytes { buffer in
                unsafe BIO_read(file, buffer.baseAddress.map { unsafe $0 + filled }, Int32(space))
            }
            guard count > 0 else { break }
            filled += Int(count)
        }
        ERR_clear_error()
        return Array(raw.prefix(filled))
    }
}

/// The ticket keys of a process: shared by all workers, and kept across reloads so that clients may
/// resume.
///
/// Random keys are replaced by age; keys from a file by the next file.
final class TicketKeys: Sendable {
    private struct State {
        /// Newest first.
        var keys: [TicketKey]
        /// nil: the keys come from a file and do not age.
        var rotation: Duration?
    }

    private let state: Mutex<State>
    private let clock: @Sendable () -> Instant
    fileprivate let cipher = TicketCipher()

    /// Random keys: each seals for `rotation`, and opens until it is twice as old.
    init(rotation: Duration, clock: @escaping @Sendable () -> Instant = { Instant.now() }) {
        guard let first = TicketKey.random(clock()) else {
            // At the start, and a system without randomness cannot do TLS at all.
            preconditionFailure("no randomness")
        }
        state = Mutex(State(keys: [first], rotation: rotation))
        self.clock = clock
    }

    /// Keys from a file, for a fleet that shares them.
    init(file: TicketKeyFile) {
        state = Mutex(State(keys: file.keys, rotation: nil))
        clock = { Instant.now() }
    }

    /// Replaces all keys by those of a file that was read and checked before.
    func adopt(_ file: TicketKeyFile) {
        state.withLock { $0 = State(keys: file.keys, rotation: nil) }
    }

    /// Changes the rotation of random keys from the next handshake on; no effect on file keys.
    func setRotation(_ rotation: Duration) {
        state.withLock { if $0.rotation != nil { $0.rotation = rotation } }
    }

    /// The key to seal a new ticket with; makes one when the newest has grown old.
    private func sealing() -> TicketKey {
        let now = clock()
        return state.withLock { state in
            if let rotation = state.rotation, rotation < now - state.keys[0].made,
                let fresh = TicketKey.random(now)
            {
                state.keys.removeAll { Self.isExpired($0, rotation, now) }
                state.keys.insert(fresh, at: 0)
            }
            return state.keys[0]
        }
    }

    /// The key that a ticket names, and whether the ticket should be replaced by a newer one.
    private func opening(_ name: UnsafePointer<UInt8>) -> (key: TicketKey, renew: Bool)? {
        let now = clock()
        return state.withLock { state in
            for index in state.keys.indices where unsafe state.keys[index].isNamed(name) {
                let key = state.keys[index]
                guard let rotation = state.rotation else { return (key, index > 0) }
                if Self.isExpired(key, rotation, now) { return nil }
                return (key, index > 0 || rotation < now - key.made)
            }
            return nil
        }
    }

    private static func isExpired(_ key: TicketKey, _ rotation: Duration, _ now: Instant) -> Bool {
        Duration(nanoseconds: rotation.nanoseconds.multipliedReportingOverflow(by: 2).partialValue)
            < now - key.made
    }

    /// OpenSSL's ticket callback: 0 no such key, 1 fine, 2 fine and renew, -1 failed.
    fileprivate func prepare(
        _ ssl: OpaquePointer?, _ name: UnsafeMutablePointer<UInt8>,
        _ iv: UnsafeMutablePointer<UInt8>,
        _ sealer: OpaquePointer?, _ mac: OpaquePointer?, seals: Bool
    ) -> Int32 {
        var key: TicketKey
        // TLS 1.3 tickets are for one use: each resumption gets a new one (RFC 8446 §C.4).
        var renew = unsafe SSL_version(ssl) >= TLS1_3_VERSION
        if seals {
            key = sealing()
            for index in 0..<16 { unsafe name[index] = key.bytes[index] }
            guard unsafe RAND_bytes(iv, 16) == 1 else { return -1 }
        } else {
            guard let found = unsafe opening(name) else { return 0 }
            key = found.key
            renew = renew || found.renew
        }
        let isReady = unsafe withUnsafeMutableBytes(of: &key.bytes) { raw -> Bool in
            guard let base = unsafe raw.bindMemory(to: UInt8.self).baseAddress else { return false }
            let started =
                unsafe seals
                ? EVP_EncryptInit_ex(sealer, cipher.aes, nil, base + 48, iv)
                : EVP_DecryptInit_ex(sealer, cipher.aes, nil, base + 48, iv)
            let isKeyed = unsafe edge_ticket_mac(mac, base + 16, 32) == 1
            unsafe OPENSSL_cleanse(base, TicketKey.byteCount)
            return started == 1 && isKeyed
        }
        guard isReady else { return -1 }
        return !seals && renew ? 2 : 1
    }
}

/// AES-256-CBC, fetched once: a look-up by name for every ticket costs more than the sealing.
@safe
private final class TicketCipher: Sendable {
    // Safety: a fetched EVP_CIPHER is immutable and counts its references atomically.
    nonisolated(unsafe) let aes: OpaquePointer?

    init() { unsafe aes = EVP_CIPHER_fetch(nil, "AES-256-CBC", nil) }

    deinit { unsafe EVP_CIPHER_free(aes) }
}

/// SSL_CTX_set_tlsext_ticket_key_evp_cb: finds the keys through the session's SSL_CTX.
func ticketKeyCallback(
    _ ssl: OpaquePointer?, _ name: UnsafeMutablePointer<UInt8>?, _ iv: UnsafeMutablePointer<UInt8>?,
    _ sealer: OpaquePointer?, _ mac: OpaquePointer?, _ seals: Int32
) -> Int32 {
    guard let name = unsafe name, let iv = unsafe iv else { return -1 }
    return unsafe ServerAttachment.borrow(from: SSL_get_SSL_CTX(ssl)) { attachment in
        unsafe attachment.ticketKeys.prepare(ssl, name, iv, sealer, mac, seals: seals != 0)
    } ?? -1
}
