// The shape of an id: canonical decimal, or a route's own pattern.

/// Checks of an id's text; nothing passes but lower- or upper-case label characters.
enum IDGrammar {
    /// Canonical decimal: `0`, or up to 19 digits without a leading zero, at most 2⁶³ − 1.
    static func checkDecimal(_ id: Bytes) throws(IDFault) {
        guard !id.isEmpty else { throw .empty }
        var hasSign = false
        var start = 0
        if id[0] == UInt8(ascii: "-") || id[0] == UInt8(ascii: "+") {
            hasSign = true
            start = 1
        }
        for index in start..<id.count where !ASCII.isDigit(id[index]) {
            throw id[index] == UInt8(ascii: "%") ? .encodedValue : .notANumber
        }
        guard start < id.count else { throw .notANumber }
        guard !hasSign else { throw .signed }
        guard id.count == 1 || id[0] != UInt8(ascii: "0") else { throw .leadingZero }
        guard id.decimal() != nil else { throw .tooLarge }
    }

    /// A DNS label that the automaton accepts, without regard to case when `folding`.
    @safe
    static func checkPattern(
        _ id: Bytes, automaton: UnsafePointer<UInt16>, folding: Bool
    ) throws(IDFault) {
        guard !id.isEmpty else { throw .empty }
        guard id.firstIndex(of: UInt8(ascii: "%")) == nil else { throw .encodedValue }
        guard id.count <= IDPattern.longestLabel else { throw .tooLong }
        let hyphen = UInt8(ascii: "-")
        guard id[0] != hyphen, id[id.count - 1] != hyphen else { throw .mismatch }
        guard IDPattern.accepts(id, automaton: automaton, folding: folding) else {
            throw .mismatch
        }
    }
}
