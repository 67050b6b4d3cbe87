// JSON for the admin pages, written from left to right.

/// An object under construction; names come in the order in which they are added.
struct JSONText {
    private var text = "{"

    init() {}

    /// Adds a member whose value is JSON already.
    mutating func add(_ name: StaticString, json: String) {
        if text.utf8.count > 1 { text += "," }
        text += "\"\(name)\":\(json)"
    }

    mutating func add(_ name: StaticString, _ value: String?) {
        add(name, json: value.map(Self.quoted) ?? "null")
    }

    mutating func add(_ name: StaticString, _ values: [String]) { add(name, json: list(values)) }

    mutating func add(_ name: StaticString, _ value: Bool) { add(name, json: "\(value)") }

    mutating func add(_ name: StaticString, _ value: (some BinaryInteger)?) {
        add(name, json: value.map { "\($0)" } ?? "null")
    }

    /// Whole milliseconds, never below zero.
    mutating func add(_ name: StaticString, milliseconds value: Duration?) {
        add(name, value.map { max(0, $0.milliseconds) })
    }

    /// One element per line, so that a page can be read and searched as it is.
    mutating func add(_ name: StaticString, lines: [String]) {
        let elements = lines.map { "\n\($0)" }.joined(separator: ",")
        add(name, json: "[\(elements)]")
    }

    var closed: String { text + "}" }

    private func list(_ values: [String]) -> String {
        "[\(values.map { Self.quoted($0) }.joined(separator: ","))]"
    }

    /// A JSON string; everything but printable ASCII as `\u` escapes of UTF-16 units.
    static func quoted(_ value: String) -> String {
        var result = "\""
        for unit in value.utf16 {
            switch unit {
            case 0x22: result += "\\\""
            case 0x5C: result += "\\\\"
            case 0x20..<0x7F: result.unicodeScalars.append(Unicode.Scalar(UInt8(unit)))
            default:
                let digits = String(unit, radix: 16)
                result += "\\u\(String(repeating: "0", count: 4 - digits.utf8.count))\(digits)"
            }
        }
        return result + "\""
    }
}
