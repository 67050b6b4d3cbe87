// Patterns of ids: a small regular language, compiled at load to a table.

/// Why a pattern was refused, and at which byte of it.
struct IDPatternError: Error, Equatable {
    let offset: Int
    let message: String
}

/// A compiled pattern, anchored at both ends.
///
/// Syntax: `a`…`z`, `0`…`9`, `-`, classes such as `[a-z0-9-]`, groups, `|`, `?`, `*`, `+`, `{n}`,
/// `{n,}` and `{m,n}`. One table look-up per byte, whatever the pattern.
struct IDPattern: Sendable {
    /// 63 bytes: the longest DNS label (RFC 1035 §2.3.4).
    static let longestLabel = 63
    /// 37 symbols: 26 letters, 10 digits and the hyphen.
    static let symbols = 37
    /// A row of the table: one next state for each symbol, then 1 when the state accepts.
    static let stride = symbols + 1
    /// 512 rows of 76 bytes: 38 KiB for the largest pattern.
    private static let maximumStates = 512

    /// Rows of `stride` entries; row 0 is the state without a way out, row 1 the first state.
    let table: [UInt16]

    init(_ text: String) throws(IDPatternError) {
        var parser = IDPatternParser(text)
        let syntax = try parser.parse()
        var graph = IDPatternGraph()
        let accept = graph.add(.accept)
        guard let start = graph.build(syntax, then: accept) else {
            throw IDPatternError(offset: 0, message: "the pattern is too large")
        }
        guard let table = Self.determinise(graph, start: start) else {
            throw IDPatternError(offset: 0, message: "the pattern has too many states")
        }
        self.table = table
        if let message = objection() { throw IDPatternError(offset: 0, message: message) }
    }

    /// Whether the whole of `id` matches and is a DNS label; for load time and tests.
    func matches(_ id: Bytes) -> Bool {
        unsafe table.withUnsafeBufferPointer { rows in
            guard let base = rows.baseAddress else { return false }
            do throws(IDFault) {
                try IDGrammar.checkPattern(id, automaton: base, folding: false)
                return true
            } catch { return false }
        }
    }

    /// The symbol of a byte; nil outside of `[a-z0-9-]`.
    @inline(__always)
    static func symbol(_ byte: UInt8) -> Int? {
        if ASCII.isLowercase(byte) { return Int(byte &- UInt8(ascii: "a")) }
        if ASCII.isDigit(byte) { return 26 + Int(byte &- UInt8(ascii: "0")) }
        return byte == UInt8(ascii: "-") ? 36 : nil
    }

    /// Walks the table of a compiled pattern over all bytes of `id`.
    @inline(__always)
    @safe
    static func accepts(_ id: Bytes, automaton: UnsafePointer<UInt16>, folding: Bool) -> Bool {
        var state = 1
        for index in 0..<id.count {
            let byte = folding ? ASCII.lowercase(id[index]) : id[index]
            guard let symbol = symbol(byte) else { return false }
            state = Int(unsafe automaton[state * stride + symbol])
            if state == 0 { return false }
        }
        return unsafe automaton[state * stride + symbols] == 1
    }

    /// Subset construction; nil when it needs more than `maximumStates`.
    private static func determinise(_ graph: IDPatternGraph, start: Int) -> [UInt16]? {
        var sets: [[Int]] = [[], graph.closure([start])]
        var numbers: [[Int]: Int] = [[]: 0, sets[1]: 1]
        var table = [UInt16](repeating: 0, count: stride)
        var current = 1
        while current < sets.count {
            var row = [UInt16](repeating: 0, count: stride)
            for symbol in 0..<symbols {
                let next = graph.closure(graph.step(sets[current], symbol))
                if let known = numbers[next] {
                    row[symbol] = UInt16(known)
                } else {
                    guard sets.count < maximumStates else { return nil }
                    numbers[next] = sets.count
                    row[symbol] = UInt16(sets.count)
                    sets.append(next)
                }
            }
            row[symbols] = graph.accepts(sets[current]) ? 1 : 0
            table += row
            current += 1
        }
        return table
    }

    /// What the pattern admits although no DNS label may look like it.
    ///
    /// Every state is reachable and, as no syntax is without a match, every state but 0 leads to
    /// acceptance.
    private func objection() -> String? {
        let hyphen = 36
        if table[Self.stride + Self.symbols] == 1 { return "the pattern admits an empty id" }
        if table[Self.stride + hyphen] != 0 {
            return "the pattern admits an id that starts with '-'"
        }
        for state in 1..<table.count / Self.stride {
            let next = Int(table[state * Self.stride + hyphen])
            if next != 0, table[next * Self.stride + Self.symbols] == 1 {
                return "the pattern admits an id that ends with '-'"
            }
        }
        return nil
    }
}

/// The nondeterministic form of a pattern.
struct IDPatternGraph {
    enum State {
        case accept
        case consume(symbols: UInt64, next: Int)
        case either(Int, Int)
    }

    /// 4096 states: `([a-z]{1,20}-){1,20}` has 800.
    private static let maximumStates = 4096
    private var states: [State] = []

    mutating func add(_ state: State) -> Int {
        states.append(state)
        return states.count - 1
    }

    /// Adds the states of `syntax` in front of `next`; nil when there are too many.
    mutating func build(_ syntax: IDPatternSyntax, then next: Int) -> Int? {
        guard states.count < Self.maximumStates else { return nil }
        switch syntax {
        case .one(let symbols): return add(.consume(symbols: symbols, next: next))
        case .sequence(let parts):
            var first = next
            for part in parts.reversed() {
                guard let built = build(part, then: first) else { return nil }
                first = built
            }
            return first
        case .choice(let parts):
            var first: Int?
            for part in parts.reversed() {
                guard let built = build(part, then: next) else { return nil }
                first = first.map { add(.either(built, $0)) } ?? built
            }
            return first
        case .repetition(let part, let least, let most):
            return buildRepetition(part, least, most, then: next)
        }
    }

    private mutating func buildRepetition(
        _ part: IDPatternSyntax, _ least: Int, _ most: Int?, then next: Int
    ) -> Int? {
        var first = next
        if let most {
            for _ in least..<most {
                guard let built = build(part, then: first) else { return nil }
                first = add(.either(built, next))
            }
        } else {
            let loop = add(.either(next, next))
            guard let built = build(part, then: loop) else { return nil }
            states[loop] = .either(built, next)
            first = loop
        }
        for _ in 0..<least {
            guard let built = build(part, then: first) else { return nil }
            first = built
        }
        return first
    }

    /// The states that are reached without a byte, sorted, branches left out.
    func closure(_ from: [Int]) -> [Int] {
        var seen = Set<Int>()
        var result: [Int] = []
        var open = from
        while let state = open.popLast() {
            guard seen.insert(state).inserted else { continue }
            if case .either(let left, let right) = states[state] {
                open.append(left)
                open.append(right)
            } else {
                result.append(state)
            }
        }
        return result.sorted()
    }

    /// The states after one symbol.
    func step(_ from: [Int], _ symbol: Int) -> [Int] {
        from.compactMap { state in
            guard case .consume(let symbols, let next) = states[state],
                symbols >> UInt64(symbol) & 1 == 1
            else { return nil }
            return next
        }
    }

    func accepts(_ set: [Int]) -> Bool {
        set.contains { if case .accept = states[$0] { true } else { false } }
    }
}
