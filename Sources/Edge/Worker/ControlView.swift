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
    /// Whether the whole descriptor table is this proxy's; not where two share a process.
    let ownsProcess: Bool
    let start = WallTime.now()
    let version: String

    init(
        registry: Registry, counters: Counters, workers: Int, version: String,
        ownsProcess: Bool = true
    ) {
        self.ownsProcess = ownsProcess
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
    func reserveFront(limit: Int) -> Bool { fronts.take(upTo: limit) != nil }

    /// Takes one off the count; true when it was the last.
    @discardableResult
    func frontClosed() -> Bool {
        fronts.wrappingSubtract(1, ordering: .relaxed).newValue == 0
    }

    var isDraining: Bool { draining.load(ordering: .relaxed) }
    func beginDraining() { draining.store(true, ordering: .relaxed) }
}
