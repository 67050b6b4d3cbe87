// Certificates and keys in PEM files (RFC 7468).

import COpenSSL

/// Reads PEM files and says in words what is wrong with them.
enum PEMFile {
    /// The leaf and a STACK_OF(X509) with what follows it.
    typealias Chain = (leaf: OpaquePointer, issuers: OpaquePointer)

    /// More certificates than any chain has; a whole bundle of roots is a mistake.
    static let mostIssuers = 16

    static func free(_ chain: Chain) {
        unsafe X509_free(chain.leaf)
        unsafe OPENSSL_sk_pop_free(chain.issuers) { unsafe X509_free($0.map { .init($0) }) }
    }

    /// The certificates of a file, leaf first.
    static func certificates(
        _ path: String, _ index: Int
    ) throws(TLSConfigurationError) -> Chain {
        func refuse(_ message: String) -> TLSConfigurationError {
            TLSConfigurationError(path: path, message: message, certificateIndex: index)
        }
        guard let file = unsafe BIO_new_file(path, "r") else {
            throw refuse(TLSConfigurationError.takeReason("cannot be opened"))
        }
        defer { unsafe BIO_free_all(file) }
        guard let leaf = unsafe PEM_read_bio_X509_AUX(file, nil, nil, nil) else {
            let found = hasReachedEnd() ? "no certificate in PEM form" : nil
            throw refuse(found ?? "bad PEM: \(TLSConfigurationError.takeReason("unreadable"))")
        }
        guard let issuers = unsafe OPENSSL_sk_new_null() else {
            unsafe X509_free(leaf)
            throw refuse("out of memory")
        }
        while let issuer = unsafe PEM_read_bio_X509(file, nil, nil, nil) {
            unsafe OPENSSL_sk_push(issuers, UnsafeRawPointer(issuer))
            if unsafe OPENSSL_sk_num(issuers) > mostIssuers {
                unsafe free((leaf, issuers))
                throw refuse("more than \(mostIssuers) certificates after the first")
            }
        }
        guard hasReachedEnd() else {
            let position = unsafe OPENSSL_sk_num(issuers) + 2
            unsafe free((leaf, issuers))
            throw refuse(
                "bad PEM at certificate \(position): "
                    + TLSConfigurationError.takeReason("unreadable"))
        }
        return unsafe (leaf, issuers)
    }

    /// The private key of a file, which must not be encrypted.
    static func key(_ path: String, _ index: Int) throws(TLSConfigurationError) -> OpaquePointer {
        func refuse(_ message: String) -> TLSConfigurationError {
            TLSConfigurationError(path: path, message: message, certificateIndex: index)
        }
        guard let file = unsafe BIO_new_file(path, "r") else {
            throw refuse(TLSConfigurationError.takeReason("cannot be opened"))
        }
        defer { unsafe BIO_free_all(file) }
        var wasAsked = false
        let key = unsafe withUnsafeMutablePointer(to: &wasAsked) { asked in
            unsafe PEM_read_bio_PrivateKey(file, nil, passwordCallback, asked)
        }
        if let key = unsafe key {
            ERR_clear_error()
            return unsafe key
        }
        if wasAsked {
            ERR_clear_error()
            throw refuse("the key is encrypted")
        }
        let code = ERR_peek_last_error()
        let isUnknown =
            ERR_GET_LIB(code) == ERR_LIB_OSSL_DECODER && ERR_GET_REASON(code) == ERR_R_UNSUPPORTED
        if isUnknown || hasReachedEnd() {
            ERR_clear_error()
            throw refuse("no readable private key in PEM form")
        }
        throw refuse("bad PEM: \(TLSConfigurationError.takeReason("unreadable"))")
    }

    /// Whether the last read failed only because there is nothing more; then clears the queue.
    private static func hasReachedEnd() -> Bool {
        let code = ERR_peek_last_error()
        guard ERR_GET_LIB(code) == ERR_LIB_PEM, ERR_GET_REASON(code) == PEM_R_NO_START_LINE
        else { return false }
        ERR_clear_error()
        return true
    }
}

/// Says that a password was wanted, and gives none: nobody is there to type one.
private func passwordCallback(
    _ buffer: UnsafeMutablePointer<CChar>?, _ size: Int32, _ writes: Int32,
    _ asked: UnsafeMutableRawPointer?
) -> Int32 {
    unsafe asked?.storeBytes(of: true, as: Bool.self)
    return -1
}
