// Vectorised searches over a head's bytes: sixteen at a time, one by one for the last few.

/// Searches that stop at the first byte outside a class; `end` bounds what may be read.
enum ByteScan {
    typealias Pointer = UnsafePointer<UInt8>
    private typealias Vector = SIMD16<UInt8>

    @inline(__always)
    private static func load(_ place: Pointer) -> Vector {
        unsafe UnsafeRawPointer(place).loadUnaligned(as: Vector.self)
    }

    /// A byte in every lane; comparing with a scalar operand would go lane by lane (6.3).
    @inline(__always)
    private static func all(_ byte: UInt8) -> Vector { Vector(repeating: byte) }

    /// The index of the first lane that is set; 16 when none is.
    @inline(__always)
    private static func firstSet(_ mask: SIMDMask<SIMD16<Int8>>) -> Int {
        let halves = unsafe unsafeBitCast(mask, to: SIMD2<UInt64>.self)
        if halves[0] != 0 { return halves[0].trailingZeroBitCount >> 3 }
        if halves[1] != 0 { return 8 &+ halves[1].trailingZeroBitCount >> 3 }
        return 16
    }

    /// Letters, digits and hyphens: nearly every name's bytes, in three comparisons.
    @inline(__always)
    private static func isPlain(_ vector: Vector) -> SIMDMask<SIMD16<Int8>> {
        let letter = ((vector | all(0x20)) &- all(0x61)) .< all(26)
        let digit = (vector &- all(0x30)) .< all(10)
        return letter .| digit .| (vector .== all(0x2D))
    }

    /// The end of a run of tchar (RFC 9110 §5.6.2).
    @inline(__always)
    static func endOfToken(_ start: Pointer, _ end: Pointer) -> Pointer {
        var place = unsafe start
        while unsafe end - place >= 16 {
            let plain = unsafe firstSet(.!isPlain(load(place)))
            unsafe place += plain
            guard plain < 16 else { continue }
            // A colon after plain bytes is the usual end; anything else is looked at in detail.
            if unsafe place.pointee == UInt8(ascii: ":") { return unsafe place }
            break
        }
        while unsafe place < end && ASCII.isToken(place.pointee) { unsafe place += 1 }
        return unsafe place
    }

    /// The end of a run of unreserved characters (RFC 3986 §2.3): letters, digits, `-._~`.
    @inline(__always)
    static func endOfUnreserved(_ start: Pointer, _ end: Pointer) -> Pointer {
        var place = unsafe start
        while unsafe end - place >= 16 {
            let vector = unsafe load(place)
            let marks = (vector .== all(0x2E)) .| (vector .== all(0x5F)) .| (vector .== all(0x7E))
            let index = firstSet(.!(isPlain(vector) .| marks))
            unsafe place += index
            if index < 16 { return unsafe place }
        }
        while unsafe place < end && isUnreserved(place.pointee) { unsafe place += 1 }
        return unsafe place
    }

    @inline(__always)
    static func isUnreserved(_ byte: UInt8) -> Bool {
        ASCII.isLetter(byte) || ASCII.isDigit(byte) || byte == UInt8(ascii: "-")
            || byte == UInt8(ascii: ".") || byte == UInt8(ascii: "_") || byte == UInt8(ascii: "~")
    }

    /// The end of a run of field value bytes: SP, HTAB, VCHAR, obs-text (RFC 9110 §5.5).
    @inline(__always)
    static func endOfValue(_ start: Pointer, _ end: Pointer) -> Pointer {
        var place = unsafe start
        while unsafe end - place >= 16 {
            let vector = unsafe load(place)
            let index = firstSet((vector .< all(0x20)) .| (vector .== all(0x7F)))
            unsafe place += index
            guard index < 16 else { continue }
            // A tab is too rare to be told apart in every lane.
            guard unsafe place.pointee == ASCII.tab else { return unsafe place }
            unsafe place += 1
        }
        while unsafe place < end && ASCII.isFieldValue(place.pointee) { unsafe place += 1 }
        return unsafe place
    }

    /// The end of a run of request target bytes: VCHAR but `#` (RFC 9112 §3.2).
    @inline(__always)
    static func endOfTarget(_ start: Pointer, _ end: Pointer) -> Pointer {
        var place = unsafe start
        while unsafe end - place >= 16 {
            let vector = unsafe load(place)
            let outside = (vector &- all(0x21)) .>= all(0x5E)
            let index = firstSet(outside .| (vector .== all(0x23)))
            unsafe place += index
            if index < 16 { return unsafe place }
        }
        while unsafe place < end && ASCII.isTarget(place.pointee)
            && place.pointee != UInt8(ascii: "#")
        { unsafe place += 1 }
        return unsafe place
    }
}

/// Notices the end of a head that arrives in pieces, each byte looked at once.
enum HeadEnd {
    /// Whether the head is worth parsing once more; advances `scanned` past what was looked at.
    ///
    /// True at an empty line, at a line end without CR (which the parser refuses), and whenever the
    /// input has outgrown a power of two, so that limits are noticed early at most at twice the
    /// cost.
    static func isDue(_ input: Bytes, scanned: inout Int) -> Bool {
        let seen = min(max(scanned, 0), input.count)
        scanned = input.count
        if seen.leadingZeroBitCount != input.count.leadingZeroBitCount { return true }
        var from = seen
        while let lineFeed = input.firstIndex(of: ASCII.lineFeed, from: from) {
            guard lineFeed >= 1, input[lineFeed - 1] == ASCII.carriageReturn else { return true }
            if lineFeed == 1 || input[lineFeed - 2] == ASCII.lineFeed { return true }
            from = lineFeed + 1
        }
        return false
    }
}
