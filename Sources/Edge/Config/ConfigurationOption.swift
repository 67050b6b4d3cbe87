// The form in which every option is declared: once, for reading, checking and documentation alike.

/// What an option's value looks like.
indirect enum OptionType: Sendable {
    case count(ClosedRange<Int>)
    case duration(ClosedRange<Duration>)
    case size(ClosedRange<ByteCount>)
    case boolean
    case choice([String])
    /// Any text; the words say which, for documentation and errors.
    case text(String)
    case file
    case choices([String])
    case texts(String)
    case section(ConfigurationSection)
    case sections(ConfigurationSection)

    /// For the reference and for `expected …` in errors.
    var words: String {
        switch self {
        case .count(let range): "a whole number from \(range.lowerBound) to \(range.upperBound)"
        case .duration(let range):
            "a duration from \(range.lowerBound.text) to \(range.upperBound.text)"
        case .size(let range):
            "a size from \(range.lowerBound.text) to \(range.upperBound.text)"
        case .boolean: "true or false"
        case .choice(let words):
            words.count == 2
                ? "'\(words[0])' or '\(words[1])'"
                : "one of \(words.map { "'\($0)'" }.joined(separator: ", "))"
        case .text(let words): words
        case .file: "a file name"
        case .choices(let words): "a list of \(words.map { "'\($0)'" }.joined(separator: ", "))"
        case .texts(let words): "a list, each \(words)"
        case .section: "a mapping"
        case .sections: "a list of mappings"
        }
    }
}

/// What holds when an option is not given.
enum OptionDefault: Sendable {
    /// As if this text was given.
    case value(String)
    /// The words say what happens then.
    case absent(String)
    case required
}

/// One option of the configuration.
struct ConfigurationOption: Sendable {
    let name: String
    let type: OptionType
    let fallback: OptionDefault
    /// One sentence or two: what it does.
    let meaning: String

    init(_ name: String, _ type: OptionType, _ fallback: OptionDefault, _ meaning: String) {
        self.name = name
        self.type = type
        self.fallback = fallback
        self.meaning = meaning
    }
}

/// A mapping of the configuration with its options.
struct ConfigurationSection: Sendable {
    /// Dotted path from the root; empty for the root.
    let path: String
    let meaning: String
    let options: [ConfigurationOption]

    init(_ path: String, _ meaning: String, _ options: [ConfigurationOption]) {
        self.path = path
        self.meaning = meaning
        self.options = options
    }

    /// The declaration of an option; asking for one that is not declared is a bug.
    func option(_ name: String) -> ConfigurationOption {
        guard let option = options.first(where: { $0.name == name }) else {
            preconditionFailure("option '\(name)' is not declared in '\(path)'")
        }
        return option
    }

    /// The declared name that a misspelt one is closest to; nil when none is close.
    func nearest(to name: String) -> String? {
        let typed = Array(name.utf8.prefix(64))
        let near = options.map { ($0.name, editDistance(typed, Array($0.name.utf8))) }
            .min { $0.1 < $1.1 }
        guard let near, near.1 <= max(1, near.0.utf8.count / 3) else { return nil }
        return near.0
    }
}

/// Insertions, deletions, substitutions and swaps of neighbours that turn one text into the other.
func editDistance(_ left: [UInt8], _ right: [UInt8]) -> Int {
    var rows = [Array(0...right.count)]
    for (row, byte) in left.enumerated() {
        var next = [row + 1]
        for (column, other) in right.enumerated() {
            var cost = min(next[column] + 1, rows[row][column + 1] + 1)
            cost = min(cost, rows[row][column] + (byte == other ? 0 : 1))
            if row > 0, column > 0, byte == right[column - 1], left[row - 1] == other {
                cost = min(cost, rows[row - 1][column - 1] + 1)
            }
            next.append(cost)
        }
        rows.append(next)
    }
    return rows[left.count][right.count]
}

extension Duration {
    private static let units: [(name: String, nanoseconds: Int64)] = [
        ("d", 86_400_000_000_000), ("h", 3_600_000_000_000), ("m", 60_000_000_000),
        ("s", 1_000_000_000), ("ms", 1_000_000),
    ]

    /// As the configuration writes it: `250ms`, `3s`, `1h30m`.
    var text: String {
        var rest = nanoseconds
        var text = ""
        for unit in Self.units where rest >= unit.nanoseconds {
            text += "\(rest / unit.nanoseconds)\(unit.name)"
            rest %= unit.nanoseconds
        }
        return text.isEmpty ? "0s" : text
    }

    /// Reads `250ms`, `3s`, `5m`, `12h`, `30d` or several of them, larger ones first.
    init?(text: String) {
        var rest = Substring(text)
        var total: Int64 = 0
        var lastUnit = Int64.max
        guard !rest.isEmpty else { return nil }
        while !rest.isEmpty {
            let digits = rest.utf8.prefix { ASCII.isDigit($0) }.count
            guard (1...12).contains(digits), let number = Int64(rest.prefix(digits)) else {
                return nil
            }
            rest = rest.dropFirst(digits)
            let name = rest.prefix { $0.isASCII && $0.isLetter }
            guard let unit = Self.units.first(where: { $0.name == name }),
                unit.nanoseconds < lastUnit
            else { return nil }
            lastUnit = unit.nanoseconds
            let (product, tooLarge) = number.multipliedReportingOverflow(by: unit.nanoseconds)
            let (sum, overflow) = total.addingReportingOverflow(product)
            guard !tooLarge, !overflow else { return nil }
            total = sum
            rest = rest.dropFirst(name.count)
        }
        self.init(nanoseconds: total)
    }
}
