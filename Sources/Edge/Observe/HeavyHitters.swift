// Which few of very many texts carry the most weight, in a fixed amount of memory.

/// One text that a sketch holds.
struct HeavyHitter: BitwiseCopyable, Sendable {
    fileprivate(set) var hash: UInt64 = 0
    /// At least the text's true weight, and at most `error` more than that.
    fileprivate(set) var weight: UInt64 = 0
    fileprivate(set) var error: UInt64 = 0
    private var bytes: [64 of UInt8] = .init(repeating: 0)
    private var count: UInt8 = 0
    fileprivate var next: UInt8 = HeavyHitters.none

    fileprivate init() {}

    fileprivate mutating func set(_ text: Bytes) {
        count = UInt8(min(text.count, 64))
        for index in 0..<Int(count) { bytes[index] = text[index] }
    }

    fileprivate func equals(_ text: Bytes) -> Bool {
        guard text.count == Int(count) else { return false }
        for index in 0..<Int(count) where bytes[index] != text[index] { return false }
        return true
    }

    /// The text itself; allocates.
    var text: String { String(decoding: (0..<Int(count)).map { bytes[$0] }, as: UTF8.self) }
}

/// The Space-Saving sketch (Metwally, Agrawal and El Abbadi, 2005) with weights.
///
/// With `capacity` counters and N the sum of all weights added: every text whose weight is more
/// than N / `capacity` is held, no text's weight is told too small, and none too large by more
/// than N / `capacity`. The sum of all counters is N exactly.
///
///     held:  its counter grows
///     new:   takes a free counter, or the smallest with all that is on it, which is its `error`
///
/// The smallest is the root of a heap, a text is found by its hash: an addition costs O(log n) and
/// never allocates. Belongs to one worker.
@safe
struct HeavyHitters: ~Copyable {
    /// 128 counters: no id with more than a 128th of a worker's traffic is missed; 12 KiB.
    static let capacity = 128
    fileprivate static let none = UInt8.max

    private let entries: UnsafeMutablePointer<HeavyHitter>
    /// Entries in the order of a heap, the smallest at the root, and the place of each there.
    private let heap: UnsafeMutablePointer<UInt8>
    private let places: UnsafeMutablePointer<UInt8>
    /// The first entry of each chain of equal low bits of the hash.
    private let buckets: UnsafeMutablePointer<UInt8>
    private(set) var count = 0
    private var hasForgotten = false
    private let hasher: ByteHash

    init(seed: UInt64) {
        hasher = ByteHash(seed: seed)
        unsafe entries = .allocate(capacity: Self.capacity)
        unsafe heap = .allocate(capacity: Self.capacity)
        unsafe places = .allocate(capacity: Self.capacity)
        unsafe buckets = .allocate(capacity: Self.capacity)
        unsafe buckets.initialize(repeating: Self.none, count: Self.capacity)
    }

    deinit {
        unsafe entries.deallocate()
        unsafe heap.deallocate()
        unsafe places.deallocate()
        unsafe buckets.deallocate()
    }

    /// The most by which any weight may be told too large, and the most of a text that is not held:
    /// what the smallest counter has, once a counter was taken from somebody.
    var mostError: UInt64 { hasForgotten ? unsafe entries[Int(heap[0])].weight : 0 }

    /// Everything held, in no order; allocates.
    var all: [HeavyHitter] { (0..<count).map { unsafe entries[$0] } }

    /// Adds weight to a text of at most 64 bytes.
    mutating func add(_ text: Bytes, _ weight: UInt64) {
        guard weight > 0 else { return }
        let hash = hasher.hash(text)
        let entry = find(text, hash) ?? place(text, hash)
        unsafe entries[entry].weight &+= weight
        sink(Int(unsafe places[entry]))
    }

    private func find(_ text: Bytes, _ hash: UInt64) -> Int? {
        var entry = unsafe buckets[Self.bucket(hash)]
        while entry != Self.none {
            let index = Int(entry)
            if unsafe entries[index].hash == hash && entries[index].equals(text) { return index }
            entry = unsafe entries[index].next
        }
        return nil
    }

    /// A counter for a text that has none.
    private mutating func place(_ text: Bytes, _ hash: UInt64) -> Int {
        var entry = count
        if count < Self.capacity {
            unsafe (entries + entry).initialize(to: HeavyHitter())
            unsafe heap[entry] = UInt8(entry)
            unsafe places[entry] = UInt8(entry)
            count += 1
            rise(entry)
        } else {
            entry = Int(unsafe heap[0])
            unlink(entry)
            hasForgotten = true
            unsafe entries[entry].error = entries[entry].weight
        }
        unsafe entries[entry].set(text)
        unsafe entries[entry].hash = hash
        unsafe entries[entry].next = buckets[Self.bucket(hash)]
        unsafe buckets[Self.bucket(hash)] = UInt8(entry)
        return entry
    }

    private static func bucket(_ hash: UInt64) -> Int { Int(hash & UInt64(capacity - 1)) }

    private func unlink(_ entry: Int) {
        let bucket = Self.bucket(unsafe entries[entry].hash)
        let next = unsafe entries[entry].next
        guard unsafe buckets[bucket] != UInt8(entry) else {
            unsafe buckets[bucket] = next
            return
        }
        var before = Int(unsafe buckets[bucket])
        while unsafe entries[before].next != UInt8(entry) {
            before = Int(unsafe entries[before].next)
        }
        unsafe entries[before].next = next
    }

    private func weight(at place: Int) -> UInt64 { unsafe entries[Int(heap[place])].weight }

    private func swap(_ left: Int, _ right: Int) {
        let entry = unsafe heap[left]
        unsafe heap[left] = heap[right]
        unsafe heap[right] = entry
        unsafe places[Int(heap[left])] = UInt8(left)
        unsafe places[Int(heap[right])] = UInt8(right)
    }

    private func rise(_ start: Int) {
        var place = start
        while place > 0, weight(at: place) < weight(at: (place - 1) / 2) {
            swap(place, (place - 1) / 2)
            place = (place - 1) / 2
        }
    }

    private func sink(_ start: Int) {
        var place = start
        while true {
            var least = place
            for child in [2 * place + 1, 2 * place + 2]
            where child < count && weight(at: child) < weight(at: least) {
                least = child
            }
            guard least != place else { return }
            swap(place, least)
            place = least
        }
    }
}
