// A queue of bytes in one contiguous block.

/// Bytes waiting to be read by somebody: a connection's input or output, a stream's body.
///
///     ┌── block from the pool ─────────────────────────────┐
///     │ consumed │ readable (start ..< end)  │ free        │
///     └──────────┴───────────────────────────┴─────────────┘
///
/// Contiguous, so that a parser sees one run and a write is one system call. Grows by doubling up
/// to the pool's largest block; gives its block back whenever it runs empty.
@safe
struct ByteQueue: ~Copyable {
    private let pool: Ref<BufferPool>
    private var block: UnsafeMutablePointer<UInt8>?
    private var start = 0
    private var end = 0
    private var sizeClass = 0

    init(pool: Ref<BufferPool>) {
        self.pool = pool
        unsafe block = nil
    }

    deinit {
        if let block = unsafe block { unsafe pool[].give(block, sizeClass) }
    }

    @inline(__always)
    var count: Int { end &- start }

    @inline(__always)
    var isEmpty: Bool { start == end }

    /// What is readable; valid until the next mutation.
    @inline(__always)
    var bytes: Bytes {
        guard let block = unsafe block else { return .empty }
        return unsafe Bytes(block + start, count: count)
    }

    /// Makes room for `more` bytes and returns where they go; `commit` makes them readable.
    ///
    /// Traps above the pool's largest block: every producer is bounded far below it (`Limits`).
    @inline(__always)
    mutating func reserve(_ more: Int) -> UnsafeMutablePointer<UInt8> {
        if let block = unsafe block, BufferPool.size(of: sizeClass) &- end >= more {
            return unsafe block + end
        }
        return unsafe makeRoom(more)
    }

    @inline(never)
    private mutating func makeRoom(_ more: Int) -> UnsafeMutablePointer<UInt8> {
        let length = count
        guard let block = unsafe block else {
            guard let fresh = BufferPool.sizeClass(for: more) else {
                preconditionFailure("a queue was asked for more than the largest block")
            }
            sizeClass = fresh
            let taken = unsafe pool[].take(fresh)
            unsafe self.block = taken
            return unsafe taken
        }
        // Moving down is cheaper than growing, as long as it is not done again for every byte.
        if BufferPool.size(of: sizeClass) - length >= more, start >= length {
            unsafe copyMemory(block, block + start, length)
        } else {
            guard
                let larger = BufferPool.sizeClass(
                    for: max(length + more, BufferPool.size(of: sizeClass)))
            else { preconditionFailure("a queue outgrew the largest block") }
            let taken = unsafe pool[].take(larger)
            unsafe copyMemory(taken, block + start, length)
            unsafe pool[].give(block, sizeClass)
            unsafe self.block = taken
            sizeClass = larger
        }
        start = 0
        end = length
        guard let now = unsafe self.block else { preconditionFailure() }
        if BufferPool.size(of: sizeClass) - length < more { return unsafe makeRoom(more) }
        return unsafe now + length
    }

    @inline(__always)
    mutating func commit(_ added: Int) {
        end &+= added
        assert(end <= BufferPool.size(of: sizeClass))
        if added == 0 { releaseIfEmpty() }
    }

    @inline(__always)
    mutating func append(_ more: Bytes) {
        guard more.count > 0 else { return }
        unsafe copyMemory(reserve(more.count), more.base, more.count)
        end &+= more.count
    }

    @inline(__always)
    mutating func append(_ text: StaticString) { append(Bytes(text)) }

    @inline(__always)
    mutating func append(_ byte: UInt8) {
        unsafe reserve(1).pointee = byte
        end &+= 1
    }

    /// Appends a number in decimal digits.
    mutating func append(decimal value: UInt64) {
        let place = unsafe reserve(20)
        end &+= unsafe writeDecimal(value, to: place)
    }

    /// Appends a number in lower-case hexadecimal digits.
    mutating func append(hex value: UInt64) {
        var shift = value == 0 ? 0 : (63 - value.leadingZeroBitCount) & ~3
        while shift >= 0 {
            let digit = UInt8(truncatingIfNeeded: value >> UInt64(shift)) & 15
            append(digit < 10 ? 0x30 + digit : 0x57 + digit)
            shift -= 4
        }
    }

    /// Drops bytes from the front.
    @inline(__always)
    mutating func consume(_ taken: Int) {
        start &+= taken
        precondition(start <= end, "a queue was asked for bytes that it does not hold")
        releaseIfEmpty()
    }

    @inline(__always)
    private mutating func releaseIfEmpty() {
        guard start == end, let block = unsafe block else { return }
        unsafe pool[].give(block, sizeClass)
        unsafe self.block = nil
        start = 0
        end = 0
    }

    /// Makes sure that the next `more` bytes can be appended without moving what is there.
    @inline(__always)
    mutating func ensureRoom(_ more: Int) { _ = unsafe reserve(max(more, 1)) }

    /// Gives back the block of a reservation that was not committed.
    @inline(__always)
    mutating func releaseUnused() { releaseIfEmpty() }

    mutating func removeAll() {
        start = end
        releaseIfEmpty()
    }
}

/// Writes `value` in decimal digits, 20 at most, and returns how many.
@inline(__always)
func writeDecimal(_ value: UInt64, to place: UnsafeMutablePointer<UInt8>) -> Int {
    var digits = 1
    var bound: UInt64 = 10
    while digits < 20, value >= bound {
        digits += 1
        let (next, overflow) = bound.multipliedReportingOverflow(by: 10)
        if overflow { break }
        bound = next
    }
    var rest = value
    var index = digits - 1
    while index >= 0 {
        unsafe place[index] = UInt8(truncatingIfNeeded: 0x30 + rest % 10)
        rest /= 10
        index -= 1
    }
    return digits
}
