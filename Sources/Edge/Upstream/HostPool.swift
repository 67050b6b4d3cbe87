// One worker's connections to one host.

import DequeModule
import Synchronization

/// A worker's part of a host client: its connections, and who waits for one.
///
///     waiters ──► [h2 with room] ──► [idle h1, last used first] ──► dial (bounded) ──► wait
///
/// Everything here belongs to one worker; what workers share is in `record`.
struct HostPool: ~Copyable {
    let token: Token
    let key: ConnectionKey
    let client: HostClient
    /// `client.record`, without the reference counting of going through `client`.
    let record: Ref<HostRecord>
    let isSecure: Bool
    let protocols: UpstreamProtocols
    let host: Bytes
    /// The host with its port, for logs.
    let name: Bytes
    /// The id in the host's name, for metrics: that of the route which made this pool.
    var id = Bytes.empty
    /// Of exchanges that have ended since this was last emptied.
    var tally = Tally()
    /// Next in the table's chain.
    var nextInChain: Ref<HostPool>?

    /// Exchanges waiting for a connection, oldest first; tokens of those that left do not resolve.
    var waiters = Deque<Token>()
    var waiting = 0
    /// Those of them that need HTTP/1.1 for its Upgrade.
    var waitingForUpgrade = 0
    /// Those of them that take a new connection only.
    var waitingForFresh = 0
    /// Waiters are being given connections: looking for one may close another, which comes back.
    var isServing = false
    /// Other workers' waiters have been told of an exchange's end: theirs is the next turn.
    var yieldsTurn = false
    var dialling = 0
    /// Exchanges that point here, until their log line is written.
    var exchanges = 0
    var connections = 0
    /// Exchanges of this worker that hold a connection.
    var inFlight = 0
    var isResolving = false
    var isInTable = false
    var hasAnswered = false
    var hasEnded = false
    var isEnding = false
    /// In the worker's list of those that lack a connection of the whole process.
    var isStarved = false
    /// Counted in the budget as one that is below its host's share.
    var isStarving = false
    var spread: AddressSpread
    /// Its host has several addresses.
    var spreads = false
    /// When its addresses are to be asked for again, and whether that is under way.
    var renewAt = Instant.never
    var isRenewing = false
    /// Exchanges since the last look for an address without a connection.
    var sinceSpare = 0
    var lookedForSpare = Instant.zero
    /// Dials whose waiters have another one under way, and those that have none.
    var overtaken = 0
    var spares = 0
    var idleHead: Ref<UpstreamConnection>?
    /// Connections at rest, of either version.
    var idleCount = 0
    /// Another worker was asked for a connection that rests there, and has not answered yet.
    var isBorrowing = false
    /// Nobody had asked for the host for a while when somebody did last.
    var isQuiet = false
    /// HTTP/2 connections with exchanges or waiting for some.
    var sharedHead: Ref<UpstreamConnection>?
    /// When to dial again after all addresses have refused, and how often that was done.
    var redial = Deadline()
    var redials = 0
    /// What made the last dial fail; told to the waiters when no other dial is left.
    var lastFailure = ErrorReason.none

    init(token: Token, client: HostClient, worker: Int) {
        spread = AddressSpread(turn: worker)
        self.token = token
        self.client = client
        key = client.key
        record = client.record
        isSecure = client.identity.key.isSecure
        protocols = client.identity.key.protocols
        host = client.hostBytes
        name = client.nameBytes
        nextInChain = nil
        idleHead = nil
        sharedHead = nil
    }

    /// Nothing of it is in use: it can go.
    var isUnused: Bool {
        connections == 0 && exchanges == 0 && dialling == 0 && !isResolving && !isBorrowing
    }

    /// Whether a cleartext connection starts with HTTP/2 at once.
    var startsWithHTTP2: Bool {
        !isSecure && protocols.contains(.h2c) && !protocols.contains(.http1)
    }

    /// Whether one connection may turn out to be enough for all waiters.
    @inline(__always)
    func mayMultiplex(_ now: Instant) -> Bool {
        if isSecure {
            guard protocols.contains(.http2) else { return false }
            return !protocols.contains(.http1) || record[].memory.learned(now) != .http1
        }
        return protocols.contains(.h2c)
    }

    /// Counts a dial that begins (1) or is over (-1).
    mutating func countDial(_ purpose: DialPurpose, _ change: Int) {
        switch purpose {
        case .waiters: dialling += change
        case .overtaken: overtaken += change
        case .spare: spares += change
        }
    }

    /// Dials that waiters may be served by, in the end.
    var dialsForWaiters: Int { dialling + overtaken }

    // MARK: idle HTTP/1 connections, last in first out

    mutating func pushIdle(_ connection: Ref<UpstreamConnection>) {
        connection[].nextIdle = idleHead
        connection[].previousIdle = nil
        idleHead?[].previousIdle = connection
        idleHead = connection
        connection[].isIdle = true
    }

    mutating func removeIdle(_ connection: Ref<UpstreamConnection>) {
        guard connection[].isIdle else { return }
        let next = connection[].nextIdle
        let previous = connection[].previousIdle
        next?[].previousIdle = previous
        if let previous { previous[].nextIdle = next } else { idleHead = next }
        connection[].nextIdle = nil
        connection[].previousIdle = nil
        connection[].isIdle = false
    }

    // MARK: HTTP/2 connections

    mutating func addShared(_ connection: Ref<UpstreamConnection>) {
        connection[].nextIdle = sharedHead
        connection[].previousIdle = nil
        sharedHead?[].previousIdle = connection
        sharedHead = connection
    }

    mutating func removeShared(_ connection: Ref<UpstreamConnection>) {
        let next = connection[].nextIdle
        let previous = connection[].previousIdle
        next?[].previousIdle = previous
        if let previous { previous[].nextIdle = next } else { sharedHead = next }
        connection[].nextIdle = nil
        connection[].previousIdle = nil
    }

    /// The idle connection to use next: the last used one; of several addresses, that of the one
    /// whose turn it is.
    @inline(__always)
    var idleToUse: Ref<UpstreamConnection>? { spreads ? spreadIdle() : idleHead }

    private func spreadIdle() -> Ref<UpstreamConnection>? {
        var best = idleHead
        var candidate = idleHead
        var left = Limits.idleLooks
        while let connection = candidate, left > 0 {
            if let found = best,
                spread.precedes(connection[].addressIndex, 0, found[].addressIndex, 0)
            {
                best = connection
            }
            candidate = connection[].nextIdle
            left -= 1
        }
        return best
    }

    private func spreadShared(since: Instant) -> Ref<UpstreamConnection>? {
        var best: Ref<UpstreamConnection>?
        var candidate = sharedHead
        while let connection = candidate {
            candidate = connection[].nextIdle
            guard connection[].hasStreamCapacity, connection[].history.readyAt >= since else {
                continue
            }
            if let found = best,
                !spread.precedes(
                    connection[].addressIndex, connection[].exchangeCount,
                    found[].addressIndex, found[].exchangeCount)
            {
                continue
            }
            best = connection
        }
        return best
    }

    /// An HTTP/2 connection, ready since or after an instant, that can take one more stream; of
    /// several addresses, the least loaded.
    @inline(__always)
    func sharedWithCapacity(since: Instant = .zero) -> Ref<UpstreamConnection>? {
        if spreads { return spreadShared(since: since) }
        var candidate = sharedHead
        while let connection = candidate {
            if connection[].hasStreamCapacity, connection[].history.readyAt >= since {
                return connection
            }
            candidate = connection[].nextIdle
        }
        return nil
    }
}

/// One worker's pools by identity and host, chained in buckets.
@safe
struct PoolTable: ~Copyable {
    private var buckets: UnsafeMutablePointer<Ref<HostPool>?>
    private var mask: UInt64 = 255
    private(set) var count = 0

    init() {
        unsafe buckets = .allocate(capacity: 256)
        unsafe buckets.initialize(repeating: nil, count: 256)
    }

    deinit { unsafe buckets.deallocate() }

    @inline(__always)
    func find(_ key: ConnectionKey, _ host: Bytes) -> Ref<HostPool>? {
        var next = unsafe buckets[Int(key.hash & mask)]
        while let pool = next {
            if pool[].key == key, pool[].host.equals(host) { return pool }
            next = pool[].nextInChain
        }
        return nil
    }

    mutating func insert(_ pool: Ref<HostPool>) {
        if count > Int(mask) { grow() }
        let bucket = Int(pool[].key.hash & mask)
        pool[].nextInChain = unsafe buckets[bucket]
        unsafe buckets[bucket] = pool
        count += 1
    }

    /// Takes a pool out; false when it was not in (an unpooled one).
    mutating func remove(_ pool: Ref<HostPool>) {
        let bucket = Int(pool[].key.hash & mask)
        var previous: Ref<HostPool>?
        var next = unsafe buckets[bucket]
        while let current = next {
            if current == pool {
                if let previous {
                    previous[].nextInChain = pool[].nextInChain
                } else {
                    unsafe buckets[bucket] = pool[].nextInChain
                }
                pool[].nextInChain = nil
                count -= 1
                return
            }
            previous = current
            next = current[].nextInChain
        }
    }

    private mutating func grow() {
        let old = unsafe buckets
        let oldCount = Int(mask) + 1
        mask = mask * 2 + 1
        unsafe buckets = .allocate(capacity: oldCount * 2)
        unsafe buckets.initialize(repeating: nil, count: oldCount * 2)
        for bucket in 0..<oldCount {
            var next = unsafe old[bucket]
            while let pool = next {
                next = pool[].nextInChain
                let place = Int(pool[].key.hash & mask)
                pool[].nextInChain = unsafe buckets[place]
                unsafe buckets[place] = pool
            }
        }
        unsafe old.deallocate()
    }
}
