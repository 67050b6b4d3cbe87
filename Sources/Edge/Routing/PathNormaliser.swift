// Paths in the one form that routes are matched against (RFC 3986 §6.2.2).

/// What a glance at a target tells.
struct TargetScan: BitwiseCopyable {
    /// Bytes before the query.
    let pathCount: Int
    /// The path holds `%` or a dot segment.
    let needsNormalising: Bool

    init(_ target: Bytes) {
        var needs = false
        var index = 0
        while index < target.count {
            let byte = target[index]
            if byte == UInt8(ascii: "?") { break }
            if byte == UInt8(ascii: "%") {
                needs = true
            } else if byte == UInt8(ascii: "."), index > 0,
                target[index - 1] == UInt8(ascii: "/")
            {
                needs = needs || Self.isDotSegment(target, index)
            }
            index += 1
        }
        pathCount = index
        needsNormalising = needs
    }

    private static func isDotSegment(_ target: Bytes, _ start: Int) -> Bool {
        var end = start + 1
        if end < target.count, target[end] == UInt8(ascii: ".") { end += 1 }
        return end == target.count || target[end] == UInt8(ascii: "/")
            || target[end] == UInt8(ascii: "?")
    }
}

/// A path brought into normal form.
///
/// Percent-encoded unreserved characters are decoded, hexadecimal digits of the others put in upper
/// case, dot segments resolved. Everything else is data and stays: `%2F` never separates, and
/// `%00` or a `%` without two digits is kept as received.
struct NormalisedPath: BitwiseCopyable {
    /// Bytes written at the start of the queue.
    let count: Int
    /// Dot segments were resolved, so the target must be forwarded in this form.
    let hasResolvedDots: Bool
    /// Bit n is set when the n-th segment was percent-encoded, wholly or in part.
    let encodedSegments: UInt64

    /// Writes the normal form of `path`, which starts with `/`, into the empty `queue`.
    ///
    /// nil when dot segments lead out of the root.
    init?(_ path: Bytes, into queue: inout ByteQueue) {
        let place = unsafe queue.reserve(path.count + 1)
        var writer = unsafe NormalPathWriter(place)
        var index = 0
        while index < path.count {
            var end = index + 1
            while end < path.count, path[end] != UInt8(ascii: "/") { end += 1 }
            let segment = path.slice(index + 1, count: end - index - 1)
            guard writer.append(segment, isLast: end == path.count) else { return nil }
            index = end
        }
        queue.commit(writer.count)
        count = writer.count
        hasResolvedDots = writer.hasResolvedDots
        encodedSegments = writer.encodedSegments
    }
}

/// Writes segments; room for the received path and one more byte is the caller's promise.
@safe
private struct NormalPathWriter {
    private let place: UnsafeMutablePointer<UInt8>
    private(set) var count = 0
    private(set) var hasResolvedDots = false
    private(set) var encodedSegments: UInt64 = 0
    private var depth = 0

    init(_ place: UnsafeMutablePointer<UInt8>) { unsafe self.place = place }

    /// Adds `/` and a segment; false when it leads out of the root.
    mutating func append(_ segment: Bytes, isLast: Bool) -> Bool {
        let start = count
        put(UInt8(ascii: "/"))
        let wasEncoded = decode(segment)
        let length = count - start - 1
        let isDot = length == 1 && isPeriod(start + 1)
        let isDoubleDot = length == 2 && isPeriod(start + 1) && isPeriod(start + 2)
        guard isDot || isDoubleDot else {
            depth += 1
            if wasEncoded { mark(depth, true) }
            return true
        }
        hasResolvedDots = true
        count = start
        if isDoubleDot {
            guard depth > 0 else { return false }
            mark(depth, false)
            depth -= 1
            repeat { count -= 1 } while unsafe place[count] != UInt8(ascii: "/")
        }
        if isLast {
            put(UInt8(ascii: "/"))
            depth += 1
        }
        return true
    }

    private func isPeriod(_ index: Int) -> Bool { unsafe place[index] == UInt8(ascii: ".") }

    private mutating func mark(_ segment: Int, _ encoded: Bool) {
        guard segment <= RouteDefinition.lastSegment else { return }
        let bit: UInt64 = 1 << UInt64(segment)
        encodedSegments = encoded ? encodedSegments | bit : encodedSegments & ~bit
    }

    private mutating func put(_ byte: UInt8) {
        unsafe place[count] = byte
        count += 1
    }

    /// Adds a segment's bytes; true when any was percent-encoded.
    private mutating func decode(_ segment: Bytes) -> Bool {
        var wasEncoded = false
        // A digit decoded behind a lone `%` would make a sequence that the client did not send.
        var stray = -3
        var index = 0
        while index < segment.count {
            let byte = segment[index]
            guard byte == UInt8(ascii: "%") else {
                put(byte)
                index += 1
                continue
            }
            wasEncoded = true
            guard let value = segment.percentDecoded(index) else {
                stray = count
                put(byte)
                index += 1
                continue
            }
            if isUnreserved(value), count - stray > 2 {
                put(value)
            } else {
                put(byte)
                put(uppercase(segment[index + 1]))
                put(uppercase(segment[index + 2]))
            }
            index += 3
        }
        return wasEncoded
    }

    private func uppercase(_ byte: UInt8) -> UInt8 { ASCII.isLowercase(byte) ? byte & 0xDF : byte }

    /// ALPHA, DIGIT, `-`, `.`, `_`, `~` (RFC 3986 §2.3).
    private func isUnreserved(_ byte: UInt8) -> Bool {
        ASCII.isLetter(byte) || ASCII.isDigit(byte) || byte == UInt8(ascii: "-")
            || byte == UInt8(ascii: ".") || byte == UInt8(ascii: "_") || byte == UInt8(ascii: "~")
    }
}
