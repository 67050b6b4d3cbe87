// JSON (RFC 8259), as far as commands read the admin pages.

/// A value of a JSON text; members keep their order.
indirect enum JSONValue: Equatable {
    case null
    case boolean(Bool)
    /// As written: figures of the ledger are 64 bits wide.
    case number(String)
    case string(String)
    case array([JSONValue])
    case object([(name: String, value: JSONValue)])

    /// Reads a whole text; nil when it is not JSON.
    init?(_ text: [UInt8]) {
        var reader = JSONReader(text)
        guard let value = reader.value(depth: 0), reader.isAtEnd else { return nil }
        self = value
    }

    static func == (left: JSONValue, right: JSONValue) -> Bool {
        switch (left, right) {
        case (.null, .null): true
        case (.boolean(let left), .boolean(let right)): left == right
        case (.number(let left), .number(let right)): left == right
        case (.string(let left), .string(let right)): left == right
        case (.array(let left), .array(let right)): left == right
        case (.object(let left), .object(let right)):
            left.elementsEqual(right) { $0.name == $1.name && $0.value == $1.value }
        default: false
        }
    }

    /// The first member of that name; nil when there is none, or this is no object.
    subscript(name: String) -> JSONValue? {
        guard case .object(let members) = self else { return nil }
        return members.first { $0.name == name }?.value
    }

    /// The elements of an array; none of anything else.
    var elements: [JSONValue] {
        guard case .array(let elements) = self else { return [] }
        return elements
    }

    /// A string or number as it stands, words for the others; of arrays the elements with blanks.
    var text: String {
        switch self {
        case .null: "-"
        case .boolean(let value): value ? "yes" : "no"
        case .number(let text), .string(let text): text
        case .array(let elements): elements.map(\.text).joined(separator: " ")
        case .object: "…"
        }
    }
}

/// Goes through the bytes of a text once.
private struct JSONReader {
    /// 32 levels; the pages have 5.
    private static let mostDepth = 32

    private let text: [UInt8]
    private var place = 0

    init(_ text: [UInt8]) { self.text = text }

    private var next: UInt8? { place < text.count ? text[place] : nil }

    var isAtEnd: Bool {
        mutating get {
            skipBlanks()
            return place == text.count
        }
    }

    private mutating func skipBlanks() {
        while let byte = next, byte == 0x20 || byte == 0x09 || byte == 0x0A || byte == 0x0D {
            place += 1
        }
    }

    private mutating func take(_ word: StaticString) -> Bool {
        let bytes = Array(word.description.utf8)
        guard text[place...].starts(with: bytes) else { return false }
        place += bytes.count
        return true
    }

    mutating func value(depth: Int) -> JSONValue? {
        guard depth < Self.mostDepth else { return nil }
        skipBlanks()
        switch next {
        case UInt8(ascii: "{"):
            return list(until: "}") { reader in
                reader.skipBlanks()
                guard let name = reader.string() else { return nil }
                reader.skipBlanks()
                guard reader.take(":"), let value = reader.value(depth: depth + 1) else {
                    return nil
                }
                return (name: name, value: value)
            }.map { .object($0) }
        case UInt8(ascii: "["):
            return list(until: "]") { $0.value(depth: depth + 1) }.map { .array($0) }
        case UInt8(ascii: "\""): return string().map { .string($0) }
        case UInt8(ascii: "t"): return take("true") ? .boolean(true) : nil
        case UInt8(ascii: "f"): return take("false") ? .boolean(false) : nil
        case UInt8(ascii: "n"): return take("null") ? .null : nil
        default: return number()
        }
    }

    /// Elements between commas, from behind the bracket that opens to behind the one that closes.
    private mutating func list<Element>(
        until end: StaticString, _ element: (inout JSONReader) -> Element?
    ) -> [Element]? {
        place += 1
        skipBlanks()
        var found: [Element] = []
        if take(end) { return found }
        while let one = element(&self) {
            found.append(one)
            skipBlanks()
            if take(end) { return found }
            guard take(",") else { return nil }
        }
        return nil
    }

    private mutating func number() -> JSONValue? {
        let start = place
        while let byte = next,
            ASCII.isDigit(byte) || "+-.eE".utf8.contains(byte)
        {
            place += 1
        }
        let word = String(decoding: text[start..<place], as: UTF8.self)
        return Double(word) == nil ? nil : .number(word)
    }

    private mutating func string() -> String? {
        guard take("\"") else { return nil }
        var units: [UInt16] = []
        var start = place
        while let byte = next {
            guard byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") else {
                place += 1
                continue
            }
            units += String(decoding: text[start..<place], as: UTF8.self).utf16
            place += 1
            if byte == UInt8(ascii: "\"") { return String(decoding: units, as: UTF16.self) }
            guard let unit = escaped() else { return nil }
            units.append(unit)
            start = place
        }
        return nil
    }

    /// What stands behind a backslash.
    private mutating func escaped() -> UInt16? {
        guard let byte = next else { return nil }
        place += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return UInt16(byte)
        case UInt8(ascii: "b"): return 0x08
        case UInt8(ascii: "f"): return 0x0C
        case UInt8(ascii: "n"): return 0x0A
        case UInt8(ascii: "r"): return 0x0D
        case UInt8(ascii: "t"): return 0x09
        case UInt8(ascii: "u"):
            guard place + 4 <= text.count else { return nil }
            defer { place += 4 }
            return UInt16(String(decoding: text[place..<place + 4], as: UTF8.self), radix: 16)
        default: return nil
        }
    }
}
