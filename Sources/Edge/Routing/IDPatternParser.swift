// The syntax of id patterns.

/// A pattern as read; no case is without a match.
indirect enum IDPatternSyntax {
    /// One byte out of a set of symbols, one bit each.
    case one(UInt64)
    case sequence([IDPatternSyntax])
    case choice([IDPatternSyntax])
    /// Between two counts; no upper one when `most` is nil.
    case repetition(IDPatternSyntax, least: Int, most: Int?)
}

/// Reads a pattern by recursive descent.
struct IDPatternParser {
    /// 16 groups inside each other.
    private static let maximumDepth = 16
    /// 256 bytes of pattern.
    private static let maximumBytes = 256

    private let text: [UInt8]
    private var place = 0

    init(_ text: String) { self.text = Array(text.utf8) }

    mutating func parse() throws(IDPatternError) -> IDPatternSyntax {
        guard text.count <= Self.maximumBytes else {
            throw failure("the pattern is longer than \(Self.maximumBytes) bytes")
        }
        let syntax = try choice(depth: 0)
        guard peek == nil else { throw failure("')' without '('") }
        return syntax
    }

    private var peek: UInt8? { place < text.count ? text[place] : nil }

    private func failure(_ message: String) -> IDPatternError {
        IDPatternError(offset: place, message: message)
    }

    private mutating func take(_ byte: Unicode.Scalar) -> Bool {
        guard peek == UInt8(ascii: byte) else { return false }
        place += 1
        return true
    }

    private mutating func choice(depth: Int) throws(IDPatternError) -> IDPatternSyntax {
        guard depth <= Self.maximumDepth else { throw failure("too many groups in each other") }
        var parts = [try sequence(depth: depth)]
        while take("|") { parts.append(try sequence(depth: depth)) }
        return parts.count == 1 ? parts[0] : .choice(parts)
    }

    private mutating func sequence(depth: Int) throws(IDPatternError) -> IDPatternSyntax {
        var parts: [IDPatternSyntax] = []
        while let byte = peek, byte != UInt8(ascii: "|"), byte != UInt8(ascii: ")") {
            let atom = try atom(byte, depth: depth)
            parts.append(try repeated(atom))
        }
        guard !parts.isEmpty else { throw failure("something to match is missing") }
        return .sequence(parts)
    }

    private mutating func atom(_ byte: UInt8, depth: Int) throws(IDPatternError) -> IDPatternSyntax
    {
        if take("(") {
            let inner = try choice(depth: depth + 1)
            guard take(")") else { throw failure("')' is missing") }
            return inner
        }
        if take("[") { return .one(try characterClass()) }
        guard let symbol = IDPattern.symbol(byte) else {
            throw failure("only a-z, 0-9 and '-' can be part of an id")
        }
        place += 1
        return .one(1 << UInt64(symbol))
    }

    private mutating func characterClass() throws(IDPatternError) -> UInt64 {
        var set: UInt64 = 0
        while let byte = peek, byte != UInt8(ascii: "]") {
            guard let low = IDPattern.symbol(byte) else {
                throw failure("only a-z, 0-9 and '-' can be part of an id")
            }
            place += 1
            let isRange =
                peek == UInt8(ascii: "-") && place + 1 < text.count
                && text[place + 1] != UInt8(ascii: "]") && byte != UInt8(ascii: "-")
            guard isRange else {
                set |= 1 << UInt64(low)
                continue
            }
            place += 1
            guard let high = IDPattern.symbol(text[place]), low <= high, (low < 26) == (high < 26),
                high < 36
            else { throw failure("a range needs two letters or two digits in order") }
            for symbol in low...high { set |= 1 << UInt64(symbol) }
            place += 1
        }
        guard take("]") else { throw failure("']' is missing") }
        guard set != 0 else { throw failure("the class is empty") }
        return set
    }

    private mutating func repeated(_ atom: IDPatternSyntax) throws(IDPatternError)
        -> IDPatternSyntax
    {
        let result: IDPatternSyntax
        if take("?") {
            result = .repetition(atom, least: 0, most: 1)
        } else if take("*") {
            result = .repetition(atom, least: 0, most: nil)
        } else if take("+") {
            result = .repetition(atom, least: 1, most: nil)
        } else if take("{") {
            result = try counted(atom)
        } else {
            return atom
        }
        if let next = peek, "?*+{".utf8.contains(next) { throw failure("two repetitions in a row") }
        return result
    }

    private mutating func counted(_ atom: IDPatternSyntax) throws(IDPatternError) -> IDPatternSyntax
    {
        let least = try number()
        var most: Int? = least
        if take(",") { most = peek == UInt8(ascii: "}") ? nil : try number() }
        guard take("}") else { throw failure("'}' is missing") }
        if let most, most < max(least, 1) { throw failure("the counts are not in order") }
        return .repetition(atom, least: least, most: most)
    }

    private mutating func number() throws(IDPatternError) -> Int {
        var value = 0
        let start = place
        while let byte = peek, ASCII.isDigit(byte) {
            value = value * 10 + Int(byte &- UInt8(ascii: "0"))
            guard value <= IDPattern.longestLabel else {
                throw failure("a count is at most \(IDPattern.longestLabel)")
            }
            place += 1
        }
        guard place > start else { throw failure("a count is missing") }
        return value
    }
}
