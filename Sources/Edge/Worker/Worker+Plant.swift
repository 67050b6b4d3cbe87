// Leaks on purpose (`run --plant-leak KIND`): tests see by them whether the ledger finds each kind.

/// What is opened and lost: a kind of the ledger, or a socket that no count knows.
enum PlantedLeak: Sendable {
    case counted(LedgerKind)
    case descriptor

    /// From the ledger's name of a kind, or `descriptor`; nil when there is none of that name.
    init?(_ name: String) {
        if name == "descriptor" {
            self = .descriptor
        } else if let kind = LedgerKind.allCases.first(where: { $0.name.description == name }) {
            self = .counted(kind)
        } else {
            return nil
        }
    }
}

extension Worker {
    /// Opens one thing as it is opened otherwise, and forgets to close it.
    func lose(_ leak: PlantedLeak) {
        switch leak {
        case .descriptor: loseSocket()
        case .counted(let kind): lose(kind)
        }
    }

    private func lose(_ kind: LedgerKind) {
        switch kind {
        case .frontSocket, .upstreamSocket: loseSocket()
        case .frontTLS, .upstreamTLS: loseTLS(isClient: kind == .upstreamTLS)
        case .frontHTTP2: loseSession(.server)
        case .upstreamHTTP2: loseSession(.client)
        // These three are counted where they are kept.
        case .frontStream, .upstreamStream: return loseStream(by: kind)
        case .resolverQuery: return resolver[].loseQuery()
        case .timer:
            var deadline = Deadline()
            return loop[].timers.set(
                &deadline, Token(.exchange, slot: .max), at: loop[].now + .seconds(86_400))
        case .exchange, .waiter: loseExchange(isWaiting: kind == .waiter)
        case .hostClient: losePool()
        }
        counters.open(kind)
    }

    /// A socket that is open, whatever becomes of its connection.
    private func loseSocket() {
        guard let nowhere = SocketAddress(numeric: "127.0.0.1", port: 9) else { return }
        _ = try? Socket.connect(nowhere)
    }

    private func loseTLS(isClient: Bool) {
        let wire = Ref.allocate(TLSWire(descriptor: -1, output: ByteQueue(pool: buffers)))
        if isClient {
            guard let tls = try? TLSClientContext(TLSClientSettings(verifies: false)),
                let session = TLSSession(
                    client: tls, wire: wire, serverName: Bytes("planted.test"), alpn: [],
                    sessions: nil)
            else { return }
            _ = Ref.allocate(session)
        } else if let tls = state[].snapshot.listeners.lazy.compactMap(\.tls).first,
            let session = TLSSession(server: tls, wire: wire)
        {
            _ = Ref.allocate(session)
        }
    }

    private func makeSession(_ role: HTTP2Role) -> Ref<HTTP2Session>? {
        let session = HTTP2Session(
            role: role, settings: HTTP2Settings(), pool: buffers, heads: heads, memory: http2)
        guard let session else { return nil }
        return .allocate(session)
    }

    private func loseSession(_ role: HTTP2Role) { _ = makeSession(role) }

    /// A request from one session to another, of which the side in question is never ended.
    private func loseStream(by kind: LedgerKind) {
        guard let client = makeSession(.client), let server = makeSession(.server) else { return }
        let head = heads[].take()
        defer { heads[].give(head) }
        head[].method = .get
        head[].methodText = head[].append(Bytes("GET"))
        head[].target = head[].append(Bytes("/"))
        _ = client[].submitRequest(
            head[], scheme: "http", authority: Bytes("planted.test"), outlet: nil)
        var frames = ByteQueue(pool: buffers)
        _ = try? client[].write(into: &frames, upTo: 4096)
        try? server[].receive(frames.bytes, now: loop[].now)
        (kind == .frontStream ? client : server).destroy()
    }

    /// An exchange whose client has gone.
    private func loseExchange(isWaiting: Bool) {
        let head = heads[].take()
        let exchange = exchanges[].insert { token in
            Exchange(
                token: token, front: .none, stream: 0, head: head, buffers: buffers,
                now: loop[].now)
        }
        exchange?[].isCounted = !isWaiting
        exchange?[].isWaiting = isWaiting
    }

    /// A pool that has ended without being counted as closed.
    private func losePool() {
        guard let identity = state[].snapshot.runtimes.first?.identity else { return }
        let client = HostClient(
            identity: identity, host: Bytes("planted.test"), hasher: registry.hasher,
            isPooled: false)
        let pool = pools[].insert { token in
            HostPool(token: token, client: client, worker: index)
        }
        if let pool { pools[].retire(pool[].token) }
    }
}
