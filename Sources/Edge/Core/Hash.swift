// A seeded hash over bytes, for tables that clients can fill.

/// A 64-bit multiply-and-fold hash of bytes under a per-process seed.
///
/// Every table keyed by a client's text uses it; the seed comes from the system's random source, so
/// that collisions cannot be prepared.
struct ByteHash: Sendable {
    let seed: UInt64

    init(seed: UInt64) { self.seed = seed }

    @inline(__always)
    private static func fold(_ left: UInt64, _ right: UInt64) -> UInt64 {
        let product = left.multipliedFullWidth(by: right)
        return product.high ^ product.low
    }

    @inline(__always)
    func hash(_ bytes: Bytes) -> UInt64 {
        var state = seed ^ 0x9E37_79B9_7F4A_7C15 &* UInt64(bytes.count + 1)
        var rest = bytes.count
        let raw = unsafe UnsafeRawPointer(bytes.base)
        var offset = 0
        while rest >= 8 {
            let word = unsafe raw.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
            state = Self.fold(state ^ word, 0xD6E8_FEB8_6659_FD93)
            offset += 8
            rest -= 8
        }
        var tail: UInt64 = 0
        while rest > 0 {
            tail = tail << 8 | UInt64(bytes[offset])
            offset += 1
            rest -= 1
        }
        state = Self.fold(state ^ tail, 0xA076_1D64_78BD_642F ^ seed)
        return Self.fold(state, 0xE703_7ED1_A0B4_28DB)
    }
}
