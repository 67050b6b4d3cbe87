// Where connections, exchanges and pools live: slots at fixed addresses.

/// Slots for values of one type, in chunks that never move and are never unmapped.
///
/// A slot is retired, then reaped at the end of the loop iteration: until then its value stays
/// initialised, so that a late event of the same batch meets a dead value rather than a stranger.
/// The generation in a token changes at retirement, so tokens of the old tenant stop resolving.
@safe
struct Slab<Value: ~Copyable>: ~Copyable {
    private struct Slot: ~Copyable {
        var value: Value
    }
    private struct Meta {
        var generation: UInt32 = 0
        var next: UInt32 = 0
        var state = SlotState.free
    }
    private enum SlotState: UInt8 { case free, live, retired }

    private static var chunkSize: Int { 64 }
    private static var end: UInt32 { .max }

    let kind: TokenKind
    let capacity: Int
    /// Values that are neither free nor retired, by count; the walk (`forEach`) finds the same.
    private(set) var count = 0
    private var chunks: UnsafeMutablePointer<UnsafeMutablePointer<Value>>
    private var chunkCount = 0
    private var meta: UnsafeMutablePointer<Meta>
    private var freeHead = Slab.end
    private var retiredHead = Slab.end

    /// A slab that can hold up to `capacity` values; memory is taken a chunk at a time.
    init(kind: TokenKind, capacity: Int) {
        self.kind = kind
        self.capacity = capacity
        let most = (capacity + Self.chunkSize - 1) / Self.chunkSize
        unsafe chunks = .allocate(capacity: max(most, 1))
        unsafe meta = .allocate(capacity: max(most, 1) * Self.chunkSize)
    }

    deinit {
        for slot in 0..<chunkCount * Self.chunkSize where unsafe meta[slot].state != .free {
            unsafe pointer(UInt32(slot)).deinitialize(count: 1)
        }
        for chunk in 0..<chunkCount { unsafe chunks[chunk].deallocate() }
        unsafe chunks.deallocate()
        unsafe meta.deallocate()
    }

    @inline(__always)
    private func pointer(_ slot: UInt32) -> UnsafeMutablePointer<Value> {
        unsafe chunks[Int(slot) / Self.chunkSize] + Int(slot) % Self.chunkSize
    }

    /// Puts a value into a free slot; nil when the slab is full, and the value is then dropped.
    mutating func insert(_ make: (Token) -> Value) -> Ref<Value>? {
        if freeHead == Self.end { grow() }
        guard freeHead != Self.end else { return nil }
        let slot = freeHead
        freeHead = unsafe meta[Int(slot)].next
        unsafe meta[Int(slot)].state = .live
        count += 1
        let place = unsafe pointer(slot)
        unsafe place.initialize(
            to: make(Token(kind, slot: slot, generation: meta[Int(slot)].generation)))
        return unsafe Ref(place)
    }

    private mutating func grow() {
        let first = chunkCount * Self.chunkSize
        guard first < capacity else { return }
        unsafe chunks[chunkCount] = .allocate(capacity: Self.chunkSize)
        chunkCount += 1
        for slot in (first..<first + Self.chunkSize).reversed() {
            unsafe (meta + slot).initialize(to: Meta())
            guard slot < capacity else { continue }
            unsafe meta[slot].next = freeHead
            freeHead = UInt32(slot)
        }
    }

    /// The value a token names; nil once its tenant was retired.
    @inline(__always)
    func resolve(_ token: Token) -> Ref<Value>? {
        let slot = Int(token.slot)
        guard slot < chunkCount * Self.chunkSize, unsafe meta[slot].state == .live,
            unsafe meta[slot].generation == token.generation
        else { return nil }
        return unsafe Ref(pointer(token.slot))
    }

    /// Where the value of a token is or was; nil for a slot that never was.
    @inline(__always)
    func place(of token: Token) -> UnsafeRawPointer? {
        guard Int(token.slot) < chunkCount * Self.chunkSize else { return nil }
        return unsafe UnsafeRawPointer(pointer(token.slot))
    }

    /// Ends a tenancy: its token stops resolving now, its value is destroyed by `reap`.
    mutating func retire(_ token: Token) {
        let slot = Int(token.slot)
        precondition(
            unsafe slot < chunkCount * Self.chunkSize && meta[slot].state == .live
                && meta[slot].generation == token.generation,
            "a slot was retired twice")
        unsafe meta[slot].state = .retired
        unsafe meta[slot].generation = (meta[slot].generation &+ 1) & 0xFF_FFFF
        unsafe meta[slot].next = retiredHead
        retiredHead = token.slot
        count -= 1
    }

    /// Destroys what was retired; called at the end of each loop iteration.
    @inline(__always)
    mutating func reap() {
        while retiredHead != Self.end { reapOne() }
    }

    private mutating func reapOne() {
        let slot = retiredHead
        retiredHead = unsafe meta[Int(slot)].next
        unsafe pointer(slot).deinitialize(count: 1)
        unsafe meta[Int(slot)].state = .free
        unsafe meta[Int(slot)].next = freeHead
        freeHead = slot
    }

    /// Visits every live value; `body` may retire the one it is given.
    func forEach(_ body: (Ref<Value>) -> Void) {
        for slot in 0..<chunkCount * Self.chunkSize where unsafe meta[slot].state == .live {
            unsafe body(Ref(pointer(UInt32(slot))))
        }
    }
}
