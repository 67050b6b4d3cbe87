// What the control plane and the admin pages see of all workers.

import Synchronization

/// Facts of the whole process that any worker may ask for; shared by all.
final class ControlView: Sendable {
    private let fronts = Atomic<Int>(0)
    private let draining = Atomic<Bool>(false)
    /// What workers hold of the memory that `max_memory` bounds, as they last said.
    private let memory = Atomic<Int>(0)
    let clients = ClientTable()
    let registry: Registry
    let counters: Counters
    let workers: Int
    let start = WallTime.now()
    let version: String

    init(registry: Registry, counters: Counters, workers: Int, version: String) {
        self.registry = registry
        self.counters = counters
        self.workers = workers
        self.version = version
    }

    /// Front connections of all workers.
    var frontConnections: Int { fronts.load(ordering: .relaxed) }

    /// Adds to the memory in use, in bytes; returns that of all workers.
    func addMemory(_ change: Int) -> Int {
        memory.wrappingAdd(change, ordering: .relaxed).newValue
    }

    var memoryInUse: Int { memory.load(ordering: .relaxed) }

    /// Counts one more front connection, unless `limit` of them are open.
    func reserveFront(limit: Int) -> Bool {
        if fronts.wrappingAdd(1, ordering: .relaxed).newValue <= limit { return true }
        frontClosed()
        return false
    }

    /// Takes one off the count; true when it was the last.
    @discardableResult
    func frontClosed() -> Bool {
        fronts.wrappingSubtract(1, ordering: .relaxed).newValue == 0
    }

    var isDraining: Bool { draining.load(ordering: .relaxed) }
    func beginDraining() { draining.store(true, ordering: .relaxed) }
}

/// A count of everything that lives, made by walking through it, worker by worker.
///
/// Whoever asks posts it to every worker; the last one to add its part tells the worker that asked.
final class Census: Sendable {
    struct Part: Sendable {
        /// Found by the walk, and counted by the same thread in the same moment.
        var live: [LedgerKind: Int] = [:]
        var opened: [LedgerKind: UInt64] = [:]
        var closed: [LedgerKind: UInt64] = [:]
        var descriptors = 0
        var bufferBytes = 0
        var bufferFreeBytes = 0
        var upstreamIdle = 0
    }

    private let parts = Mutex<[Part]>([])
    private let remaining: Atomic<Int>
    let purpose: AdminPage
    /// The exchange that waits for the answer, and the worker it belongs to.
    let exchange: Token
    let worker: Int

    init(workers: Int, purpose: AdminPage, exchange: Token, worker: Int) {
        remaining = Atomic(workers)
        self.purpose = purpose
        self.exchange = exchange
        self.worker = worker
    }

    /// Adds one worker's part; true for the last.
    func add(_ part: Part) -> Bool {
        parts.withLock { $0.append(part) }
        return remaining.wrappingSubtract(1, ordering: .acquiringAndReleasing).newValue == 0
    }

    /// All parts together.
    var sum: Part {
        parts.withLock { parts in
            parts.reduce(into: Part()) { sum, part in
                sum.live.merge(part.live, uniquingKeysWith: +)
                sum.opened.merge(part.opened, uniquingKeysWith: &+)
                sum.closed.merge(part.closed, uniquingKeysWith: &+)
                sum.descriptors += part.descriptors
                sum.bufferBytes += part.bufferBytes
                sum.bufferFreeBytes += part.bufferFreeBytes
                sum.upstreamIdle += part.upstreamIdle
            }
        }
    }
}

/// Pages of the admin listener that need a census.
enum AdminPage: Sendable {
    case metrics, registry
}
