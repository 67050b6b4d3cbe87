// Deadlines of everything a worker holds, in a hashed wheel.

/// One deadline of a connection, exchange or pool, embedded in it.
///
/// Moving a deadline later is one store: the wheel finds out when the old one passes.
struct Deadline: BitwiseCopyable {
    /// When the owner wants to hear; `.never` when it does not.
    fileprivate(set) var at = Instant.never
    /// The wheel's node; 0 when the wheel holds none.
    fileprivate var node: UInt32 = 0
    /// When the wheel will look, at the latest `at`.
    fileprivate var scheduled = Instant.never

    var isSet: Bool { at != .never }
}

/// A wheel of 8 192 slots of 8.4 ms; a deadline beyond its 68 s turns up early and is put back.
///
/// A deadline never fires before its time and at most two slots after it.
@safe
struct TimerWheel: ~Copyable {
    private struct Node {
        var token: UInt64
        var at: Int64
        var previous: UInt32
        var next: UInt32
        var slot: Int32
    }

    private static let slots = 8192
    private static let shift: Int64 = 23
    private static let mask = Int64(slots - 1)

    private var nodes: UnsafeMutablePointer<Node>
    private var capacity = 256
    private var used: UInt32 = 1
    private var free: UInt32 = 0
    private let heads: UnsafeMutablePointer<UInt32>
    private let occupied: UnsafeMutablePointer<UInt64>
    private var current: Int64
    /// Deadlines in the wheel, and those ever put into it.
    private(set) var count = 0
    private(set) var opened: UInt64 = 0

    init(now: Instant) {
        unsafe nodes = .allocate(capacity: 256)
        unsafe heads = .allocate(capacity: Self.slots)
        unsafe occupied = .allocate(capacity: Self.slots / 64)
        unsafe heads.initialize(repeating: 0, count: Self.slots)
        unsafe occupied.initialize(repeating: 0, count: Self.slots / 64)
        current = now.nanoseconds >> Self.shift
    }

    deinit {
        unsafe nodes.deallocate()
        unsafe heads.deallocate()
        unsafe occupied.deallocate()
    }

    /// Sets when `token` shall be told; an earlier setting of the same deadline is replaced.
    @inline(__always)
    mutating func set(_ deadline: inout Deadline, _ token: Token, at instant: Instant) {
        deadline.at = instant
        if deadline.node != 0 {
            if deadline.scheduled <= instant { return }
            unlink(deadline.node)
            link(deadline.node, at: instant)
            deadline.scheduled = instant
        } else if instant != .never {
            deadline.node = take(token)
            link(deadline.node, at: instant)
            deadline.scheduled = instant
        }
    }

    /// Stops watching without touching the wheel: right for deadlines that are set again soon.
    @inline(__always)
    func clear(_ deadline: inout Deadline) { deadline.at = .never }

    /// Takes the deadline out of the wheel; every owner does so before it ends.
    @inline(__always)
    mutating func cancel(_ deadline: inout Deadline) {
        deadline.at = .never
        guard deadline.node != 0 else { return }
        unlink(deadline.node)
        give(deadline.node)
        deadline.node = 0
        deadline.scheduled = .never
    }

    /// For a token that `nextExpired` gave: whether its deadline has really passed; if it has been
    /// moved meanwhile, puts it back.
    mutating func confirm(_ deadline: inout Deadline, _ token: Token, now: Instant) -> Bool {
        deadline.node = 0
        deadline.scheduled = .never
        if deadline.at <= now {
            deadline.at = .never
            return true
        }
        if deadline.at != .never { set(&deadline, token, at: deadline.at) }
        return false
    }

    /// The token of a deadline that may have passed; nil when there is none up to `now`.
    ///
    /// Its node is free already, so the owner must be asked with `confirm`.
    mutating func nextExpired(now: Instant) -> Token? {
        let target = now.nanoseconds >> Self.shift
        while current <= target {
            let slot = Int(current & Self.mask)
            var node = unsafe heads[slot]
            while node != 0 {
                let entry = unsafe nodes[Int(node)]
                if entry.at >> Self.shift < target || entry.at <= now.nanoseconds {
                    unlink(node)
                    give(node)
                    return Token(raw: entry.token)
                }
                node = entry.next
            }
            if current == target { return nil }
            relocate(slot)
            current = nextOccupied(after: current, upTo: target)
        }
        return nil
    }

    /// Deadlines from beyond the horizon that stood at its edge move to where they belong.
    private mutating func relocate(_ slot: Int) {
        var node = unsafe heads[slot]
        while node != 0 {
            let next = unsafe nodes[Int(node)].next
            let at = unsafe nodes[Int(node)].at
            unlink(node)
            current += 1
            link(node, at: Instant(nanoseconds: at))
            current -= 1
            node = next
        }
    }

    /// Milliseconds until the next slot that holds something; -1 when there is none.
    func millisecondsToNext(now: Instant) -> Int32 {
        guard count > 0 else { return -1 }
        let next = nextOccupied(after: current - 1, upTo: current + Int64(Self.slots) - 1)
        let wait = ((next + 1) << Self.shift) - now.nanoseconds
        return wait <= 0 ? 0 : Int32(truncatingIfNeeded: (wait + 999_999) / 1_000_000)
    }

    private func nextOccupied(after slot: Int64, upTo target: Int64) -> Int64 {
        var candidate = slot + 1
        while candidate <= target {
            let index = Int(candidate & Self.mask)
            let word = unsafe occupied[index >> 6] >> UInt64(index & 63)
            if word != 0 {
                return min(candidate + Int64(word.trailingZeroBitCount), target)
            }
            candidate += Int64(64 - (index & 63))
        }
        return target
    }

    /// Visits the token of every deadline in the wheel, by walking all of its slots.
    func forEach(_ body: (Token) -> Void) {
        for slot in 0..<Self.slots {
            var node = unsafe heads[slot]
            while node != 0 {
                body(Token(raw: unsafe nodes[Int(node)].token))
                node = unsafe nodes[Int(node)].next
            }
        }
    }

    private mutating func take(_ token: Token) -> UInt32 {
        count += 1
        opened &+= 1
        var index = free
        if index != 0 {
            free = unsafe nodes[Int(index)].next
        } else {
            if Int(used) == capacity { grow() }
            index = used
            used += 1
        }
        unsafe (nodes + Int(index)).initialize(
            to: Node(token: token.raw, at: 0, previous: 0, next: 0, slot: -1))
        return index
    }

    private mutating func grow() {
        let larger = UnsafeMutablePointer<Node>.allocate(capacity: capacity * 2)
        unsafe larger.moveInitialize(from: nodes, count: capacity)
        unsafe nodes.deallocate()
        unsafe nodes = larger
        capacity *= 2
    }

    private mutating func give(_ node: UInt32) {
        count -= 1
        unsafe nodes[Int(node)].next = free
        free = node
    }

    private mutating func link(_ node: UInt32, at instant: Instant) {
        let wanted = max(instant.nanoseconds >> Self.shift, current)
        let slot = Int(min(wanted, current + Int64(Self.slots) - 1) & Self.mask)
        let next = unsafe heads[slot]
        unsafe nodes[Int(node)].at = instant.nanoseconds
        unsafe nodes[Int(node)].slot = Int32(slot)
        unsafe nodes[Int(node)].previous = 0
        unsafe nodes[Int(node)].next = next
        if next != 0 { unsafe nodes[Int(next)].previous = node }
        unsafe heads[slot] = node
        unsafe occupied[slot >> 6] |= 1 << UInt64(slot & 63)
    }

    private mutating func unlink(_ node: UInt32) {
        let entry = unsafe nodes[Int(node)]
        let slot = Int(entry.slot)
        if entry.next != 0 { unsafe nodes[Int(entry.next)].previous = entry.previous }
        if entry.previous != 0 {
            unsafe nodes[Int(entry.previous)].next = entry.next
        } else {
            unsafe heads[slot] = entry.next
            if entry.next == 0 { unsafe occupied[slot >> 6] &= ~(1 << UInt64(slot & 63)) }
        }
    }
}
