// The addresses of a pool's host, and how its load is divided among them.

/// Addresses with a turn each, in proportion to their shares (stride scheduling).
///
///     dials      ─► the address with the fewest connections for its share, unless it failed lately
///     exchanges  ─► of the connections that could take one, that of the address whose turn it is
///     priorities ─► a higher number only where none of a lower one can be had (RFC 2782)
struct AddressSpread {
    private struct Entry {
        let address: SocketAddress
        /// Connections and dials of this worker.
        var connections = 0
        /// Whose is the least is the next; grows by `stride` with each exchange.
        var pass: UInt64 = 0
        let stride: UInt64
        /// The lowest goes first.
        let priority: UInt16
        /// Dials that failed in a row, and until when others go first because of that.
        var failures = 0
        var avoidedUntil = Instant.zero
    }

    /// A pass of one exchange for the address with the whole share of `ServiceRank.unit`.
    private static let wholeStride: UInt64 = 1 << 24

    private var entries: [Entry] = []
    /// The pass of the last exchange: who joins late does not get all that it missed.
    private var reached: UInt64 = 0
    /// Where the next search among equals begins; differs from worker to worker.
    private var turn: Int
    /// How many addresses have the lowest priority.
    private(set) var firstChoices = 0

    init(turn: Int) { self.turn = turn }

    var count: Int { entries.count }
    var isEmpty: Bool { entries.isEmpty }
    func address(_ index: Int) -> SocketAddress { entries[index].address }
    func index(of address: SocketAddress) -> Int? {
        entries.firstIndex { $0.address == address }
    }

    /// Whether these are other addresses, whatever their order: many servers turn it.
    func differs(from fresh: ResolvedAddresses) -> Bool {
        guard fresh.list.count == entries.count else { return true }
        for (index, address) in fresh.list.enumerated() {
            let rank = fresh.rank(index)
            guard let known = self.index(of: address), entries[known].priority == rank.priority,
                entries[known].stride == Self.stride(rank)
            else { return true }
        }
        return false
    }

    /// Takes other addresses; who stays keeps its turn and its failures, nobody has connections.
    mutating func replace(with fresh: ResolvedAddresses) {
        let old = entries
        entries = fresh.list.enumerated().map { index, address in
            let rank = fresh.rank(index)
            var entry = Entry(
                address: address, pass: reached, stride: Self.stride(rank),
                priority: rank.priority)
            if let known = old.first(where: { $0.address == address }) {
                entry.pass = max(known.pass, reached)
                entry.failures = known.failures
                entry.avoidedUntil = known.avoidedUntil
            }
            return entry
        }
        firstChoices = fresh.firstChoices
    }

    private static func stride(_ rank: ServiceRank) -> UInt64 {
        wholeStride * UInt64(ServiceRank.unit) / UInt64(max(1, rank.share))
    }

    // MARK: dials

    /// Where a dial begins; nil without addresses.
    mutating func start(_ now: Instant) -> Int? {
        guard entries.count > 1 else { return entries.isEmpty ? nil : 0 }
        turn = (turn + 1) % entries.count
        return best(tried: 0, from: turn, now) { UInt64($0.connections + 1) * $0.stride }
    }

    /// Where a wave goes on after `index`, in the order of the answer (RFC 8305).
    ///
    /// Addresses that failed lately and those of later priorities come last; nil when all were
    /// tried.
    func next(after index: Int, tried: UInt32, _ now: Instant) -> Int? {
        best(tried: tried, from: index + 1, now) { _ in 0 }
    }

    /// Of those not tried yet, first the lowest priority that did not fail lately; then the least
    /// by `load`; then the first from `first` on.
    private func best(
        tried: UInt32, from first: Int, _ now: Instant, load: (Entry) -> UInt64
    ) -> Int? {
        var found: (index: Int, key: (Int, UInt16, UInt64))?
        for offset in entries.indices {
            let index = (first + offset) % entries.count
            guard tried & 1 << UInt32(index) == 0 else { continue }
            let entry = entries[index]
            let key = (entry.avoidedUntil > now ? 1 : 0, entry.priority, load(entry))
            if let best = found, best.key <= key { continue }
            found = (index, key)
        }
        return found?.index
    }

    /// A first choice without a connection that did not fail lately.
    mutating func unconnected(_ now: Instant) -> Int? {
        turn = (turn + 1) % max(firstChoices, 1)
        for offset in 0..<firstChoices {
            let index = (turn + offset) % firstChoices
            if entries[index].connections == 0, entries[index].avoidedUntil <= now { return index }
        }
        return nil
    }

    mutating func opened(_ index: Int) {
        entries[index].connections += 1
        if entries[index].connections == 1 {
            entries[index].pass = max(entries[index].pass, reached)
        }
    }

    mutating func closed(_ index: Int) { entries[index].connections -= 1 }

    mutating func dialSucceeded(_ index: Int) { entries[index].failures = 0 }

    /// Others go first for a while: 1 s, then twice as long each time.
    mutating func dialFailed(_ index: Int, _ now: Instant) {
        let doublings = min(entries[index].failures, 6)
        entries[index].failures += 1
        entries[index].avoidedUntil =
            now + min(Duration.seconds(1 << Int64(doublings)), Limits.longestAvoidance)
    }

    /// Whether addresses have connections though there are some of a lower priority.
    var usesLaterChoices: Bool {
        entries.dropFirst(firstChoices).contains { $0.connections > 0 }
    }

    // MARK: exchanges

    /// Whose turn is earlier; of connections with `load` exchanges each, the less loaded first.
    func precedes(_ left: Int, _ leftLoad: Int, _ right: Int, _ rightLoad: Int) -> Bool {
        place(left, leftLoad) < place(right, rightLoad)
    }

    /// -1 is an address that is not in the answer, which was only a part.
    private func place(_ index: Int, _ load: Int) -> (UInt16, UInt64, UInt64) {
        guard index >= 0 else { return (0, UInt64(load) * Self.wholeStride, reached) }
        let entry = entries[index]
        return (entry.priority, UInt64(load) * entry.stride, entry.pass)
    }

    mutating func took(_ index: Int) {
        reached = max(reached, entries[index].pass)
        entries[index].pass += entries[index].stride
    }
}

extension Limits {
    /// 60 s at most that an address is passed over for its dials' failures while others are there.
    static let longestAvoidance = Duration.seconds(60)
    /// 8 exchanges of a pool within 4 s make one more of its host's addresses worth a connection: a
    /// host that is asked a handful of times, or once a second, keeps one.
    static let exchangesPerAddress = 8
    static let spareWithin = Duration.seconds(4)
    /// 64 idle connections looked at for the one whose address's turn it is.
    static let idleLooks = 64
    /// 1 s at least between two looks at the addresses of a host in use.
    static let renewalPause = Duration.seconds(1)
}
