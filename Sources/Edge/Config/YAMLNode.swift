// YAML text as a tree of nodes with their places; the only user of Yams.

import Yams

/// A node of a YAML document.
struct YAMLNode: Sendable {
    indirect enum Content: Sendable {
        /// `isPlain` when it was written without quotes.
        case scalar(String, isPlain: Bool)
        case sequence([YAMLNode])
        case mapping([YAMLEntry])
    }

    let content: Content
    let place: ConfigurationPlace

    /// Nothing, `~` or `null`.
    var isNull: Bool {
        guard case .scalar(let text, isPlain: true) = content else { return false }
        return ["", "~", "null", "Null", "NULL"].contains(text)
    }

    /// What the node is, in the words of an error message.
    var found: String {
        switch content {
        case .sequence: return "a list"
        case .mapping: return "a mapping"
        case .scalar(let text, _):
            if isNull { return "nothing" }
            return text.count > 60 ? "'\(text.prefix(60))…'" : "'\(text)'"
        }
    }
}

/// A key of a mapping with its value.
struct YAMLEntry: Sendable {
    let key: String
    let place: ConfigurationPlace
    let value: YAMLNode
}

/// Reads a document; bounded, as aliases can multiply it.
struct YAMLReader {
    /// 1 MiB of text.
    static let maximumBytes = 1024 * 1024
    /// 100 000 nodes after aliases are followed.
    private static let maximumNodes = 100_000
    /// 64 levels; the configuration has 5.
    private static let maximumDepth = 64

    private let problems: ConfigurationProblems
    private var nodes = 0
    /// Where the text ends.
    private var end = (line: 1, column: 1)

    init(_ problems: ConfigurationProblems) { self.problems = problems }

    /// The document's root; nil when it is empty or could not be read, which is then a problem.
    mutating func read(_ text: String) -> YAMLNode? {
        guard text.utf8.count <= Self.maximumBytes else {
            problems.add(.position(line: 1, column: 1), "the file is larger than 1 MiB")
            return nil
        }
        if let place = Self.tooDeep(text) {
            problems.add(place, "too many levels of lists and mappings")
            return nil
        }
        end = Self.end(of: text)
        do {
            let parser = try Parser(yaml: text, resolver: .basic, encoding: .utf8)
            guard let root = try parser.singleRoot() else {
                problems.add(.position(line: 1, column: 1), "the configuration is empty")
                return nil
            }
            return convert(root, depth: 0)
        } catch let error as YamlError {
            report(error)
        } catch {
            problems.add(.position(line: 1, column: 1), "the file cannot be read as YAML")
        }
        return nil
    }

    private mutating func convert(_ node: Node, depth: Int) -> YAMLNode? {
        let place = self.place(node.mark)
        nodes += 1
        guard nodes <= Self.maximumNodes, depth <= Self.maximumDepth else {
            if nodes <= Self.maximumNodes + 1 {
                problems.add(place, "the document is too large or too deep")
            }
            nodes = Self.maximumNodes + 2
            return nil
        }
        switch node {
        case .scalar(let scalar):
            return YAMLNode(
                content: .scalar(scalar.string, isPlain: scalar.style == .plain), place: place)
        case .sequence(let sequence):
            var list: [YAMLNode] = []
            for element in sequence {
                guard let converted = convert(element, depth: depth + 1) else { return nil }
                list.append(converted)
            }
            return YAMLNode(content: .sequence(list), place: place)
        case .mapping(let mapping): return convert(mapping, place, depth)
        case .alias:
            problems.add(place, "the alias refers to nothing")
            return nil
        }
    }

    private mutating func convert(
        _ mapping: Node.Mapping, _ place: ConfigurationPlace, _ depth: Int
    ) -> YAMLNode? {
        var entries: [YAMLEntry] = []
        var known = Set<String>()
        for (key, value) in mapping {
            let keyPlace = self.place(key.mark)
            guard case .scalar(let scalar) = key else {
                problems.add(keyPlace, "a key is expected to be a word")
                continue
            }
            if !known.insert(scalar.string).inserted {
                problems.add(keyPlace, "key '\(scalar.string)' is given twice")
                continue
            }
            guard let converted = convert(value, depth: depth + 1) else { return nil }
            entries.append(YAMLEntry(key: scalar.string, place: keyPlace, value: converted))
        }
        return YAMLNode(content: .mapping(entries), place: place)
    }

    private func place(_ mark: Mark?) -> ConfigurationPlace {
        guard let mark else { return .position(line: 1, column: 1) }
        let (line, column) = position(mark)
        return .position(line: line, column: column)
    }

    /// A parser's place; it sees the end of the text on a line of its own, even if it has none.
    private func position(_ mark: Mark) -> (line: Int, column: Int) {
        mark.line > end.line ? end : (max(mark.line, 1), max(mark.column, 1))
    }

    /// Line and column behind a text, from 1, with the line breaks that YAML knows.
    static func end(of text: String) -> (line: Int, column: Int) {
        var (line, column) = (1, 1)
        var previous: Unicode.Scalar = " "
        for scalar in text.unicodeScalars {
            switch scalar {
            // CR LF is one break, and one character of a Swift string.
            case "\n" where previous == "\r": break
            case "\n", "\r", "\u{85}", "\u{2028}", "\u{2029}": (line, column) = (line + 1, 1)
            default: column += 1
            }
            previous = scalar
        }
        return (line, column)
    }

    private func report(_ error: YamlError) {
        switch error {
        case .scanner(let context, let problem, let mark, _),
            .parser(let context, let problem, let mark, _),
            .composer(let context, let problem, let mark, _):
            let where_ = context.map {
                " (\($0.text), line \(position($0.mark).line))"
            }
            let (line, column) = position(mark)
            problems.add(
                .position(line: line, column: column), "not YAML: \(problem)\(where_ ?? "")")
        case .duplicatedKeysInMapping(let keys, let context):
            problems.add(
                place(context.mark),
                "key '\(keys.first ?? "")' is given twice; this is the first")
        case .reader(let problem, let offset, _, let yaml):
            let end = Self.end(of: String(yaml.prefix(offset ?? 0)))
            problems.add(
                .position(line: end.line, column: end.column), "not YAML: \(problem)")
        default: problems.add(.position(line: 1, column: 1), "not YAML: \(error)")
        }
    }

    /// Where nesting could go beyond what a recursive reader should follow; nil when nowhere.
    ///
    /// An upper bound without parsing: a level of block structure costs a column, one of flow
    /// structure a bracket. Brackets in quotes count too, so the bounds are generous.
    private static func tooDeep(_ text: String) -> ConfigurationPlace? {
        var indent = 0
        var isIndent = true
        var brackets = 0
        for (index, byte) in text.utf8.enumerated() {
            switch byte {
            case UInt8(ascii: "\n"), UInt8(ascii: "\r"): (indent, isIndent) = (0, true)
            case UInt8(ascii: " "), UInt8(ascii: "-"), UInt8(ascii: "?"), UInt8(ascii: ":"):
                if isIndent { indent += 1 }
            case UInt8(ascii: "["), UInt8(ascii: "{"):
                isIndent = false
                brackets += 1
            case UInt8(ascii: "]"), UInt8(ascii: "}"):
                isIndent = false
                brackets = max(brackets - 1, 0)
            default: isIndent = false
            }
            if indent > 400 || brackets > maximumDepth * 2 {
                let (line, column) = end(
                    of: String(decoding: text.utf8.prefix(index), as: UTF8.self))
                return .position(line: line, column: column)
            }
        }
        return nil
    }
}
