// Names for slab slots that outlive what they named.

/// What a token stands for; the tag of everything that the loop, a timer or a mailbox can address.
enum TokenKind: UInt8 {
    case none, listener, front, upstream, exchange, pool, mailbox, resolver, control
}

/// A slot of a slab with the generation of its tenant: resolves only while that tenant lives.
///
///     63      56 55            32 31             0
///     │  kind   │  generation    │  slot index    │
struct Token: Equatable, BitwiseCopyable, Sendable {
    let raw: UInt64

    @inline(__always)
    init(raw: UInt64) { self.raw = raw }

    @inline(__always)
    init(_ kind: TokenKind, slot: UInt32 = 0, generation: UInt32 = 0) {
        raw = UInt64(kind.rawValue) << 56 | UInt64(generation & 0xFF_FFFF) << 32 | UInt64(slot)
    }

    @inline(__always)
    var kind: TokenKind { TokenKind(rawValue: UInt8(truncatingIfNeeded: raw >> 56)) ?? .none }

    @inline(__always)
    var slot: UInt32 { UInt32(truncatingIfNeeded: raw) }

    @inline(__always)
    var generation: UInt32 { UInt32(truncatingIfNeeded: raw >> 32) & 0xFF_FFFF }

    /// Resolves in no slab: its slot is beyond every one.
    static var none: Token { Token(.none, slot: .max) }
}
