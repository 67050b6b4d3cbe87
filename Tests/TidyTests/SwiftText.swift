// Swift source taken apart without a parser: code, comments and string literals.

/// One identifier or keyword of the code, with the line it stands on (1-based).
struct Word {
    let text: String
    let line: Int
    /// Offset of its first byte in `SwiftText.code`.
    let offset: Int
    /// The nearest byte before it that is no blank; 0 at the start.
    let before: UInt8
    /// The nearest byte after it that is no blank; 0 at the end.
    let after: UInt8
}

/// A Swift (or C) file's text as two layers of the same length: what is code, what is comment.
///
/// Bytes that belong to the other layer, and the insides of string literals, are blanks; line
/// breaks stand in both. Interpolations (`\( … )`) are code.
struct SwiftText {
    private(set) var code: [UInt8]
    private(set) var comments: [UInt8]
    /// Every identifier and keyword of the code, in order.
    let words: [Word]

    init(_ text: String) {
        var scanner = LayerScanner(Array(text.utf8))
        scanner.run()
        code = scanner.code
        comments = scanner.comments
        words = Self.words(in: code)
    }

    static func words(in bytes: [UInt8]) -> [Word] {
        var found: [Word] = []
        var (line, index, before) = (1, 0, UInt8(0))
        while index < bytes.count {
            let byte = bytes[index]
            guard isWordByte(byte) else {
                if byte == newline { line += 1 }
                if byte != newline, byte != blank { before = byte }
                index += 1
                continue
            }
            let start = index
            while index < bytes.count, isWordByte(bytes[index]) { index += 1 }
            let after = bytes[index...].first { $0 != blank && $0 != newline } ?? 0
            if !isDigit(byte) {
                found.append(
                    Word(
                        text: String(decoding: bytes[start..<index], as: UTF8.self), line: line,
                        offset: start, before: before, after: after))
            }
            before = bytes[index - 1]
        }
        return found
    }
}

let newline = UInt8(ascii: "\n")
let blank = UInt8(ascii: " ")

func isDigit(_ byte: UInt8) -> Bool { byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9") }

func isLetter(_ byte: UInt8) -> Bool {
    let folded = byte | 0x20
    return folded >= UInt8(ascii: "a") && folded <= UInt8(ascii: "z")
}

func isWordByte(_ byte: UInt8) -> Bool {
    isLetter(byte) || isDigit(byte) || byte == UInt8(ascii: "_")
}

/// Walks over a file once and sorts its bytes into the layers.
private struct LayerScanner {
    /// A string literal that is open: how it ends, and how deep the parentheses of its
    /// interpolation are (0: inside the text).
    private struct Literal {
        let pounds: Int
        let isMultiline: Bool
        var parentheses = 0
    }

    private let bytes: [UInt8]
    var code: [UInt8]
    var comments: [UInt8]
    private var index = 0
    private var literals: [Literal] = []

    init(_ bytes: [UInt8]) {
        self.bytes = bytes
        code = bytes.map { $0 == newline ? newline : blank }
        comments = code
    }

    private func has(_ text: StaticString, at place: Int) -> Bool {
        let wanted = "\(text)".utf8
        return place + wanted.count <= bytes.count
            && bytes[place..<place + wanted.count].elementsEqual(wanted)
    }

    mutating func run() {
        while index < bytes.count {
            if let open = literals.last, open.parentheses == 0 {
                stepInText(open)
            } else {
                stepInCode()
            }
        }
    }

    private mutating func stepInText(_ open: Literal) {
        let quotes = open.isMultiline ? "\"\"\"" : "\""
        let pounds = String(repeating: "#", count: open.pounds)
        if matches(quotes + pounds) {
            index += quotes.utf8.count + open.pounds
            literals.removeLast()
        } else if matches("\\" + pounds + "(") {
            index += open.pounds + 2
            literals[literals.count - 1].parentheses = 1
        } else if matches("\\" + pounds) {
            index += open.pounds + 2
        } else {
            index += 1
        }
    }

    private func matches(_ text: String) -> Bool {
        let wanted = text.utf8
        return index + wanted.count <= bytes.count
            && bytes[index..<index + wanted.count].elementsEqual(wanted)
    }

    private mutating func stepInCode() {
        if has("//", at: index) {
            while index < bytes.count, bytes[index] != newline { comment() }
        } else if has("/*", at: index) {
            blockComment()
        } else if openLiteral() {
            return
        } else {
            let byte = bytes[index]
            code[index] = byte
            index += 1
            guard let last = literals.indices.last else { return }
            if byte == UInt8(ascii: "(") { literals[last].parentheses += 1 }
            if byte == UInt8(ascii: ")") {
                literals[last].parentheses -= 1
                // The parenthesis that ends an interpolation belongs to the text around it.
                if literals[last].parentheses == 0 { code[index - 1] = blank }
            }
        }
    }

    private mutating func comment() {
        comments[index] = bytes[index]
        index += 1
    }

    private mutating func blockComment() {
        var depth = 0
        repeat {
            if has("/*", at: index) { depth += 1 } else if has("*/", at: index) { depth -= 1 }
            let isMark = has("/*", at: index) || has("*/", at: index)
            comment()
            if isMark { comment() }
        } while depth > 0 && index < bytes.count
    }

    private mutating func openLiteral() -> Bool {
        var quote = index
        while quote < bytes.count, bytes[quote] == UInt8(ascii: "#") { quote += 1 }
        guard has("\"", at: quote) else { return false }
        let isMultiline = has("\"\"\"", at: quote)
        literals.append(Literal(pounds: quote - index, isMultiline: isMultiline))
        index = quote + (isMultiline ? 3 : 1)
        return true
    }
}
