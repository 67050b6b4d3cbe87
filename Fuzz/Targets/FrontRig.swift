// A worker in this thread, with clients and services at the other ends of its sockets.

import Glibc
import Synchronization

@testable import Edge

/// The worker of the `front` target: its listeners are unix sockets without a file, its services
/// one listener on loopback that the rig accepts from.
final class FrontRig {
    /// What stands behind a listener of the worker.
    static let listeners = 3
    /// Where `/refused` leads: nobody listens.
    private static let configuration = """
        listeners:
          - address: "127.0.0.1:1"
          - address: "127.0.0.1:2"
            redirect_to_https: true
        admin: {address: "127.0.0.1:3"}
        routes:
          - path: /one
            upstream: "http://127.0.0.1:PORT"
            versions: ["1.1"]
          - path: /two
            upstream: "http://127.0.0.1:PORT"
            versions: [h2c]
          - path: /id
            id: {query: id}
            upstream: "http://id-{id}.demo:PORT"
            versions: ["1.1"]
          - path: /refused
            upstream: "http://127.0.0.1:1"
        resolver: {servers: ["127.0.0.1:9"], search: false}
        limits: {max_streams: 4}
        upstream:
          max_connections_per_host: 2
          max_queue_per_host: 3
          health: {enabled: HEALTH}
        workers: 1
        """

    let worker: Worker
    private let counters: Counters
    private let registry: Registry
    private let control: ControlView
    private let log: AccessLog
    private let services: Int32
    private let nameServer: Int32
    private let doors: [[UInt8]]

    /// A worker whose breaker works, or with every host as good as new.
    init(watchesHealth: Bool = true) throws {
        guard let any = SocketAddress(numeric: "127.0.0.1", port: 0) else {
            throw FuzzFailure(what: "no loopback address")
        }
        services = try Socket.listen(any, backlog: 64, dualStack: false)
        nameServer = try LoopbackSocket.datagram()
        let port = try Socket.localAddress(services).port
        let text = Self.configuration.replacing("PORT", with: "\(port)")
            .replacing("HEALTH", with: "\(watchesHealth)")
        let configuration = try Configuration.parse(text, file: "fuzz.yaml", folder: "")
        registry = Registry(
            limits: RegistryLimits(
                maxHosts: 8, maxConnections: 6, hostIdle: .seconds(600), maxShare: 50)
        ) { _, _ in }
        counters = Counters(workers: 1)
        control = ControlView(
            registry: registry, counters: counters, workers: 1, version: "fuzz")
        log = AccessLog(counters: counters)
        let snapshot = try SnapshotBuilder(registry: registry, rotation: .seconds(3600))
            .build(configuration)
        var listening: [(listener: Int, descriptor: Int32)] = []
        var doors: [[UInt8]] = []
        for listener in 0..<Self.listeners {
            // A name that starts with NUL has no file, and ends with its last socket.
            let name = "\0edge-fuzz-\(getpid())-\(port)-\(listener)"
            doors.append(Array(name.utf8))
            listening.append((listener, try Socket.listen(unix: name, backlog: 64)))
        }
        self.doors = doors
        let mailbox = try Mailbox<WorkerMessage>()
        let names = try NameCache(
            ResolverSettings(
                servers: ["127.0.0.1:\(Socket.localAddress(nameServer).port)"],
                usesSearch: false), workers: 1
        ) { _ in }
        worker = try Worker(
            WorkerSeed(
                index: 0, snapshot: snapshot, listening: listening, registry: registry,
                names: names, mailbox: mailbox, mailboxes: [mailbox], counters: counters[0],
                log: log.ring(0), control: control))
    }

    // MARK: sockets

    /// A new client of one of the listeners; nil when there is no room for it.
    func connect(_ listener: Int) -> Int32? {
        let type = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
        let descriptor = socket(AF_UNIX, type, 0)
        guard descriptor >= 0 else { return nil }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let door = doors[listener % doors.count]
        unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: door) }
        let result = unsafe withUnsafePointer(to: &address) { pointer in
            unsafe Glibc.connect(
                descriptor, UnsafeRawPointer(pointer).assumingMemoryBound(to: sockaddr.self),
                socklen_t(MemoryLayout<sockaddr_un>.size))
        }
        if result == 0 { return descriptor }
        Socket.close(descriptor)
        return nil
    }

    /// A connection that the worker opened to a service, if there is a new one.
    func accept() -> Int32? {
        var peer = SocketAddress.unix
        return try? Socket.accept(services, peer: &peer)
    }

    /// Closes without TIME_WAIT: thousands a second would use up the ports.
    static func reset(_ descriptor: Int32) {
        var linger = linger(l_onoff: 1, l_linger: 0)
        unsafe setsockopt(
            descriptor, SOL_SOCKET, SO_LINGER, &linger, socklen_t(MemoryLayout<linger>.size))
        Socket.close(descriptor)
    }

    /// Everything that waits at a descriptor, up to 256 KiB; nil when the other end has closed.
    static func drain(_ descriptor: Int32) -> [UInt8]? {
        var all: [UInt8] = []
        var block = [UInt8](repeating: 0, count: 16_384)
        while all.count < 1 << 18 {
            let taken = unsafe block.withUnsafeMutableBufferPointer { buffer in
                guard let base = buffer.baseAddress else { return TransferResult.wouldBlock }
                return unsafe Socket.receive(descriptor, into: base, capacity: 16_384)
            }
            switch taken {
            case .bytes(let count): all += block[..<count]
            case .wouldBlock: return all
            case .ended, .failed: return all.isEmpty ? nil : all
            }
        }
        return all
    }

    /// Answers what the worker asked about names, which are those of the demonstration.
    func answerQuestions() {
        var buffer = [UInt8](repeating: 0, count: 512)
        for _ in 0..<2 { LoopbackSocket.answer(nameServer, &buffer, DemonstrationZone.reply) }
    }

    /// Nobody is connected, nothing is asked.
    var isAtRest: Bool {
        worker.fronts[].count == 0 && worker.upstreams[].count == 0
            && worker.resolver[].queriesOpened == worker.resolver[].queriesClosed
    }

    // MARK: what must be left

    /// Nothing of a connection, a request or its memory, in any count.
    func checkIsEmpty() throws(FuzzFailure) {
        worker.publishCounts()
        let live = [
            worker.fronts[].count, worker.upstreams[].count, worker.exchanges[].count,
            worker.heads[].inUse, worker.http2[].bytesInUse,
            worker.state[].clients, registry.budget[].count,
            control.frontConnections,
        ]
        try require(
            live.allSatisfy { $0 == 0 },
            "left: fronts, upstreams, exchanges, heads, HTTP/2, … \(live)")
        // The resolver's own may be in the wheel until it passes.
        let timers = worker.loop[].timers.count
        try require(timers <= 1, "left: \(timers) timers")
        worker.state[].routing.removeAll()
        let bytes = worker.buffers[].bytesInUse
        try require(bytes == 0, "left: \(bytes) octets of buffers")
        let totals = counters.totals()
        for kind in LedgerKind.allCases {
            let expected =
                switch kind {
                case .hostClient: worker.pools[].count
                case .timer: timers
                default: 0
                }
            try require(totals.live(kind) == expected, "\(kind.name): \(totals.live(kind))")
        }
        var broken: String?
        worker.pools[].forEach { pool in
            let counts = [
                pool[].connections, pool[].dialling, pool[].waiting, pool[].inFlight,
                pool[].idleCount, pool[].exchanges,
                pool[].record[].connections.load(ordering: .relaxed),
                pool[].record[].inFlight.load(ordering: .relaxed),
                pool[].record[].waiting.load(ordering: .relaxed),
                pool[].record[].idle.load(ordering: .relaxed),
            ]
            if counts.contains(where: { $0 != 0 }) { broken = "\(pool[].name.string): \(counts)" }
        }
        if let broken { throw FuzzFailure(what: broken) }
    }
}
