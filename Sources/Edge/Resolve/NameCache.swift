// Answers known to the process, and who is asking for the others.

import Synchronization

/// How a query for a name ended.
enum QueryOutcome: Equatable {
    case addresses(ResolvedAddresses, ttl: Duration)
    case failed(ResolveFailure)
    /// The query was ended by its own worker, which knows nothing about the name.
    case abandoned
}

/// What the one who looks a name up has to do.
enum CacheAnswer: Equatable {
    case lookup(NameLookup)
    /// Nothing is known: ask, and settle.
    case ask
    /// Nothing is known, and it is not this name's turn yet: ask then, and settle.
    case askLater(Instant)
    /// The addresses will do for now: ask, and settle, without waiting for it.
    case serveAndAsk(ResolvedAddresses)
}

/// Answers shared by all workers; one query in flight per name in the whole process.
///
///     look(up:) ─► .ask ─► (query) ─► settle ─► notify(worker) ─► takeFinished ─► look(up:)
///
/// Whoever is told to ask must settle, whatever happens: until then nobody else asks.
final class NameCache: Sendable {
    let settings: ResolverSettings
    private let firstSeen: FirstSeenRate
    private let notify: @Sendable (_ worker: Int) -> Void
    private let state: Mutex<State>

    private struct State {
        var table: CachedNames
        /// By worker: names that it waits for and another has settled.
        var finished: [[String]]
    }

    /// `notify` is called on any worker's thread when there is something for `takeFinished`.
    init(
        _ settings: ResolverSettings, workers: Int,
        notify: @escaping @Sendable (_ worker: Int) -> Void
    ) {
        self.settings = settings
        self.notify = notify
        firstSeen = FirstSeenRate(perSecond: settings.firstSeenPerSecond)
        state = Mutex(
            State(
                table: CachedNames(capacity: settings.maxNames),
                finished: Array(repeating: [], count: workers)))
    }

    /// Names held, those being asked for included.
    var count: Int { state.withLock { $0.table.count } }

    /// Looks a name up for `worker`; a query is begun only when `mayAsk`.
    ///
    /// A name that was never answered takes a turn of the first-seen rate, unless whoever asks
    /// knows (`isKnown`) that its host has answered before.
    func look(
        up key: String, worker: Int, now: Instant, mayAsk: Bool, isKnown: Bool = false
    ) -> CacheAnswer {
        state.withLock { state in
            guard let index = state.table.index(of: key) else {
                guard mayAsk else { return .lookup(.failed(.unavailable)) }
                guard let answer = firstAnswer(now, isKnown) else {
                    return .lookup(.failed(.tooManyNames))
                }
                guard let index = state.table.insert(key, now: now) else {
                    return .lookup(.failed(.unavailable))
                }
                return Self.begin(&state.table, index, worker: worker, answer: answer)
            }
            let entry = state.table[index]
            let known = !entry.addresses.isEmpty && now < entry.freshUntil
            if entry.isAsked {
                if known || entry.isUsableStale(now) { return .lookup(.addresses(entry.addresses)) }
                if entry.asker != worker, !entry.waiting.contains(worker) {
                    state.table[index].waiting.append(worker)
                }
                return .lookup(.pending)
            }
            state.table.stand(index, entry.standing)
            let hasFailedNow = entry.failure != nil && now < entry.failureUntil
            if known {
                let renews = mayAsk && now >= entry.renewFrom && !hasFailedNow
                guard renews else { return .lookup(.addresses(entry.addresses)) }
                return Self.begin(
                    &state.table, index, worker: worker, answer: .serveAndAsk(entry.addresses))
            }
            if entry.isUsableStale(now) {
                guard mayAsk, !hasFailedNow else { return .lookup(.addresses(entry.addresses)) }
                return Self.begin(
                    &state.table, index, worker: worker, answer: .serveAndAsk(entry.addresses))
            }
            if let failure = entry.failure, hasFailedNow { return .lookup(.failed(failure)) }
            guard mayAsk else { return .lookup(.failed(.unavailable)) }
            guard let answer = firstAnswer(now, isKnown || !entry.addresses.isEmpty) else {
                return .lookup(.failed(.tooManyNames))
            }
            return Self.begin(&state.table, index, worker: worker, answer: answer)
        }
    }

    /// When a name of which nothing is known now may be asked for; nil: not any time soon.
    private func firstAnswer(_ now: Instant, _ isKnown: Bool) -> CacheAnswer? {
        if isKnown { return .ask }
        return firstSeen.take(now: now).map { $0 > now ? .askLater($0) : .ask }
    }

    private static func begin(
        _ table: inout CachedNames, _ index: Int, worker: Int, answer: CacheAnswer
    ) -> CacheAnswer {
        table.stand(index, .asked)
        table[index].isAsked = true
        table[index].asker = worker
        return answer
    }

    /// What is known of a name; nothing is asked, and nobody's turn to leave changes.
    func facts(of key: String, now: Instant) -> NameFacts {
        state.withLock { state in
            guard let index = state.table.index(of: key) else { return NameFacts() }
            return NameFacts(state.table[index], now: now)
        }
    }

    /// Ends the query that `look(up:)` asked for and tells the workers that wait for it.
    func settle(_ key: String, _ outcome: QueryOutcome, now: Instant) {
        let woken = state.withLock { state -> [Int] in
            guard let index = state.table.index(of: key), state.table[index].isAsked else {
                return []
            }
            let waiting = state.table[index].waiting
            state.table[index].waiting = []
            state.table[index].isAsked = false
            record(&state.table, index, outcome, now: now)
            var woken: [Int] = []
            for worker in waiting {
                if state.finished[worker].isEmpty { woken.append(worker) }
                state.finished[worker].append(key)
            }
            return woken
        }
        for worker in woken { notify(worker) }
    }

    private func record(
        _ table: inout CachedNames, _ index: Int, _ outcome: QueryOutcome, now: Instant
    ) {
        switch outcome {
        case .addresses(let addresses, let ttl):
            let life = max(max(min(ttl, settings.maxTTL), settings.minTTL), Limits.shortestAnswer)
            let renewable = life >= Limits.renewableTTL
            table[index].addresses = addresses
            table[index].answeredAt = now
            table[index].freshUntil = now + life
            table[index].renewFrom =
                renewable ? now + Duration(nanoseconds: life.nanoseconds / 10 * 9) : .never
            table[index].usableUntil = now + life + settings.stale
            table[index].failure = nil
            table.stand(index, .answered)
        case .failed(let failure):
            let life =
                failure.isVerdict
                ? max(settings.negativeTTL, Limits.shortestAnswer) : Limits.failureTTL
            if failure.isVerdict || now >= table[index].usableUntil {
                table[index].addresses = []
            }
            table[index].failure = failure
            table[index].failureUntil = now + life
            table.stand(index, table[index].addresses.isEmpty ? .failed : .answered)
        case .abandoned:
            guard !table[index].addresses.isEmpty else { return table.remove(index) }
            table.stand(index, .answered)
        }
    }

    /// Takes the names that `worker` waits for and others have settled.
    func takeFinished(worker: Int) -> [String] {
        state.withLock { state in
            let taken = state.finished[worker]
            state.finished[worker] = []
            return taken
        }
    }
}
