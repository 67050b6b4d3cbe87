// Borrowed bytes: what a parser reads and a writer copies.

/// A view of bytes that somebody else owns.
///
/// Valid while the owner neither moves nor reuses its memory, in practice for the event in which it
/// was handed out; keep offsets, never a `Bytes`, beyond that. Subscripts and slices are checked.
@safe
struct Bytes: BitwiseCopyable {
    let base: UnsafePointer<UInt8>
    let count: Int

    @inline(__always)
    init(_ base: UnsafePointer<UInt8>, count: Int) {
        unsafe self.base = base
        self.count = count
    }

    @inline(__always)
    init(_ text: StaticString) {
        unsafe self.init(text.utf8Start, count: text.utf8CodeUnitCount)
    }

    static var empty: Bytes { Bytes("") }

    @inline(__always)
    var isEmpty: Bool { count == 0 }

    @inline(__always)
    subscript(index: Int) -> UInt8 {
        precondition(UInt(bitPattern: index) < UInt(bitPattern: count), "byte index out of range")
        return unsafe base[index]
    }

    /// The bytes from `start` on, `count` of them.
    @inline(__always)
    func slice(_ start: Int, count length: Int) -> Bytes {
        precondition(
            start >= 0 && length >= 0 && start <= count && length <= count - start,
            "byte range out of range")
        return unsafe Bytes(base + start, count: length)
    }

    @inline(__always)
    func prefix(_ length: Int) -> Bytes { slice(0, count: min(length, count)) }

    @inline(__always)
    func dropFirst(_ length: Int) -> Bytes {
        let dropped = min(length, count)
        return slice(dropped, count: count - dropped)
    }

    @inline(__always)
    func equals(_ other: Bytes) -> Bool {
        guard count == other.count else { return false }
        return unsafe compareMemory(base, other.base, count)
    }

    @inline(__always)
    func equals(_ text: StaticString) -> Bool { equals(Bytes(text)) }

    /// Compares without regard to the case of ASCII letters; `lowercase` must be in lower case, of
    /// letters, digits and punctuation below them.
    func equalsIgnoringCase(_ lowercase: Bytes) -> Bool {
        guard count == lowercase.count else { return false }
        if count >= 8 {
            var start = 0
            while start &+ 8 <= count {
                guard isSameWord(lowercase, at: start, as: UInt64.self) else { return false }
                start &+= 8
            }
            return start == count
                || isSameWord(lowercase, at: count &- 8, as: UInt64.self)
        }
        if count >= 4 {
            return isSameWord(lowercase, at: 0, as: UInt32.self)
                && isSameWord(lowercase, at: count &- 4, as: UInt32.self)
        }
        for index in 0..<count where ASCII.lowercase(self[index]) != lowercase[index] {
            return false
        }
        return true
    }

    /// Compares a word of each: where `lowercase` has a letter, bit 5 does not count.
    @inline(__always)
    private func isSameWord<Word: FixedWidthInteger & BitwiseCopyable>(
        _ lowercase: Bytes, at start: Int, as: Word.Type
    ) -> Bool {
        let own = unsafe UnsafeRawPointer(base + start).loadUnaligned(as: Word.self)
        let other = unsafe UnsafeRawPointer(lowercase.base + start).loadUnaligned(as: Word.self)
        let letters = other & (Word.max / 0xFF &* 0x40)
        return (own ^ other) & ~(letters &>> 1) == 0
    }

    func equalsIgnoringCase(_ lowercase: StaticString) -> Bool {
        equalsIgnoringCase(Bytes(lowercase))
    }

    /// Compares any two texts without regard to the case of ASCII letters.
    func equalsIgnoringASCIICase(_ other: Bytes) -> Bool {
        guard count == other.count else { return false }
        for index in 0..<count
        where ASCII.lowercase(self[index]) != ASCII.lowercase(other[index]) {
            return false
        }
        return true
    }

    @inline(__always)
    func hasPrefix(_ other: Bytes) -> Bool {
        count >= other.count && prefix(other.count).equals(other)
    }

    /// The index of the first `byte` at or after `start`.
    func firstIndex(of byte: UInt8, from start: Int = 0) -> Int? {
        guard start < count else { return nil }
        return unsafe indexInMemory(base + start, count - start, byte).map { $0 + start }
    }

    /// Without the optional whitespace (SP, HTAB) at both ends (RFC 9110 §5.6.3).
    func trimmed() -> Bytes {
        var start = 0
        var end = count
        while start < end, ASCII.isBlank(self[start]) { start += 1 }
        while end > start, ASCII.isBlank(self[end - 1]) { end -= 1 }
        return slice(start, count: end - start)
    }

    /// Calls `body` with each comma-separated, trimmed, non-empty element (RFC 9110 §5.6.1).
    @inline(__always)
    func forEachListElement(_ body: (Bytes) -> Void) {
        var start = 0
        while start <= count {
            let end = firstIndex(of: UInt8(ascii: ","), from: start) ?? count
            let element = slice(start, count: end - start).trimmed()
            if !element.isEmpty { body(element) }
            start = end + 1
        }
    }

    /// The value of a non-empty run of decimal digits without sign; nil for anything else or when
    /// it does not fit into 63 bits.
    func decimal() -> UInt64? {
        guard count > 0, count <= 19 else { return nil }
        var value: UInt64 = 0
        for index in 0..<count {
            let digit = self[index] &- UInt8(ascii: "0")
            guard digit <= 9 else { return nil }
            let (product, overflow) = value.multipliedReportingOverflow(by: 10)
            guard !overflow else { return nil }
            value = product &+ UInt64(digit)
        }
        return value <= UInt64(Int64.max) ? value : nil
    }

    /// The value of the percent sequence that starts at `index`; nil when it is not one.
    func percentDecoded(_ index: Int) -> UInt8? {
        guard index + 2 < count, self[index] == UInt8(ascii: "%"),
            let high = ASCII.hexValue(self[index + 1]), let low = ASCII.hexValue(self[index + 2])
        else { return nil }
        return high << 4 | low
    }

    /// A copy as text, for the control plane and tests; allocates.
    var string: String {
        unsafe String(decoding: UnsafeBufferPointer(start: base, count: count), as: UTF8.self)
    }

    /// A copy, for the control plane and tests; allocates.
    var array: [UInt8] { unsafe Array(UnsafeBufferPointer(start: base, count: count)) }
}

extension Array<UInt8> {
    /// Lends the array as `Bytes` for the duration of `body`.
    func withBytes<Result, Failure: Error>(
        _ body: (Bytes) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try unsafe withUnsafeBufferPointer { (buffer) throws(Failure) -> Result in
            guard let base = buffer.baseAddress else { return try body(.empty) }
            return try unsafe body(Bytes(base, count: buffer.count))
        }
    }
}

extension String {
    /// Lends the text's UTF-8 as `Bytes` for the duration of `body`.
    func withBytes<Result, Failure: Error>(
        _ body: (Bytes) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try Array(utf8).withBytes(body)
    }
}
