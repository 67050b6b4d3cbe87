// Declarations found by their keywords and braces.

/// A function, initialiser or subscript with a body.
struct FunctionPlace {
    let name: String
    let line: Int
    /// From the line of its keyword to that of its closing brace, both included.
    let lines: Int
}

extension SwiftText {
    private static let typeKeywords: Set = [
        "struct", "class", "enum", "protocol", "typealias", "actor",
    ]
    private static let functionKeywords: Set = ["func", "init", "deinit", "subscript"]
    private static let declarations: Set = [
        "func", "deinit", "subscript", "var", "let", "case", "struct", "class", "enum", "extension",
    ]

    /// Brace depth in front of every word.
    private var depths: [Int] {
        var (depth, index) = (0, 0)
        return words.map { word in
            while index < word.offset {
                if code[index] == UInt8(ascii: "{") { depth += 1 }
                if code[index] == UInt8(ascii: "}") { depth -= 1 }
                index += 1
            }
            return depth
        }
    }

    /// Types and functions declared at top level that other files can name.
    var topLevelNames: [String] {
        let depths = depths
        return words.indices.compactMap { place in
            guard depths[place] == 0, !isPrivate(place),
                isTypeDeclaration(place) || isFunctionDeclaration(place)
            else { return nil }
            return words[place + 1].text
        }
    }

    /// Types and functions declared at any depth, and names of generic parameters: within this
    /// file these names mean the file's own things.
    var ownNames: Set<String> {
        var names: Set<String> = []
        for place in words.indices {
            if isTypeDeclaration(place) || isFunctionDeclaration(place) {
                names.insert(words[place + 1].text)
            }
            if words[place].before == UInt8(ascii: "<"), place > 1,
                Self.typeKeywords.union(["func"]).contains(words[place - 2].text)
            {
                names.insert(words[place].text)
            }
        }
        return names
    }

    private func isTypeDeclaration(_ place: Int) -> Bool {
        guard place + 1 < words.count, Self.typeKeywords.contains(words[place].text) else {
            return false
        }
        // Not `class func`, `: class`, `.class`.
        let next = words[place + 1].text
        return words[place].before != UInt8(ascii: ".") && words[place].before != UInt8(ascii: ":")
            && next.first?.isUppercase == true
    }

    private func isFunctionDeclaration(_ place: Int) -> Bool {
        words[place].text == "func" && place + 1 < words.count
    }

    private func isPrivate(_ place: Int) -> Bool {
        let modifiers = words[max(0, place - 3)..<place].filter { $0.line == words[place].line }
        return modifiers.contains { $0.text == "private" || $0.text == "fileprivate" }
    }

    /// Imported modules with their lines.
    var imports: [(name: String, line: Int)] {
        words.indices.compactMap { place in
            guard words[place].text == "import", place + 1 < words.count else { return nil }
            return (words[place + 1].text, words[place].line)
        }
    }

    /// Every function, initialiser and subscript that has a body.
    var functions: [FunctionPlace] {
        words.indices.compactMap { place in
            let word = words[place]
            guard Self.functionKeywords.contains(word.text), word.before != UInt8(ascii: ".") else {
                return nil
            }
            let opener = word.text == "deinit" ? UInt8(ascii: "{") : UInt8(ascii: "(")
            let isPlain = word.text == "func" || word.after == opener
            guard isPlain || [UInt8(ascii: "?"), UInt8(ascii: "<")].contains(word.after),
                let end = endOfBody(from: place)
            else { return nil }
            let name =
                word.text == "func" && place + 1 < words.count ? words[place + 1].text : word.text
            let lines = code[word.offset..<end].count { $0 == newline } + 1
            return FunctionPlace(name: name, line: word.line, lines: lines)
        }
    }

    /// The offset of the brace that closes the declaration at `place`; nil where it has no body.
    private func endOfBody(from place: Int) -> Int? {
        var index = words[place].offset + words[place].text.utf8.count
        var following = words[(place + 1)...].first { Self.declarations.contains($0.text) }
        var (nesting, depth) = (0, 0)
        while index < code.count {
            let byte = code[index]
            if depth == 0, nesting == 0, let next = following, index >= next.offset { return nil }
            switch byte {
            case UInt8(ascii: "("), UInt8(ascii: "["): nesting += 1
            case UInt8(ascii: ")"), UInt8(ascii: "]"): nesting -= 1
            case UInt8(ascii: "{") where nesting == 0 || depth > 0:
                if depth == 0 { following = nil }
                (depth, nesting) = (depth + 1, 0)
            case UInt8(ascii: "}") where depth > 0:
                depth -= 1
                if depth == 0 { return index }
            case UInt8(ascii: "}") where nesting == 0: return nil
            default: break
            }
            index += 1
        }
        return nil
    }
}
