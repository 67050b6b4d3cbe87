// What a host's connections have taught all workers: the version it speaks, how long it lets rest.

import Synchronization

/// Which version a host turned out to speak where both were possible.
enum LearnedProtocol: UInt8, Sendable {
    case unknown, http1, http2
}

/// Facts of one host that hold for a while; each in one atomic together with its time.
struct HostMemory: ~Copyable {
    /// Milliseconds on the monotonic clock when it was learned, and in the last two bits what.
    private let spoken = Atomic<Int64>(0)
    /// When it ends, in milliseconds on the monotonic clock, and in the last 24 bits the limit in
    /// milliseconds.
    private let limit = Atomic<Int64>(0)
    /// The age at which the host closed a resting connection last, in nanoseconds.
    private let closedAt = Atomic<Int64>(0)

    private static let limitBits: Int64 = 24
    private static let limitMask: Int64 = 1 << limitBits - 1

    // MARK: the protocol

    func learned(_ now: Instant) -> LearnedProtocol {
        let value = spoken.load(ordering: .relaxed)
        guard now.milliseconds &- value >> 2 < Limits.protocolMemory.milliseconds else {
            return .unknown
        }
        return LearnedProtocol(rawValue: UInt8(truncatingIfNeeded: value & 3)) ?? .unknown
    }

    func learn(_ name: LearnedProtocol, _ now: Instant) {
        spoken.store(now.milliseconds << 2 | Int64(name.rawValue), ordering: .relaxed)
    }

    /// A dial has failed: who listens there now may speak anything.
    func forgetProtocol() { spoken.store(0, ordering: .relaxed) }

    // MARK: how long connections may rest

    /// How long a connection may rest here, as the host's own closes have shown; nil: not known.
    @inline(__always)
    func rest(_ now: Instant) -> Duration? {
        let value = limit.load(ordering: .relaxed)
        return value == 0 ? nil : Self.rest(value, now)
    }

    @inline(never)
    private static func rest(_ value: Int64, _ now: Instant) -> Duration? {
        guard now.milliseconds < value >> limitBits else { return nil }
        return .milliseconds(value & limitMask)
    }

    /// The host has closed a connection that had rested for `age`.
    ///
    /// One may do so for any reason; two in a row at about the same age, within a quarter, show a
    /// limit.
    func noteClose(after age: Duration, _ now: Instant) {
        guard age >= Limits.leastIdleLimit else { return }
        let before = closedAt.exchange(age.nanoseconds, ordering: .relaxed)
        guard before != 0, abs(before - age.nanoseconds) <= before / 4 else { return }
        let least = Duration(nanoseconds: min(before, age.nanoseconds))
        let rest = min(Limits.safeRest(least).milliseconds, Self.limitMask)
        let end = now.milliseconds + Limits.idleMemory.milliseconds
        limit.store(end << Self.limitBits | rest, ordering: .relaxed)
    }
}
