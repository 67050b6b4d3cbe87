import Synchronization
import Testing

@testable import Edge

/// A clock that tests move.
final class ManualClock: Sendable {
    private let seconds = Atomic<Int64>(0)

    var now: Instant { Instant(nanoseconds: seconds.load(ordering: .relaxed) * 1_000_000_000) }

    func advance(seconds count: Int64) { seconds.add(count, ordering: .relaxed) }
}

@Suite("TLS resumption") struct TLSResumptionTests {
    private static func client(_ version: TLSVersion) throws -> TLSClientContext {
        let client = try Contexts.client()
        if version == .tls12 { ClientLimits.newest12(client) }
        return client
    }

    private static func resumes(
        _ server: TLSServerContext, _ client: TLSClientContext, _ sessions: TLSClientSessions,
        name: String = "localhost"
    ) throws -> Bool {
        let pair = try #require(TLSPair(server, client, name: name, sessions: sessions))
        #expect(pair.connect())
        let (ours, theirs) = (pair.client.isResumed, pair.server.isResumed)
        #expect(ours == theirs)
        return ours
    }

    @Test("works on both versions, again and again", arguments: TLSVersion.allCases)
    func repeated(version: TLSVersion) throws {
        let server = try Contexts.server()
        let client = try Self.client(version)
        let sessions = TLSClientSessions()
        #expect(try !Self.resumes(server, client, sessions))
        for _ in 0..<4 {
            #expect(sessions.count == 1)
            #expect(try Self.resumes(server, client, sessions))
        }
        sessions.removeAll()
        #expect(try !Self.resumes(server, client, sessions))
    }

    @Test("crosses contexts that share their keys, and none that do not")
    func contexts() throws {
        let keys = TicketKeys(rotation: .seconds(3600))
        let client = try Contexts.client()
        let sessions = TLSClientSessions()
        #expect(try !Self.resumes(Contexts.server(keys: keys), client, sessions))
        #expect(
            try Self.resumes(Contexts.server(["ecdsa", "exact"], keys: keys), client, sessions))
        #expect(try !Self.resumes(Contexts.server(), client, sessions))
    }

    @Test("keeps the certificate that the name leads to")
    func names() throws {
        let server = try Contexts.server(["ecdsa", "exact"])
        let client = try Contexts.client()
        let sessions = TLSClientSessions()
        #expect(try !Self.resumes(server, client, sessions, name: "a.example.com"))
        let pair = try #require(TLSPair(server, client, name: "a.example.com", sessions: sessions))
        #expect(pair.connect())
        #expect(pair.server.isResumed)
        #expect(pair.server.certificateIndex == 1)
        #expect(pair.server.covers("a.example.com"))
        #expect(!pair.server.covers("localhost"))
    }

    @Test("survives one rotation of the keys, not two", arguments: TLSVersion.allCases)
    func rotation(version: TLSVersion) throws {
        let clock = ManualClock()
        let keys = TicketKeys(rotation: .seconds(100), clock: { clock.now })
        let server = try Contexts.server(keys: keys)
        let client = try Self.client(version)
        let sessions = TLSClientSessions()
        #expect(try !Self.resumes(server, client, sessions))
        clock.advance(seconds: 150)
        // Sealed with the first key, renewed with the second.
        #expect(try Self.resumes(server, client, sessions))
        clock.advance(seconds: 90)
        #expect(try Self.resumes(server, client, sessions))
        clock.advance(seconds: 1000)
        #expect(try !Self.resumes(server, client, sessions))
    }

    @Test("works with keys from files, old ones included", arguments: TLSVersion.allCases)
    func files(version: TLSVersion) throws {
        let files = CertificateFixture.shared
        let keys = TicketKeys(file: try TicketKeyFile(path: files.path("tickets.bin")))
        let server = try Contexts.server(keys: keys)
        let client = try Self.client(version)
        let sessions = TLSClientSessions()
        #expect(try !Self.resumes(server, client, sessions))
        keys.adopt(try TicketKeyFile(path: files.path("tickets-new.bin")))
        #expect(try Self.resumes(server, client, sessions))
        // A replica with the same file takes it, too.
        let replica = TicketKeys(file: try TicketKeyFile(path: files.path("tickets-new.bin")))
        #expect(try Self.resumes(Contexts.server(keys: replica), client, sessions))
    }

    @Test("refuses files that hold no whole keys")
    func badFiles() {
        let files = CertificateFixture.shared
        #expect(
            throws: TLSConfigurationError(
                path: files.path("tickets-bad.bin"),
                message: "holds 81 bytes, not 1 to 16 keys of 80 bytes")
        ) { try TicketKeyFile(path: files.path("tickets-bad.bin")) }
        #expect(
            throws: TLSConfigurationError(
                path: files.path("absent"), message: "no such file or directory")
        ) { try TicketKeyFile(path: files.path("absent")) }
    }

    @Test("keeps four sessions and uses each of TLS 1.3 once")
    func bounds() throws {
        let server = try Contexts.server()
        let client = try Contexts.client()
        let sessions = TLSClientSessions()
        for _ in 0..<6 {
            // A client that is not offered a session leaves one more behind.
            let pair = try #require(TLSPair(server, client, sessions: sessions))
            #expect(pair.connect())
        }
        #expect(sessions.count == 1)
        var pairs: [TLSPair] = []
        for _ in 0..<6 { pairs.append(try #require(TLSPair(server, client, sessions: sessions))) }
        for pair in pairs { #expect(pair.connect()) }
        #expect(pairs.map { $0.client.isResumed } == [true] + Array(repeating: false, count: 5))
        #expect(sessions.count == 4)
    }
}
