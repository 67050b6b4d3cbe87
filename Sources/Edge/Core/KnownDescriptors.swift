// The process's descriptors that no worker's walk finds, each named by who holds it.

import Synchronization

/// Descriptors of the process as a whole: those it was started with, and those of what says so
/// when it opens and before it closes one (poller, wake-up, log, key log, listener on its way).
enum KnownDescriptors {
    private static let numbers = Mutex<Set<Int32>>([])

    static func add(_ descriptor: Int32) {
        guard descriptor >= 0 else { return }
        _ = numbers.withLock { $0.insert(descriptor) }
    }

    /// To be called before it is closed: its number may be taken at once.
    static func remove(_ descriptor: Int32) {
        _ = numbers.withLock { $0.remove(descriptor) }
    }

    static var all: Set<Int32> { numbers.withLock { $0 } }
}
