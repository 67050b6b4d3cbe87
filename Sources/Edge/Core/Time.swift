// Points in time and lengths of it; a bare integer is never a duration.

import Glibc

/// A length of time in nanoseconds.
struct Duration: Comparable, Hashable, BitwiseCopyable, Sendable {
    var nanoseconds: Int64

    @inline(__always)
    init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }

    static func microseconds(_ count: Int64) -> Duration { .init(nanoseconds: count * 1000) }
    static func milliseconds(_ count: Int64) -> Duration { .init(nanoseconds: count * 1_000_000) }
    static func seconds(_ count: Int64) -> Duration { .init(nanoseconds: count * 1_000_000_000) }
    static let zero = Duration(nanoseconds: 0)

    var milliseconds: Int64 { nanoseconds / 1_000_000 }
    var seconds: Double { Double(nanoseconds) / 1e9 }
    /// Rounded up, and 1 at least: what Retry-After says (RFC 9110 §10.2.3).
    var wholeSeconds: UInt64 { UInt64(max(1, (nanoseconds + 999_999_999) / 1_000_000_000)) }

    @inline(__always)
    static func < (left: Duration, right: Duration) -> Bool { left.nanoseconds < right.nanoseconds }
}

/// A point on the monotonic clock, in nanoseconds; read once per loop iteration.
struct Instant: Comparable, Hashable, BitwiseCopyable, Sendable {
    var nanoseconds: Int64

    @inline(__always)
    init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }

    static let never = Instant(nanoseconds: .max)
    static let zero = Instant(nanoseconds: 0)

    var milliseconds: Int64 { nanoseconds / 1_000_000 }

    /// Reads CLOCK_MONOTONIC.
    static func now() -> Instant {
        var time = timespec()
        unsafe clock_gettime(CLOCK_MONOTONIC, &time)
        return Instant(nanoseconds: Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec))
    }

    @inline(__always)
    static func < (left: Instant, right: Instant) -> Bool { left.nanoseconds < right.nanoseconds }

    @inline(__always)
    static func + (left: Instant, right: Duration) -> Instant {
        Instant(nanoseconds: left.nanoseconds &+ right.nanoseconds)
    }

    @inline(__always)
    static func - (left: Instant, right: Instant) -> Duration {
        Duration(nanoseconds: left.nanoseconds &- right.nanoseconds)
    }
}

/// A point in civil time, in nanoseconds since 1970-01-01T00:00:00Z; for logs and fields only.
struct WallTime: Hashable, BitwiseCopyable, Sendable {
    var nanoseconds: Int64

    /// Reads CLOCK_REALTIME.
    static func now() -> WallTime {
        var time = timespec()
        unsafe clock_gettime(CLOCK_REALTIME, &time)
        return WallTime(nanoseconds: Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec))
    }
}
