// What all workers know of one upstream host.

import Synchronization

/// Counts and facts of one host, shared by all workers; atomics only, so that nothing on a
/// request's way takes a lock.
struct HostRecord: ~Copyable {
    /// Connections open or being opened, over all workers.
    let connections = Atomic<Int>(0)
    /// Those of them that rest: without an exchange, kept for the next.
    let idle = Atomic<Int>(0)
    /// The worker in which a connection came to rest last.
    let lastRested = Atomic<Int>(0)
    /// Exchanges that hold a connection.
    let inFlight = Atomic<Int>(0)
    /// Exchanges that wait for one.
    let waiting = Atomic<Int>(0)
    /// Bit per worker (mod 64) with waiters that only another worker's release can help.
    let starving = Atomic<UInt64>(0)
    /// Bit per worker (mod 64) with waiters that only the end of an exchange can help.
    let crowded = Atomic<UInt64>(0)
    let dials = Atomic<UInt64>(0)
    let requests = Atomic<UInt64>(0)
    let reused = Atomic<UInt64>(0)
    let failures = Atomic<UInt64>(0)
    /// Milliseconds on the monotonic clock when the host was last asked for.
    let lastUsed = Atomic<Int64>(0)
    let memory = HostMemory()
    /// Whether it has ever answered; a host that has not is the first to make room.
    let hasAnswered = Atomic<Bool>(false)
    /// Out of the registry: pools close what is idle and end with their last exchange.
    let isRetired = Atomic<Bool>(false)
    /// Bit per worker (mod 64) that has a pool for this host.
    let workers = Atomic<UInt64>(0)
    let health = HostHealth()
    let retries = RetryBudget()

    /// Whether nobody had asked for the host for a while.
    @inline(__always)
    func isQuiet(_ now: Instant) -> Bool {
        now.milliseconds &- lastUsed.load(ordering: .relaxed) >= Limits.quietGap.milliseconds
    }

    /// The host was asked for.
    ///
    /// Written once a millisecond: each write takes the line from the other workers.
    @inline(__always)
    func noteUse(_ now: Instant) {
        let milliseconds = now.milliseconds
        guard lastUsed.load(ordering: .relaxed) != milliseconds else { return }
        lastUsed.store(milliseconds, ordering: .relaxed)
    }

    /// A connection has come to rest in a worker.
    @inline(__always)
    func noteRest(in worker: Int) {
        guard lastRested.load(ordering: .relaxed) != worker else { return }
        lastRested.store(worker, ordering: .relaxed)
    }
}

/// The registry's entry for one upstream host: its key and its record.
///
/// Lives as long as a worker's pool or the registry holds it; on a request's way it is only reached
/// through `record` and `hostBytes`, which need no reference counting.
@safe
final class HostClient: Sendable {
    let identity: UpstreamIdentity
    /// Lower-case name or address without brackets.
    let host: String
    /// `host` as it is asked for: with a final dot when it is fully qualified.
    let lookupName: String
    /// What TLS sends and verifies: the host, of a service without the labels that name its kind
    /// (RFC 6125 §6.5: the name that was asked for, not the one that DNS answers with).
    let serverName: String
    /// False for one outside the registry's table, because that was full, until it is adopted.
    var isPooled: Bool { isInRegistry.load(ordering: .relaxed) }
    private let isInRegistry: Atomic<Bool>
    /// Of what is dialled for this client.
    let key: ConnectionKey
    let sessions = TLSClientSessions()
    // Safety: written here, freed in deinit; what it points at is atomics.
    nonisolated(unsafe) private let recordPointer: Ref<HostRecord>
    nonisolated(unsafe) private let hostPointer: UnsafeMutablePointer<UInt8>
    private let hostCount: Int
    private let nameCount: Int
    /// Bytes of a service's first labels, such as `_http._tcp.`, which are no part of a host.
    private let serviceCount: Int
    private let addresses = Mutex<[SocketAddress]>([])
    private let life = LiveObject(.hostClient)

    init(identity: UpstreamIdentity, host: Bytes, hasher: ByteHash, isPooled: Bool) {
        self.identity = identity
        key = ConnectionKey(identity: identity.number, host: hasher.hash(host))
        self.host = host.string
        isInRegistry = Atomic(isPooled)
        unsafe recordPointer = .allocate(HostRecord())
        let port = Array((identity.key.isService ? "" : ":\(identity.key.port)").utf8)
        let isV6 = host.firstIndex(of: UInt8(ascii: ":")) != nil
        let name = Array(isV6 ? "[\(host.string)]".utf8 : host.string.utf8) + port
        // The host, and behind it the host with its port.
        unsafe hostPointer = .allocate(capacity: host.count + name.count)
        unsafe copyMemory(hostPointer, host.base, host.count)
        for (index, byte) in name.enumerated() { unsafe hostPointer[host.count + index] = byte }
        hostCount = host.count
        nameCount = name.count
        serviceCount = identity.key.isService ? Self.serviceLabels(host) : 0
        lookupName = identity.key.lookupName(self.host)
        serverName = host.dropFirst(serviceCount).string
    }

    deinit {
        unsafe recordPointer.destroy()
        unsafe hostPointer.deallocate()
    }

    /// The bytes of the labels at the beginning that start with an underscore (RFC 2782).
    private static func serviceLabels(_ host: Bytes) -> Int {
        var start = 0
        while start < host.count, host[start] == UInt8(ascii: "_") {
            guard let dot = host.dropFirst(start).firstIndex(of: UInt8(ascii: ".")) else {
                return 0
            }
            start += dot + 1
        }
        return start < host.count ? start : 0
    }

    /// The registry has found a place for it after all: so do the workers' tables from now on.
    func adopt() { isInRegistry.store(true, ordering: .relaxed) }

    var record: Ref<HostRecord> { unsafe recordPointer }
    /// Valid as long as this client.
    var hostBytes: Bytes { unsafe Bytes(hostPointer, count: hostCount) }

    /// `host:port`; valid as long as this client.
    var nameBytes: Bytes { unsafe Bytes(hostPointer + hostCount, count: nameCount) }

    /// The host, with its port unless that is the scheme's default: what Host says upstream.
    var authorityBytes: Bytes {
        if identity.key.isService { return nameBytes.dropFirst(serviceCount) }
        let port: UInt16 = identity.key.isSecure ? 443 : 80
        guard identity.key.port == port else { return nameBytes }
        let suffix = identity.key.isSecure ? 4 : 3
        return nameBytes.prefix(nameCount - suffix)
    }

    /// The addresses last dialled, for the admin pages.
    var lastAddresses: [SocketAddress] { addresses.withLock { $0 } }
    func setAddresses(_ fresh: [SocketAddress]) { addresses.withLock { $0 = fresh } }
}
