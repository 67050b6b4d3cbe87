// Who connects: counts and rates by client address, for all workers.

import Synchronization

/// Limits on what one client address may do.
struct AddressLimits: Equatable, Sendable {
    var maxConnections = 2000
    var handshakes = ClientRate(perSecond: 200)
    var requests = ClientRate(perSecond: 0)
    /// Bits of an IPv6 address that stand for one client.
    var ipv6Prefix = 64
}

/// How often something may happen: `perSecond` on average, five seconds' worth at once.
struct ClientRate: Equatable, BitwiseCopyable, Sendable {
    /// 0: as often as one likes.
    let interval: Duration
    private static let burstSeconds: Int64 = 5

    init(perSecond: Int) {
        interval = Duration(nanoseconds: perSecond > 0 ? 1_000_000_000 / Int64(perSecond) : 0)
    }

    @inline(__always)
    var isLimited: Bool { interval > .zero }

    /// Takes one turn from `spent`, the time up to which all turns are taken; false when there is
    /// none (the generic cell rate algorithm of ITU-T I.371).
    func take(_ spent: borrowing Atomic<Int64>, now: Instant) -> Bool {
        guard isLimited else { return true }
        var seen = spent.load(ordering: .relaxed)
        while true {
            let from = max(seen, now.nanoseconds)
            guard from - now.nanoseconds < Self.burstSeconds * 1_000_000_000 else { return false }
            let (exchanged, current) = spent.compareExchange(
                expected: seen, desired: from + interval.nanoseconds, ordering: .relaxed)
            if exchanged { return true }
            seen = current
        }
    }
}

/// What is known of one client address; shared by all workers, reached by its connections without
/// a lock.
struct ClientRecord: ~Copyable {
    fileprivate let key: ClientKey
    fileprivate let connections = Atomic<Int>(0)
    let handshakes = Atomic<Int64>(0)
    let requests = Atomic<Int64>(0)

    fileprivate init(key: ClientKey) { self.key = key }

    /// Whether forgetting it would forget something that still counts.
    fileprivate func matters(_ now: Instant) -> Bool {
        connections.load(ordering: .relaxed) > 0
            || handshakes.load(ordering: .relaxed) > now.nanoseconds
            || requests.load(ordering: .relaxed) > now.nanoseconds
    }
}

/// The part of an address that stands for a client.
private struct ClientKey: Hashable {
    var family: SocketAddress.Family
    var high: UInt64
    var low: UInt64

    init(_ address: SocketAddress, ipv6Prefix: Int) {
        family = address.family
        (high, low) = address.words
        guard family == .v6 else { return }
        high &= Self.mask(ipv6Prefix)
        low &= Self.mask(ipv6Prefix - 64)
    }

    /// The first `bits` of a word in network byte order.
    private static func mask(_ bits: Int) -> UInt64 {
        bits >= 64 ? .max : bits <= 0 ? 0 : (~(UInt64.max >> UInt64(bits))).bigEndian
    }
}

/// The records of all client addresses, in shards with a lock each; asked once per connection.
///
/// A record lives while it has connections, and until its rates have recovered; a shard that grows
/// beyond its bound forgets those that do not matter any more, then any without connections.
final class ClientTable: Sendable {
    // Safety: pointers to records that only the holder of the shard's lock adds or removes.
    private struct Shard: @unchecked Sendable {
        var records: [ClientKey: Ref<ClientRecord>] = [:]
    }

    private static let shardCount = 16
    /// 16 × 4 096 records of 48 bytes: some 6 MiB with their table.
    private static let mostIdle = 4096
    private let shards: [Lock]

    private final class Lock: Sendable {
        let state = Mutex(Shard())
    }

    init() { shards = (0..<Self.shardCount).map { _ in Lock() } }

    deinit {
        for lock in shards {
            lock.state.withLock { shard in
                for record in shard.records.values { record.destroy() }
            }
        }
    }

    private func lock(of key: ClientKey) -> Lock {
        shards[Int(UInt(bitPattern: key.hashValue) % UInt(Self.shardCount))]
    }

    /// Counts a connection of a client; `release` takes it off again.
    func admit(
        _ peer: SocketAddress, isTLS: Bool, _ limits: AddressLimits, now: Instant
    ) throws(ConnectionRefusal) -> Ref<ClientRecord> {
        let key = ClientKey(peer, ipv6Prefix: limits.ipv6Prefix)
        return try lock(of: key).state.withLock { shard throws(ConnectionRefusal) in
            let record = Self.record(key, in: &shard, now)
            guard record[].connections.load(ordering: .relaxed) < limits.maxConnections
            else { throw .addressLimit }
            if isTLS, !limits.handshakes.take(record[].handshakes, now: now) {
                throw .handshakeRate
            }
            record[].connections.wrappingAdd(1, ordering: .relaxed)
            return record
        }
    }

    private static func record(
        _ key: ClientKey, in shard: inout Shard, _ now: Instant
    ) -> Ref<ClientRecord> {
        if let known = shard.records[key] { return known }
        if shard.records.count >= mostIdle { sweep(&shard, now) }
        let fresh = Ref.allocate(ClientRecord(key: key))
        shard.records[key] = fresh
        return fresh
    }

    private static func sweep(_ shard: inout Shard, _ now: Instant) {
        for isForced in [false, true] where shard.records.count >= mostIdle {
            for (key, record) in shard.records
            where isForced
                ? record[].connections.load(ordering: .relaxed) == 0 : !record[].matters(now)
            {
                shard.records[key] = nil
                record.destroy()
            }
        }
    }

    /// A connection of this client has ended.
    func release(_ record: Ref<ClientRecord>, now: Instant) {
        lock(of: record[].key).state.withLock { shard in
            record[].connections.wrappingSubtract(1, ordering: .relaxed)
            guard !record[].matters(now) else { return }
            shard.records[record[].key] = nil
            record.destroy()
        }
    }

    /// Client addresses that are remembered.
    var count: Int {
        shards.reduce(0) { sum, lock in sum + lock.state.withLock { $0.records.count } }
    }
}
