import Glibc

@testable import Edge

/// One end of a TLS connection over a socket pair.
final class TLSEnd {
    let pool = Ref.allocate(BufferPool())
    let wire: Ref<TLSWire>
    var session: TLSSession

    init?(_ descriptor: Int32, _ make: (Ref<TLSWire>) -> TLSSession?) {
        wire = Ref.allocate(TLSWire(descriptor: descriptor, output: ByteQueue(pool: pool)))
        guard let session = make(wire) else { return nil }
        self.session = session
    }

    deinit {
        if wire[].descriptor >= 0 { close(wire[].descriptor) }
        // The session is destroyed after this; it does not touch the wire any more.
        let wire = self.wire
        let pool = self.pool
        wire.destroy()
        pool.destroy()
    }

    /// Sends what waits; false when nothing went out.
    @discardableResult
    func flush() -> Bool {
        let bytes = wire[].output.bytes
        guard bytes.count > 0 else { return false }
        let sent = unsafe send(wire[].descriptor, bytes.base, bytes.count, Int32(MSG_NOSIGNAL))
        guard sent > 0 else { return false }
        wire[].output.consume(sent)
        return true
    }

    func step() -> TLSStep {
        wire[].isDrained = false
        let step = session.handshake()
        flush()
        return step
    }

    func write(_ bytes: [UInt8]) -> Bool { bytes.withBytes { session.write($0) } }

    func write(_ text: String) -> Bool { write(Array(text.utf8)) }

    func read(_ capacity: Int = 65536) -> (TLSRead, [UInt8]) {
        wire[].isDrained = false
        var bytes = [UInt8](repeating: 0, count: capacity)
        let result = unsafe bytes.withUnsafeMutableBufferPointer { buffer in
            unsafe buffer.baseAddress.map { unsafe session.read(into: $0, capacity: capacity) }
        }
        guard case .bytes(let count)? = result else { return (result ?? .wantsRead, []) }
        return (.bytes(count), Array(bytes.prefix(count)))
    }

    func readText() -> String { String(decoding: read().1, as: UTF8.self) }

    func end() {
        close(wire[].descriptor)
        wire[].descriptor = -1
    }

    var isResumed: Bool { session.isResumed }
    var version: String { session.versionName.description }
    var negotiated: ALPNProtocol? { session.negotiated }
    var certificateIndex: Int? { session.certificateIndex }
    var hasBuffered: Bool { session.hasBuffered }
    var isDrained: Bool { wire[].isDrained }
    var waiting: [UInt8] { wire[].output.bytes.array }
    func covers(_ host: String) -> Bool { host.withBytes { session.coversHost($0) } }

    var serverName: String? { session.withServerName { $0.string } }
}

/// Two ends that speak to each other.
final class TLSPair {
    let client: TLSEnd
    let server: TLSEnd
    private(set) var clientStep = TLSStep.wantsRead
    private(set) var serverStep = TLSStep.wantsRead

    init?(
        _ serverContext: TLSServerContext, _ clientContext: TLSClientContext,
        name: String = "localhost", alpn: ALPNSet = [], sessions: TLSClientSessions? = nil
    ) {
        let (left, right) = Self.sockets()
        guard
            let client = TLSEnd(
                left,
                { wire in
                    let text = UnsafeMutablePointer<UInt8>.allocate(capacity: name.utf8.count + 1)
                    defer { unsafe text.deallocate() }
                    for (index, byte) in name.utf8.enumerated() { unsafe text[index] = byte }
                    return TLSSession(
                        client: clientContext, wire: wire,
                        serverName: unsafe Bytes(text, count: name.utf8.count), alpn: alpn,
                        sessions: sessions)
                }),
            let server = TLSEnd(right, { TLSSession(server: serverContext, wire: $0) })
        else { return nil }
        self.client = client
        self.server = server
    }

    static func sockets() -> (Int32, Int32) {
        var pair: [Int32] = [-1, -1]
        let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
        precondition(unsafe socketpair(AF_UNIX, kind, 0, &pair) == 0)
        return (pair[0], pair[1])
    }

    /// Goes back and forth until both are done or one has failed.
    func shake() {
        for _ in 0..<12 {
            if case .wantsRead = clientStep { clientStep = client.step() }
            if case .wantsRead = serverStep { serverStep = server.step() }
        }
    }

    /// A handshake whose client has also read what the server sent after it: tickets.
    func connect() -> Bool {
        shake()
        guard case .done = clientStep, case .done = serverStep else { return false }
        _ = client.read()
        return true
    }

    var clientFailure: TLSFailure? {
        if case .failed(let failure) = clientStep { failure } else { nil }
    }

    var serverFailure: TLSFailure? {
        if case .failed(let failure) = serverStep { failure } else { nil }
    }
}

/// Contexts over the fixture's files.
enum Contexts {
    static var files: CertificateFixture { .shared }

    static func server(
        _ names: [String] = ["ecdsa"], minimum: TLSVersion = .tls12,
        alpn: [ALPNProtocol] = [.http2, .http1],
        keys: TicketKeys = TicketKeys(rotation: .seconds(3600)), defaults: Set<String> = [],
        keyLog: String? = nil
    ) throws(TLSConfigurationError) -> TLSServerContext {
        try TLSServerContext(
            TLSServerSettings(
                certificates: names.map {
                    files.source($0, isDefault: defaults.contains($0))
                }, minimumVersion: minimum, alpn: alpn, ticketKeys: keys, keyLogPath: keyLog))
    }

    static func client(
        verifies: Bool = true, ca: String = "ca.crt", minimum: TLSVersion = .tls12
    ) throws(TLSConfigurationError) -> TLSClientContext {
        try TLSClientContext(
            TLSClientSettings(
                caPath: files.path(ca), verifies: verifies, minimumVersion: minimum))
    }
}
