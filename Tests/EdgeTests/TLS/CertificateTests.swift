import COpenSSL
import Testing

@testable import Edge

/// Asks for new keys, as a peer may at any time (RFC 8446 §4.6.3).
enum KeyUpdates {
    static func request(_ end: TLSEnd) { end.session.requestKeyUpdate() }
}

extension TLSSession {
    mutating func requestKeyUpdate() {
        unsafe withSSL { ssl in
            unsafe SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED)
            unsafe SSL_do_handshake(ssl)
        }
    }
}

@Suite("Certificate files") struct CertificateTests {
    private static func problem(_ names: [String]) -> (path: String, message: String, index: Int?)?
    {
        do throws(TLSConfigurationError) {
            _ = try Contexts.server(names)
            return nil
        } catch {
            let folder = CertificateFixture.shared.folder
            let path = String(error.path.dropFirst(folder.utf8.count + 1))
            return (path, error.message, error.certificateIndex)
        }
    }

    @Test(
        "are refused with the cause in words",
        arguments: [
            ("absent", "absent.crt", "no such file or directory"),
            ("empty", "empty.crt", "no certificate in PEM form"),
            ("damaged", "damaged.crt", "bad PEM: bad base64 decode"),
            ("keyless", "keyless.key", "no readable private key in PEM form"),
            ("locked", "locked.key", "the key is encrypted"),
            ("mismatch", "mismatch.key", "the key does not match the certificate"),
            ("expired", "expired.crt", "the certificate expired on 20"),
            ("weak", "weak.key", "the key is too weak: 1024 bits"),
            ("unordered", "unordered.crt", "the chain is out of order at certificate 2"),
            ("unrelated", "unrelated.crt", "certificate 2 did not issue certificate 1"),
            ("broken", "broken.crt", "certificate 2 did not issue certificate 1"),
        ])
    func refused(name: String, path: String, message: String) throws {
        let problem = try #require(Self.problem(["ecdsa", name]))
        #expect(problem.path == path)
        #expect(problem.message.contains(message), "\(problem.message)")
        #expect(problem.index == 1)
    }

    @Test("are taken when they are good")
    func accepted() {
        #expect(Self.problem(["ecdsa", "rsa", "exact", "wide", "common", "deep"]) == nil)
    }

    @Test("cannot be two defaults of one kind, nor none at all")
    func defaults() {
        #expect(throws: TLSConfigurationError.self) {
            try Contexts.server(["ecdsa", "exact"], defaults: ["ecdsa", "exact"])
        }
        #expect(throws: TLSConfigurationError.self) { try Contexts.server([]) }
    }

    @Test("of roots are refused with the cause in words")
    func roots() {
        let files = CertificateFixture.shared
        for (name, message) in [
            ("absent", "no such file or directory"), ("empty.crt", "no certificate in PEM form"),
        ] {
            #expect(throws: TLSConfigurationError(path: files.path(name), message: message)) {
                try Contexts.client(ca: name)
            }
        }
    }

    @Test(
        "may name addresses in any spelling",
        arguments: [
            ("127.0.0.1", "127.0.0.1", true), ("::1", "0:0:0:0:0:0:0:1", true),
            ("[2001:DB8::1]", "2001:db8:0:0::1", true), ("::ffff:1.2.3.4", "1.2.3.4", true),
            ("1::", "1:0:0:0:0:0:0:0", true), ("::", "0::0", true), ("::1", "::2", false),
        ])
    func addresses(left: String, right: String, equal: Bool) throws {
        let first = try #require(left.withBytes { AddressBytes(text: $0) })
        let second = try #require(right.withBytes { AddressBytes(text: $0) })
        #expect((first == second) == equal)
    }

    @Test(
        "do not take other text for addresses",
        arguments: [
            "", ":", ":::", "1:2", "1:2:3:4:5:6:7:8:9", "1::2::3", "12345::", "::g", "1.2.3",
            "1.2.3.256", "01.2.3.4", "1.2.3.4.5", "[::1", "::1]", "1:2:3:4:5:6:7:8::", "1:2:3:",
            "localhost", "::1.2.3", "1:2:3:4:5:6:7:1.2.3.4", "[]", "%", "1..2.3",
        ])
    func notAddresses(text: String) {
        #expect(text.withBytes { AddressBytes(text: $0) } == nil)
    }
}
