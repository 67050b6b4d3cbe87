import COpenSSL
import Testing

@testable import Edge

/// Limits of a client that only tests need.
enum ClientLimits {
    static func newest12(_ client: TLSClientContext) {
        unsafe SSL_CTX_ctrl(
            client.base, SSL_CTRL_SET_MAX_PROTO_VERSION, Int(TLS1_2_VERSION), nil)
    }

    static func signatures(_ client: TLSClientContext, _ list: String) {
        var text = Array(list.utf8CString)
        unsafe SSL_CTX_ctrl(client.base, SSL_CTRL_SET_SIGALGS_LIST, 0, &text)
    }
}

@Suite("A TLS handshake") struct TLSHandshakeTests {
    @Test("works on both versions with both kinds of key", arguments: TLSVersion.allCases, [0, 1])
    func versionsAndKeys(version: TLSVersion, certificate: Int) throws {
        let server = try Contexts.server(["ecdsa", "rsa"])
        let client = try Contexts.client()
        if version == .tls12 { ClientLimits.newest12(client) }
        let list = certificate == 0 ? "ECDSA+SHA256" : "RSA-PSS+SHA256:RSA+SHA256"
        ClientLimits.signatures(client, list + (version == .tls12 ? "" : ":ECDSA+SHA384"))
        if certificate == 0 { ClientLimits.signatures(client, "ECDSA+SHA256") }
        let client2 = try Contexts.client()
        if version == .tls12 { ClientLimits.newest12(client2) }
        // The certificates are signed with ECDSA, which an RSA-only client of 1.3 cannot verify.
        let chosen = certificate == 1 && version == .tls13 ? client2 : client
        let pair = try #require(
            TLSPair(certificate == 1 ? try Contexts.server(["rsa"]) : server, chosen))
        #expect(pair.connect())
        #expect(pair.server.version == "TLSv\(version.rawValue)")
        #expect(pair.client.write("ping"))
        pair.client.flush()
        #expect(pair.server.readText() == "ping")
        #expect(!pair.server.isResumed)
    }

    @Test("presents the certificate that the client can verify")
    func bothKinds() throws {
        let server = try Contexts.server(["ecdsa", "rsa"])
        for (list, index) in [("ECDSA+SHA256", 0), ("RSA-PSS+SHA256:RSA+SHA256", 1)] {
            let client = try Contexts.client(verifies: false)
            ClientLimits.newest12(client)
            ClientLimits.signatures(client, list)
            let pair = try #require(TLSPair(server, client))
            #expect(pair.connect(), "\(list)")
            #expect(pair.server.certificateIndex == index)
        }
    }

    @Test("is refused below the minimum version")
    func minimum() throws {
        let client = try Contexts.client()
        ClientLimits.newest12(client)
        let pair = try #require(TLSPair(try Contexts.server(minimum: .tls13), client))
        #expect(!pair.connect())
        #expect(pair.serverFailure?.kind == .protocolError)
        #expect(pair.serverFailure?.reason.string == "unsupported protocol")
        #expect(pair.clientFailure?.reason.string == "tlsv1 alert protocol version")
    }

    @Test("chooses a protocol by the server's preference")
    func alpn() throws {
        let both = try Contexts.server()
        let client = try Contexts.client()
        func outcome(_ server: TLSServerContext, _ offer: ALPNSet) throws -> ALPNProtocol? {
            let pair = try #require(TLSPair(server, client, alpn: offer))
            #expect(pair.connect())
            let (ours, theirs) = (pair.client.negotiated, pair.server.negotiated)
            #expect(ours == theirs)
            return ours
        }
        #expect(try outcome(both, .both) == .http2)
        #expect(try outcome(both, .http2) == .http2)
        #expect(try outcome(both, .http1) == .http1)
        #expect(try outcome(both, []) == nil)
        #expect(try outcome(Contexts.server(alpn: [.http1, .http2]), .both) == .http1)
        #expect(try outcome(Contexts.server(alpn: []), .both) == nil)
    }

    @Test("fails when no protocol is shared")
    func alpnMismatch() throws {
        let pair = try #require(
            TLSPair(try Contexts.server(alpn: [.http1]), try Contexts.client(), alpn: .http2))
        #expect(!pair.connect())
        #expect(pair.clientFailure?.reason.string == "tlsv1 alert no application protocol")
    }

    @Test("selects certificates by exact name, then wildcard, then default")
    func serverName() throws {
        let server = try Contexts.server(
            ["exact", "wide", "ecdsa"], defaults: ["ecdsa"])
        let client = try Contexts.client(verifies: false)
        let expected: [(String, Int)] = [
            ("a.example.com", 0), ("A.Example.COM", 0), ("b.example.com", 1), ("example.com", 1),
            ("x.b.example.com", 2), ("localhost", 2), ("unknown.test", 2), ("127.0.0.1", 2),
            ("b.example.com.", 1),
        ]
        for (name, index) in expected {
            let pair = try #require(TLSPair(server, client, name: name))
            #expect(pair.connect())
            #expect(pair.server.certificateIndex == index, "\(name)")
            let sent = name == "127.0.0.1" ? nil : name.hasSuffix(".") ? "b.example.com" : name
            #expect(pair.server.serverName == sent)
        }
        #expect(server.choiceCount == 3)
    }

    @Test("says which hosts its certificate covers")
    func coverage() throws {
        let server = try Contexts.server(["ecdsa", "exact", "wide", "common"])
        let client = try Contexts.client(verifies: false)
        func covers(_ name: String, _ hosts: [String]) throws -> [Bool] {
            let pair = try #require(TLSPair(server, client, name: name))
            #expect(pair.connect())
            return hosts.map { pair.server.covers($0) }
        }
        #expect(
            try covers(
                "localhost",
                [
                    "localhost", "LOCALHOST", "x.localhost", "x.y.localhost", ".localhost", "",
                    "127.0.0.1", "127.0.0.2", "::1", "[::1]", "[0:0::0:1]", "[::2]",
                    "a.example.com",
                ]) == [
                    true, true, true, false, false, false, true, false, true, true, true, false,
                    false,
                ])
        #expect(
            try covers("b.example.com", ["a.example.com", "example.com", "com", "localhost"])
                == [true, true, false, false])
        #expect(
            try covers("a.example.com", ["a.example.com", "b.example.com"]) == [true, false])
        #expect(try covers("common.test", ["common.test", "a.common.test"]) == [true, false])
    }

    @Test("checks whom it speaks to")
    func verification() throws {
        func failure(
            _ certificate: String, _ name: String, ca: String = "ca.crt"
        ) throws -> TLSFailure? {
            let pair = try #require(
                TLSPair(try Contexts.server([certificate]), try Contexts.client(ca: ca), name: name)
            )
            _ = pair.connect()
            return pair.clientFailure
        }
        #expect(try failure("ecdsa", "localhost") == nil)
        // OpenSSL takes no wildcard right below a top level.
        #expect(try failure("ecdsa", "x.localhost")?.kind == .certificateNameMismatch)
        #expect(try failure("wide", "b.example.com") == nil)
        #expect(try failure("ecdsa", "127.0.0.1") == nil)
        #expect(try failure("ecdsa", "::1") == nil)
        #expect(try failure("deep", "deep.test") == nil)
        #expect(try failure("ecdsa", "127.0.0.2")?.kind == .certificateNameMismatch)
        #expect(try failure("ecdsa", "wrong.test")?.kind == .certificateNameMismatch)
        #expect(try failure("ecdsa", "wrong.test")?.reason.string == "hostname mismatch")
        let unknown = try failure("stranger", "localhost")
        #expect(unknown?.kind == .certificateInvalid)
        #expect(unknown?.reason.string == "unable to get local issuer certificate")
        #expect(try failure("stranger", "localhost", ca: "other.crt") == nil)
    }

    @Test("refuses an upstream certificate that has expired")
    func expired() throws {
        // Our own server refuses to load it: swap it in beneath the checks.
        let server = try Contexts.server(["ecdsa"])
        let files = CertificateFixture.shared
        unsafe SSL_CTX_use_certificate_file(
            server.base, files.path("expired.crt"), SSL_FILETYPE_PEM)
        unsafe SSL_CTX_use_PrivateKey_file(
            server.base, files.path("expired.key"), SSL_FILETYPE_PEM)
        let pair = try #require(TLSPair(server, try Contexts.client()))
        #expect(!pair.connect())
        #expect(pair.clientFailure?.kind == .certificateInvalid)
        #expect(pair.clientFailure?.reason.string == "certificate has expired")
        #expect(pair.serverFailure?.reason.string == "sslv3 alert certificate expired")
    }

    @Test("refuses names that cannot be one")
    func impossibleNames() throws {
        let server = try Contexts.server()
        let client = try Contexts.client()
        for name in ["", ".", String(repeating: "a", count: 254), "a\0b"] {
            #expect(TLSPair(server, client, name: name) == nil)
        }
    }

    @Test("writes its secrets where it was told to")
    func keyLog() throws {
        let path = CertificateFixture.shared.path("keys.log")
        let pair = try #require(
            TLSPair(try Contexts.server(keyLog: path), try Contexts.client()))
        #expect(pair.connect())
        guard let file = unsafe BIO_new_file(path, "r") else {
            Issue.record("no key log")
            return
        }
        defer { unsafe BIO_free_all(file) }
        var line = [CChar](repeating: 0, count: 300)
        #expect(unsafe BIO_gets(file, &line, 300) > 0)
        let text = String(decoding: line.prefix { $0 != 0 }.map { UInt8($0) }, as: UTF8.self)
        #expect(text.contains("_SECRET ") || text.hasPrefix("CLIENT_"))
    }

    @Test("survives its context: a reload may drop it")
    func contextDropped() throws {
        weak var dropped: TLSServerContext?
        func make() throws -> TLSPair? {
            let server = try Contexts.server(["ecdsa", "exact"])
            dropped = server
            return TLSPair(server, try Contexts.client(verifies: false), name: "a.example.com")
        }
        let pair = try #require(try make())
        #expect(dropped == nil)
        #expect(pair.connect())
        #expect(pair.server.certificateIndex == 1)
    }

    @Test("never traps on damaged bytes")
    func mutations() throws {
        let server = try Contexts.server(["ecdsa", "rsa"])
        let client = try Contexts.client()
        var generator = SplitMix(state: 42)
        for round in 0..<300 {
            if round == 150 { ClientLimits.newest12(client) }
            let pair = try #require(TLSPair(server, client, alpn: .both))
            for _ in 0..<6 {
                for end in [pair.client, pair.server] {
                    end.wire[].isDrained = false
                    _ = end.session.handshake()
                    Self.damage(end, &generator)
                    end.flush()
                }
            }
            _ = pair.server.read()
            _ = pair.client.read()
            _ = pair.server.write("x")
            pair.server.session.closeNotify()
        }
    }

    private static func damage(_ end: TLSEnd, _ generator: inout SplitMix) {
        var bytes = end.waiting
        guard !bytes.isEmpty, generator.next() % 3 == 0 else { return }
        for _ in 0...(generator.next() % 4) {
            let place = Int(generator.next() % UInt64(bytes.count))
            switch generator.next() % 3 {
            case 0: bytes[place] ^= UInt8(truncatingIfNeeded: generator.next() | 1)
            case 1: bytes.remove(at: place)
            default: bytes.insert(UInt8(truncatingIfNeeded: generator.next()), at: place)
            }
            if bytes.isEmpty { break }
        }
        end.wire[].output.removeAll()
        bytes.withBytes { end.wire[].output.append($0) }
    }
}
