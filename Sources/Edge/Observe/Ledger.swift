// The leak ledger: what was counted beside what a walk found.

/// What one worker, or all of them, opened and closed of a kind, and how many a walk found.
struct LedgerCount: Equatable, Sendable {
    var opened: UInt64 = 0
    var closed: UInt64 = 0
    /// Live things found by looking at them.
    var walk = 0

    /// Negative when something was closed twice.
    var live: Int64 { Int64(bitPattern: opened &- closed) }
    var hasDrifted: Bool { live != Int64(walk) }
}

/// One kind of the ledger, worker by worker.
struct LedgerRow: Equatable, Sendable {
    let kind: LedgerKind
    /// By the worker's number.
    var workers: [LedgerCount]

    var sum: LedgerCount {
        workers.reduce(into: LedgerCount()) { sum, count in
            sum.opened &+= count.opened
            sum.closed &+= count.closed
            sum.walk += count.walk
        }
    }

    /// Of any worker: one that closed too much would hide another that closed too little.
    var hasDrifted: Bool { workers.contains(where: \.hasDrifted) }
}

/// An open descriptor that nobody answers for.
struct StrayDescriptor: Equatable, Sendable {
    let number: Int32
    /// What the kernel says it is, such as `socket:[4242]`.
    let link: String
}
