// One worker's way to addresses: its queries, and who waits for which name.

import DequeModule

/// Resolves names on a worker's loop, through the cache that all workers share.
///
///     resolve ─► .pending ─► (ready, deadlinePassed, delivered) ─► nextCompletion ─► resolve
///
/// After each of the three, `nextCompletion` is asked until it gives nil. A waiter waits for one
/// name at a time. Everything happens on the worker's thread.
struct Resolver: ~Copyable {
    /// A name whose two families are asked for one by one.
    private struct FamilyCheck {
        var left = 2
        var addresses: [SocketAddress] = []
        var ttl = Duration(nanoseconds: .max)
        var failure: ResolveFailure?
        var isClosed = false
    }

    /// A service whose targets are asked for one by one.
    private struct ServiceCheck {
        let records: [ServiceRecord]
        var ttl: Duration
        var left: Int
        var addresses: [String: [SocketAddress]] = [:]
        var failure: ResolveFailure?
        var isClosed = false
    }

    private static let timer = Token(.resolver, slot: .max)

    private let cache: NameCache
    private let worker: Int
    private let loop: Ref<EventLoop>
    /// For names as they are.
    private let absolute: QueryChannel
    /// For names that search domains may complete.
    private let relative: QueryChannel?
    private var deadline = Deadline()
    private var isShutDown = false
    private var checks: [String: FamilyCheck] = [:]
    private var services: [String: ServiceCheck] = [:]
    /// First-seen names whose turn comes at a time in the near future, in its order.
    private var postponed = Deque<(at: Instant, key: String)>()
    /// By name: the raw tokens that wait for it; and the other way round.
    private var waiters: [String: Set<UInt64>] = [:]
    private var names: [UInt64: String] = [:]
    /// Waiters to be told; those forgotten meanwhile are only in the queue.
    private var completed = Deque<UInt64>()
    private var isCompleted: Set<UInt64> = []

    init(cache: NameCache, worker: Int, loop: Ref<EventLoop>) throws(ResolverSetupFailure) {
        let absolute = try QueryChannel(cache.settings, searches: false, loop: loop)
        var relative: QueryChannel?
        if cache.settings.usesSearch {
            relative = try QueryChannel(cache.settings, searches: true, loop: loop)
        }
        self.cache = cache
        self.worker = worker
        self.loop = loop
        self.absolute = absolute
        self.relative = relative
    }

    /// Without `shutDown`, at least no other worker waits for the queries of this one.
    deinit {
        guard !isShutDown else { return }
        absolute.close()
        relative?.close()
        while let query = absolute.takeFinished() ?? relative?.takeFinished() {
            cache.settle(query.key, .abandoned, now: loop[].now)
        }
        for (_, key) in postponed { cache.settle(key, .abandoned, now: loop[].now) }
    }

    /// Queries given to c-ares, and those of them that it has answered.
    var queriesOpened: Int { absolute.opened + (relative?.opened ?? 0) }
    var queriesClosed: Int { absolute.closed + (relative?.closed ?? 0) }
    /// Queries that can be found, without regard to what was counted.
    var liveQueries: Int { absolute.liveQueries + (relative?.liveQueries ?? 0) }
    /// For tests: a query that never ends.
    func loseQuery() { absolute.loseQuery() }
    /// The sockets that c-ares has open.
    var descriptors: [Int32] {
        Array(absolute.descriptors) + (relative.map { Array($0.descriptors) } ?? [])
    }
    /// Waiters that have not been told yet.
    var waiterCount: Int { names.count + isCompleted.count }

    /// Looks a name up.
    ///
    /// On `.pending`, `waiter` comes out of `nextCompletion` once, and looks again. A
    /// numeric address, with or without brackets, is its own answer. `isKnown`: the name's host has
    /// answered before, so that the rate of first-seen names does not hold it back.
    mutating func resolve(
        _ name: String, isService: Bool = false, isKnown: Bool = false, waiter: Token
    ) -> NameLookup {
        forget(waiter)
        let key: String
        switch cacheKey(name, isService) {
        case .numeric(let address): return .addresses([address])
        case .unusable: return .failed(.unusableName)
        case .name(let name, _): key = name
        }
        let now = loop[].now
        let mayAsk = !isShutDown && queriesOpened - queriesClosed < Limits.queriesInFlight
        var answer = cache.look(
            up: key, worker: worker, now: now, mayAsk: mayAsk, isKnown: isKnown)
        switch answer {
        case .lookup: break
        case .serveAndAsk: ask(key)
        case .ask:
            ask(key)
            // The hosts file answers inside the call.
            answer = cache.look(up: key, worker: worker, now: now, mayAsk: false)
        case .askLater(let at):
            postponed.append((at, key))
            setDeadline()
            answer = .lookup(.pending)
        }
        switch answer {
        case .lookup(.pending):
            waiters[key, default: []].insert(waiter.raw)
            names[waiter.raw] = key
            return .pending
        case .lookup(let lookup): return lookup
        case .serveAndAsk(let addresses): return .addresses(addresses)
        case .ask, .askLater: return .failed(.unavailable)
        }
    }

    /// What `resolve` would find for a name now, without asking or waiting.
    func facts(of name: String, isService: Bool = false) -> NameFacts {
        switch cacheKey(name, isService) {
        case .numeric(let address): NameFacts(literal: address)
        case .unusable: NameFacts(failure: .unusableName)
        case .name(let key, _): cache.facts(of: key, now: loop[].now)
        }
    }

    /// The cache's key for a name: with its final dot where that makes a difference, and marked
    /// when its services are asked for.
    private func cacheKey(_ name: String, _ isService: Bool) -> HostName {
        guard case .name(let name, let isAbsolute) = HostName(name) else { return HostName(name) }
        let key = isAbsolute && relative != nil ? name + "." : name
        return .name(isService ? Self.serviceMark + key : key, isAbsolute: isAbsolute)
    }

    /// No name has a colon.
    private static let serviceMark = "srv:"

    /// The waiter is gone, or waits no longer; its query goes on for the cache's sake.
    mutating func forget(_ waiter: Token) {
        isCompleted.remove(waiter.raw)
        guard let key = names.removeValue(forKey: waiter.raw) else { return }
        waiters[key]?.remove(waiter.raw)
        if waiters[key]?.isEmpty == true { waiters[key] = nil }
    }

    /// An event on `Token(.resolver, slot: descriptor)`; one that c-ares has closed is ignored.
    mutating func ready(_ token: Token, _ readiness: Readiness) {
        let descriptor = Int32(bitPattern: token.slot)
        if !absolute.process(descriptor, readiness) {
            _ = relative?.process(descriptor, readiness)
        }
        takeResults()
    }

    /// `Token(.resolver, slot: .max)` came from the timer wheel.
    mutating func deadlinePassed() {
        let loop = loop
        let now = loop[].now
        guard loop[].timers.confirm(&deadline, Self.timer, now: now) else { return }
        while let first = postponed.first, first.at <= now {
            postponed.removeFirst()
            ask(first.key)
        }
        absolute.processTimeouts()
        relative?.processTimeouts()
        takeResults()
    }

    /// The cache notified this worker: others have settled names that it waits for.
    mutating func delivered() {
        for key in cache.takeFinished(worker: worker) { complete(key) }
    }

    /// The next waiter whose name may be looked up again; each comes once.
    mutating func nextCompletion() -> Token? {
        while let raw = completed.popFirst() {
            if isCompleted.remove(raw) != nil { return Token(raw: raw) }
        }
        return nil
    }

    /// Ends every query.
    ///
    /// Whoever waits is told, and finds `.unavailable` or another worker's answer. To be called
    /// before the loop ends.
    mutating func shutDown() {
        isShutDown = true
        absolute.close()
        relative?.close()
        takeResults()
        let loop = loop
        loop[].timers.cancel(&deadline)
        while let (_, key) = postponed.popFirst() {
            cache.settle(key, .abandoned, now: loop[].now)
        }
        for key in Array(waiters.keys) { complete(key) }
    }

    private func open(_ key: String, _ family: QueryFamily, searches: Bool) {
        var name = key.utf8.last == UInt8(ascii: ".") ? String(key.dropLast()) : key
        if family == .service { name.removeFirst(Self.serviceMark.count) }
        let channel = searches ? relative ?? absolute : absolute
        channel.open(name, key: key, family: family)
    }

    private mutating func ask(_ key: String) {
        let family: QueryFamily = key.hasPrefix(Self.serviceMark) ? .service : .both
        open(key, family, searches: key.utf8.last != UInt8(ascii: "."))
        takeResults()
    }

    /// Takes what c-ares has finished; to be called after every call into it.
    private mutating func takeResults() {
        while let query = absolute.takeFinished() ?? relative?.takeFinished() {
            if let target = query.target {
                check(query.key, target, query.result)
                continue
            }
            switch (query.family, query.result) {
            case (.both, .noData):
                checks[query.key] = FamilyCheck()
                open(query.key, .v4, searches: query.searched)
                open(query.key, .v6, searches: query.searched)
            case (.both, .addresses(let addresses, let ttl)):
                conclude(
                    query.key, .addresses(ResolvedAddresses(Self.interleave(addresses)), ttl: ttl))
            case (.service, .services(let records, let ttl)):
                beginTargets(query.key, records, ttl: ttl)
            case (.service, .noData): conclude(query.key, .failed(.notFound))
            case (.both, .failed(.unusableName)) where query.searched,
                (.service, .failed(.unusableName)) where query.searched:
                // With a search domain it is too long, and c-ares has stopped there.
                open(query.key, query.family, searches: false)
            case (.both, .failed(let failure)), (.service, .failed(let failure)):
                conclude(query.key, .failed(failure))
            case (.both, _), (.service, _): conclude(query.key, .abandoned)
            case (.v4, let result), (.v6, let result): check(query.key, result)
            }
        }
        setDeadline()
    }

    private mutating func check(_ key: String, _ result: QueryResult) {
        guard var check = checks[key] else { return }
        check.left -= 1
        switch result {
        case .addresses(let addresses, let ttl):
            check.addresses += addresses
            check.ttl = min(check.ttl, ttl)
        case .noData, .failed(.notFound): break
        case .failed(let failure): check.failure = failure
        case .closed, .services: check.isClosed = true
        }
        guard check.left == 0 else {
            checks[key] = check
            return
        }
        checks[key] = nil
        if check.isClosed {
            conclude(key, .abandoned)
        } else if !check.addresses.isEmpty {
            conclude(
                key,
                .addresses(ResolvedAddresses(Self.interleave(check.addresses)), ttl: check.ttl))
        } else {
            conclude(key, .failed(check.failure ?? .notFound))
        }
    }

    /// A service's records are here: the addresses of its targets are asked for, as absolute names.
    private mutating func beginTargets(
        _ key: String, _ records: [ServiceRecord], ttl: Duration
    ) {
        let targets = Set(records.map(\.target))
        guard !targets.isEmpty else { return conclude(key, .failed(.notFound)) }
        services[key] = ServiceCheck(records: records, ttl: ttl, left: targets.count)
        for target in targets { absolute.open(target, key: key, family: .both, target: target) }
    }

    /// Targets without addresses are left out; the service fails when none has any.
    private mutating func check(_ key: String, _ target: String, _ result: QueryResult) {
        guard var check = services[key] else { return }
        check.left -= 1
        switch result {
        case .addresses(let addresses, let ttl):
            check.addresses[target] = Self.interleave(addresses)
            check.ttl = min(check.ttl, ttl)
        case .noData, .failed(.notFound): break
        case .failed(let failure): check.failure = failure
        case .closed, .services: check.isClosed = true
        }
        guard check.left == 0 else {
            services[key] = check
            return
        }
        services[key] = nil
        if check.isClosed { return conclude(key, .abandoned) }
        let found = ServiceRecord.addresses(check.records, of: check.addresses)
        conclude(
            key,
            found.isEmpty
                ? .failed(check.failure ?? .notFound) : .addresses(found, ttl: check.ttl))
    }

    private mutating func conclude(_ key: String, _ outcome: QueryOutcome) {
        cache.settle(key, outcome, now: loop[].now)
        complete(key)
    }

    private mutating func complete(_ key: String) {
        guard let told = waiters.removeValue(forKey: key) else { return }
        for raw in told {
            names[raw] = nil
            isCompleted.insert(raw)
            completed.append(raw)
        }
    }

    private mutating func setDeadline() {
        let loop = loop
        let turn = postponed.first.map { $0.at - loop[].now }
        let timeouts = [absolute.timeout, relative?.timeout, turn].compactMap { $0 }
        guard let next = timeouts.min() else { return loop[].timers.clear(&deadline) }
        // The loop's time is a little old; 1 ms keeps c-ares from being asked too early for ever.
        let at = loop[].now + max(next, .milliseconds(1))
        loop[].timers.set(&deadline, Self.timer, at: at)
    }

    /// IPv6 and IPv4 in turns, IPv6 first, each in the server's order (RFC 8305 §4).
    static func interleave(_ addresses: [SocketAddress]) -> [SocketAddress] {
        let v6 = addresses.filter { $0.family == .v6 }
        let v4 = addresses.filter { $0.family == .v4 }
        var result: [SocketAddress] = []
        result.reserveCapacity(addresses.count)
        for index in 0..<max(v6.count, v4.count) {
            if index < v6.count { result.append(v6[index]) }
            if index < v4.count { result.append(v4[index]) }
        }
        return result
    }
}
