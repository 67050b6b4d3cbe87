// One certificate with its chain and key, read from PEM files and checked against each other.

import COpenSSL

/// A certificate chain and its private key, fit to be used.
///
/// `init` refuses what clients would refuse later: a key of another certificate, a certificate that
/// is not valid today, a chain that is broken or out of order, a key that is too weak.
@safe
final class Certificate: Sendable {
    enum KeyKind: Sendable { case ecdsa, rsa, other }

    // Safety: set once by `init`, freed by `deinit`; OpenSSL counts its references atomically and
    // nothing changes the objects after `init`.
    nonisolated(unsafe) let leaf: OpaquePointer
    nonisolated(unsafe) let key: OpaquePointer
    // Safety: as `leaf`; nobody pushes or pops.
    /// STACK_OF(X509): the issuers, without the leaf.
    nonisolated(unsafe) let issuers: OpaquePointer
    let keyKind: KeyKind
    /// Host names in lower case; wildcards as `.example.com`.
    let names: [[UInt8]]
    let addresses: [AddressBytes]

    init(_ source: CertificateSource, index: Int) throws(TLSConfigurationError) {
        let chain = try unsafe PEMFile.certificates(source.certificatePath, index)
        unsafe leaf = chain.leaf
        unsafe issuers = chain.issuers
        do throws(TLSConfigurationError) {
            unsafe key = try PEMFile.key(source.keyPath, index)
        } catch {
            unsafe PEMFile.free(chain)
            throw error
        }
        keyKind =
            switch unsafe EVP_PKEY_get_base_id(key) {
            case EVP_PKEY_EC: .ecdsa
            case EVP_PKEY_RSA, EVP_PKEY_RSA_PSS: .rsa
            default: .other
            }
        (names, addresses) = unsafe Self.alternativeNames(leaf)
        try check(source, index)
    }

    deinit {
        unsafe PEMFile.free((leaf, issuers))
        unsafe EVP_PKEY_free(key)
    }

    private func check(_ source: CertificateSource, _ index: Int) throws(TLSConfigurationError) {
        func refuse(_ path: String, _ message: String) -> TLSConfigurationError {
            TLSConfigurationError(path: path, message: message, certificateIndex: index)
        }
        guard unsafe X509_check_private_key(leaf, key) == 1 else {
            ERR_clear_error()
            throw refuse(
                source.keyPath, "the key does not match the certificate \(source.certificatePath)")
        }
        if let weakness = unsafe Self.weakness(key) { throw refuse(source.keyPath, weakness) }
        var subject = unsafe leaf
        let count = unsafe OPENSSL_sk_num(issuers)
        for position in 0...count {
            let name = position == 0 ? "the certificate" : "issuer \(position) of the chain"
            if let problem = unsafe Self.validityProblem(subject, name) {
                throw refuse(source.certificatePath, problem)
            }
            guard position < count else { break }
            guard let issuer = unsafe OPENSSL_sk_value(issuers, position) else { break }
            let next = OpaquePointer(issuer)
            if let problem = unsafe chainProblem(subject, next, Int(position) + 1) {
                throw refuse(source.certificatePath, problem)
            }
            unsafe subject = next
        }
        guard !names.isEmpty || !addresses.isEmpty else {
            throw refuse(source.certificatePath, "the certificate names no host")
        }
    }

    private func chainProblem(
        _ subject: OpaquePointer, _ issuer: OpaquePointer, _ position: Int
    ) -> String? {
        defer { ERR_clear_error() }
        if unsafe X509_check_issued(issuer, subject) == X509_V_OK,
            unsafe X509_verify(subject, X509_get0_pubkey(issuer)) == 1
        {
            return nil
        }
        for other in 0..<(unsafe OPENSSL_sk_num(issuers)) where Int(other) != position - 1 {
            guard let candidate = unsafe OPENSSL_sk_value(issuers, other) else { continue }
            let certificate = OpaquePointer(candidate)
            if unsafe certificate != subject,
                unsafe X509_check_issued(certificate, subject) == X509_V_OK
            {
                return "the chain is out of order at certificate \(position + 1)"
            }
        }
        return "the chain is broken: certificate \(position + 1) did not issue certificate "
            + "\(position)"
    }

    private static func weakness(_ key: OpaquePointer) -> String? {
        let bits = unsafe EVP_PKEY_get_bits(key)
        // 112 bits of security: RSA from 2048, elliptic curves from 224.
        guard unsafe EVP_PKEY_get_security_bits(key) < 112 else { return nil }
        return "the key is too weak: \(bits) bits"
    }

    private static func validityProblem(_ certificate: OpaquePointer, _ name: String) -> String? {
        func text(_ time: UnsafePointer<ASN1_TIME>?) -> String {
            var buffer = [CChar](repeating: 0, count: 32)
            unsafe edge_time_text(time, &buffer, buffer.count)
            return String(
                decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        }
        let start = unsafe X509_get0_notBefore(certificate)
        let end = unsafe X509_get0_notAfter(certificate)
        if unsafe X509_cmp_current_time(end) < 0 {
            return unsafe "\(name) expired on \(text(end))"
        }
        if unsafe X509_cmp_current_time(start) > 0 {
            return unsafe "\(name) is not valid before \(text(start))"
        }
        return nil
    }

    private static func alternativeNames(
        _ certificate: OpaquePointer
    ) -> (names: [[UInt8]], addresses: [AddressBytes]) {
        var names: [[UInt8]] = []
        var addresses: [AddressBytes] = []
        guard let raw = unsafe X509_get_ext_d2i(certificate, NID_subject_alt_name, nil, nil) else {
            return unsafe (commonName(certificate).flatMap(tableName).map { [$0] } ?? [], [])
        }
        let list = OpaquePointer(raw)
        defer { unsafe GENERAL_NAMES_free(list) }
        var index: Int32 = 0
        var type: Int32 = 0
        while true {
            var bytes: UnsafePointer<UInt8>?
            let count = unsafe edge_general_name(list, index, &type, &bytes)
            guard count >= 0 else { break }
            index += 1
            guard let base = unsafe bytes else { continue }
            let value = unsafe Bytes(base, count: Int(count))
            if type == GEN_DNS, let name = tableName(value.array) {
                names.append(name)
            } else if type == GEN_IPADD, let address = AddressBytes(raw: value) {
                addresses.append(address)
            }
        }
        return (names, addresses)
    }

    /// The subject's common name, which counts only where there is no SAN (RFC 6125 §6.4.4).
    private static func commonName(_ certificate: OpaquePointer) -> [UInt8]? {
        var text = [CChar](repeating: 0, count: 256)
        let count = unsafe X509_NAME_get_text_by_NID(
            X509_get_subject_name(certificate), NID_commonName, &text, Int32(text.count))
        guard count > 0 else { return nil }
        return text.prefix(Int(count)).map { UInt8(bitPattern: $0) }
    }

    /// A name as the tables keep it; nil for what can never be asked for (RFC 6125 §6.4.3).
    private static func tableName(_ raw: [UInt8]) -> [UInt8]? {
        var name = raw.map(ASCII.lowercase)
        if name.last == UInt8(ascii: ".") { name.removeLast() }
        if name.starts(with: [UInt8(ascii: "*"), UInt8(ascii: ".")]) { name.removeFirst() }
        let isPlain = name.allSatisfy {
            ASCII.isLetter($0) || ASCII.isDigit($0) || $0 == 0x2D || $0 == 0x2E || $0 == 0x5F
        }
        guard isPlain, name.contains(where: { $0 != 0x2E }), name.count <= Limits.hostBytes
        else { return nil }
        return name
    }
}
