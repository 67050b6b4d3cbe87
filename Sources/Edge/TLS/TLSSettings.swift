// What is asked of TLS, as values: certificates, versions, protocols.

import COpenSSL

/// The oldest version that is spoken; the newest is always 1.3.
enum TLSVersion: String, Sendable, CaseIterable {
    case tls12 = "1.2"
    case tls13 = "1.3"

    var number: Int32 {
        switch self {
        case .tls12: TLS1_2_VERSION
        case .tls13: TLS1_3_VERSION
        }
    }
}

/// A protocol that ALPN can choose (RFC 7301).
enum ALPNProtocol: UInt8, Sendable, CaseIterable, BitwiseCopyable {
    case http1 = 1
    case http2 = 2

    /// The registered name.
    var name: StaticString {
        switch self {
        case .http1: "http/1.1"
        case .http2: "h2"
        }
    }

    init?(name: Bytes) {
        if name.equals("h2") {
            self = .http2
        } else if name.equals("http/1.1") {
            self = .http1
        } else {
            return nil
        }
    }
}

/// What a client offers; HTTP/2 goes first.
struct ALPNSet: OptionSet, Sendable, BitwiseCopyable {
    let rawValue: UInt8

    static let http1 = ALPNSet(rawValue: 1)
    static let http2 = ALPNSet(rawValue: 2)
    static let both: ALPNSet = [.http1, .http2]
}

/// A certificate chain and its key, as files in PEM.
struct CertificateSource: Sendable, Equatable {
    var certificatePath: String
    var keyPath: String
    /// Serves clients that send no name or one that no certificate covers.
    var isDefault = false
}

/// What a listener's TLS is made of.
struct TLSServerSettings: Sendable {
    var certificates: [CertificateSource]
    var minimumVersion = TLSVersion.tls12
    /// In order of preference; empty: the extension is ignored and HTTP/1.1 is spoken.
    var alpn: [ALPNProtocol] = [.http2, .http1]
    var ticketKeys: TicketKeys
    /// Secrets in the NSS format are appended to this file.
    var keyLogPath: String?
}

/// How upstream servers are judged.
struct TLSClientSettings: Sendable {
    /// Roots in PEM; nil: the system's.
    var caPath: String?
    var verifies = true
    var minimumVersion = TLSVersion.tls12
}

/// A file of TLS material that cannot be used, with the cause in words.
struct TLSConfigurationError: Error, Equatable, CustomStringConvertible {
    var path: String
    var message: String
    /// Which of the settings' certificates it belongs to, from 0.
    var certificateIndex: Int?

    var description: String { "\(path): \(message)" }

    /// The cause in the thread's error queue, in words: the system's if it is one, else the newest.
    ///
    /// Empties the queue.
    static func takeReason(_ fallback: String) -> String {
        let first = ERR_peek_error()
        let code = ERR_GET_LIB(first) == ERR_LIB_SYS ? first : ERR_peek_last_error()
        ERR_clear_error()
        return reason(code, fallback)
    }

    /// An error of OpenSSL or of the system below it, in words.
    static func reason(_ code: UInt, _ fallback: String) -> String {
        guard code != 0 else { return fallback }
        var text = [CChar](repeating: 0, count: 256)
        unsafe ERR_error_string_n(code, &text, text.count)
        // error:CODE:LIBRARY:FUNCTION:REASON
        let whole = String(decoding: text.prefix { $0 != 0 }.map(UInt8.init), as: UTF8.self)
        let reason = whole.split(separator: ":", omittingEmptySubsequences: false).last ?? ""
        return reason.isEmpty ? fallback : reason.lowercased()
    }
}
