// What every worker adds a part to.

import Synchronization

/// Parts that workers add, each on its own thread, until the last one has.
final class Gathering<Part: Sendable>: Sendable {
    private let added = Mutex<[Part]>([])
    private let remaining: Atomic<Int>

    init(workers: Int) { remaining = Atomic(workers) }

    /// Adds one worker's part; true for the last.
    func add(_ part: Part) -> Bool {
        added.withLock { $0.append(part) }
        return remaining.wrappingSubtract(1, ordering: .acquiringAndReleasing).newValue == 0
    }

    var isComplete: Bool { remaining.load(ordering: .acquiring) == 0 }

    /// Those that were added until now, in the order in which they came.
    var parts: [Part] { added.withLock { $0 } }
}
