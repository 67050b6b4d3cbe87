// Which ids carry the traffic, the errors and the waiting: exact sums, and the few at the top.

/// By what ids are ranked.
enum IDMeasure: Int, CaseIterable, Sendable {
    case requests, bytes, errors, nanoseconds
}

/// What exchanges have added up to; one for each pool, so that counting is four additions.
struct Tally: BitwiseCopyable, Sendable {
    private var sums: [4 of UInt64] = .init(repeating: 0)

    init() {}

    subscript(measure: IDMeasure) -> UInt64 { sums[measure.rawValue] }

    /// Adds an exchange that has ended.
    @inline(__always)
    mutating func add(bytes: UInt64, isError: Bool, took: Duration) {
        sums[IDMeasure.requests.rawValue] &+= 1
        sums[IDMeasure.bytes.rawValue] &+= bytes
        sums[IDMeasure.errors.rawValue] &+= isError ? 1 : 0
        sums[IDMeasure.nanoseconds.rawValue] &+= UInt64(bitPattern: took.nanoseconds)
    }

    mutating func add(_ other: Tally) {
        for measure in 0..<4 { sums[measure] &+= other.sums[measure] }
    }
}

/// One worker's knowledge of ids: four sketches, and the exact sum of everything.
///
/// Pools count for themselves and are emptied into here when somebody wants to know, or when they
/// end: the order in which weights come does not matter to the bounds of a sketch.
struct IDTallies: ~Copyable {
    /// All exchanges, those without an id included.
    var total = Tally()
    private var requests: HeavyHitters
    private var bytes: HeavyHitters
    private var errors: HeavyHitters
    private var nanoseconds: HeavyHitters

    init(seed: UInt64) {
        requests = HeavyHitters(seed: seed)
        bytes = HeavyHitters(seed: seed)
        errors = HeavyHitters(seed: seed)
        nanoseconds = HeavyHitters(seed: seed)
    }

    /// Adds what a pool has counted for an id; an empty one has none.
    mutating func add(_ tally: Tally, of id: Bytes) {
        guard tally[.requests] > 0 else { return }
        total.add(tally)
        guard !id.isEmpty else { return }
        requests.add(id, tally[.requests])
        bytes.add(id, tally[.bytes])
        errors.add(id, tally[.errors])
        nanoseconds.add(id, tally[.nanoseconds])
    }

    /// A copy that another thread may read.
    var sums: IDSums {
        var sums = IDSums()
        sums.total = total
        sums.merge(requests, .requests)
        sums.merge(bytes, .bytes)
        sums.merge(errors, .errors)
        sums.merge(nanoseconds, .nanoseconds)
        return sums
    }
}

/// The tallies of one worker or of all.
struct IDSums: Sendable {
    fileprivate(set) var total = Tally()
    private var weights: [[String: UInt64]] = IDMeasure.allCases.map { _ in [:] }
    private var mostErrors: [UInt64] = IDMeasure.allCases.map { _ in 0 }

    init() {}

    fileprivate mutating func merge(_ sketch: borrowing HeavyHitters, _ measure: IDMeasure) {
        for hitter in sketch.all { weights[measure.rawValue][hitter.text] = hitter.weight }
        mostErrors[measure.rawValue] = sketch.mostError
    }

    /// Adds another worker's.
    mutating func merge(_ other: IDSums) {
        total.add(other.total)
        for measure in IDMeasure.allCases.map(\.rawValue) {
            weights[measure].merge(other.weights[measure], uniquingKeysWith: &+)
            mostErrors[measure] &+= other.mostErrors[measure]
        }
    }

    /// No weight is told too large or too small by more, and no id that is in no sketch has more.
    func mostError(_ measure: IDMeasure) -> UInt64 { mostErrors[measure.rawValue] }

    /// The ids with the most, the first one first, and what is left for all others.
    func top(_ count: Int, by measure: IDMeasure) -> (ids: [(String, UInt64)], rest: UInt64) {
        // The others have that name; an id that is called so is one of them.
        let ranked = weights[measure.rawValue].filter { $0.key != "other" }
            .sorted { ($1.value, $0.key) < ($0.value, $1.key) }
        let ids = ranked.prefix(count).map { ($0.key, $0.value) }
        return (ids, ids.reduce(total[measure]) { $0 &- $1.1 })
    }
}
