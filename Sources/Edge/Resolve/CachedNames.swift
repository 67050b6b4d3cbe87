// The names that are known, bounded, each in a queue that says who leaves first.

/// What is known of one name.
struct NameEntry {
    /// Which queue an entry stands in; one that is being asked for stands in none and stays.
    enum Standing { case asked, answered, failed }

    let key: String
    var addresses: ResolvedAddresses = []
    var answeredAt = Instant.zero
    var freshUntil = Instant.zero
    /// From when an answer is renewed while it is still good.
    var renewFrom = Instant.never
    /// Until when `addresses` may be used while the servers fail.
    var usableUntil = Instant.zero
    var failure: ResolveFailure?
    var failureUntil = Instant.zero
    var isAsked = false
    /// Which worker asks, and which others wait for it.
    var asker = 0
    var waiting: [Int] = []
    fileprivate(set) var standing = Standing.asked
    fileprivate var previous = CachedNames.none
    fileprivate var next = CachedNames.none

    /// Whether an expired answer is to be used because renewing it failed.
    func isUsableStale(_ now: Instant) -> Bool {
        failure != nil && !addresses.isEmpty && now < usableUntil
    }
}

/// Entries by name, with a queue of the answered and one of the failed, least recently used first.
///
///     full ─► dead answers ─► failures ─► answers   (a scan of ids evicts its own failures)
struct CachedNames {
    fileprivate static let none = -1

    private struct Queue {
        var head = CachedNames.none
        var tail = CachedNames.none
    }

    private let capacity: Int
    private var indices: [String: Int] = [:]
    private var entries: [NameEntry] = []
    private var free: [Int] = []
    private var answered = Queue()
    private var failed = Queue()

    init(capacity: Int) { self.capacity = max(1, capacity) }

    var count: Int { indices.count }

    func index(of key: String) -> Int? { indices[key] }

    subscript(index: Int) -> NameEntry {
        _read { yield entries[index] }
        _modify { yield &entries[index] }
    }

    /// Makes an entry that stands in no queue yet; nil when all there may be are being asked for.
    mutating func insert(_ key: String, now: Instant) -> Int? {
        guard indices.count < capacity || evict(now: now) else { return nil }
        let entry = NameEntry(key: key)
        let index: Int
        if let last = free.popLast() {
            index = last
            entries[index] = entry
        } else {
            index = entries.count
            entries.append(entry)
        }
        indices[key] = index
        return index
    }

    /// Puts an entry at the end of a queue, or into none while it is asked for.
    mutating func stand(_ index: Int, _ standing: NameEntry.Standing) {
        unlink(index)
        entries[index].standing = standing
        switch standing {
        case .asked: break
        case .answered: append(index, to: \.answered)
        case .failed: append(index, to: \.failed)
        }
    }

    mutating func remove(_ index: Int) {
        unlink(index)
        indices[entries[index].key] = nil
        entries[index] = NameEntry(key: "")
        free.append(index)
    }

    private mutating func evict(now: Instant) -> Bool {
        var victim = answered.head
        if victim == Self.none || entries[victim].usableUntil > now, failed.head != Self.none {
            victim = failed.head
        }
        guard victim != Self.none else { return false }
        remove(victim)
        return true
    }

    private mutating func append(_ index: Int, to queue: WritableKeyPath<CachedNames, Queue>) {
        let tail = self[keyPath: queue].tail
        entries[index].previous = tail
        if tail == Self.none {
            self[keyPath: queue].head = index
        } else {
            entries[tail].next = index
        }
        self[keyPath: queue].tail = index
    }

    private mutating func unlink(_ index: Int) {
        let queue: WritableKeyPath<CachedNames, Queue>
        switch entries[index].standing {
        case .asked: return
        case .answered: queue = \.answered
        case .failed: queue = \.failed
        }
        let previous = entries[index].previous
        let next = entries[index].next
        if previous == Self.none {
            self[keyPath: queue].head = next
        } else {
            entries[previous].next = next
        }
        if next == Self.none {
            self[keyPath: queue].tail = previous
        } else {
            entries[next].previous = previous
        }
        entries[index].previous = Self.none
        entries[index].next = Self.none
        entries[index].standing = .asked
    }
}
