@testable import Edge

/// A strict reader of RFC 8259, enough to judge what the project writes.
struct JSONChecker {
    private let bytes: [UInt8]
    private var at = 0

    static func accepts(_ bytes: some Sequence<UInt8>) -> Bool {
        var checker = JSONChecker(bytes: Array(bytes))
        return checker.value(depth: 0) && checker.isAtEnd()
    }

    private init(bytes: [UInt8]) { self.bytes = bytes }

    private var next: UInt8? { at < bytes.count ? bytes[at] : nil }

    private mutating func isAtEnd() -> Bool {
        skipBlanks()
        return at == bytes.count
    }

    private mutating func skipBlanks() {
        while let byte = next, [0x20, 0x0A, 0x0D, 0x09].contains(byte) { at += 1 }
    }

    private mutating func take(_ byte: UInt8) -> Bool {
        guard next == byte else { return false }
        at += 1
        return true
    }

    private mutating func word(_ text: String) -> Bool {
        text.utf8.allSatisfy { take($0) }
    }

    private mutating func value(depth: Int) -> Bool {
        skipBlanks()
        guard depth < 16, let byte = next else { return false }
        switch byte {
        case UInt8(ascii: "{"): return list(UInt8(ascii: "}"), depth, isObject: true)
        case UInt8(ascii: "["): return list(UInt8(ascii: "]"), depth, isObject: false)
        case UInt8(ascii: "\""): return text()
        case UInt8(ascii: "t"): return word("true")
        case UInt8(ascii: "f"): return word("false")
        case UInt8(ascii: "n"): return word("null")
        default: return number()
        }
    }

    private mutating func list(_ end: UInt8, _ depth: Int, isObject: Bool) -> Bool {
        at += 1
        skipBlanks()
        if take(end) { return true }
        while true {
            skipBlanks()
            if isObject {
                guard text() else { return false }
                skipBlanks()
                guard take(UInt8(ascii: ":")) else { return false }
            }
            guard value(depth: depth + 1) else { return false }
            skipBlanks()
            if take(end) { return true }
            guard take(UInt8(ascii: ",")) else { return false }
        }
    }

    private mutating func text() -> Bool {
        guard take(UInt8(ascii: "\"")) else { return false }
        while let byte = next {
            at += 1
            switch byte {
            case UInt8(ascii: "\""): return true
            case UInt8(ascii: "\\"):
                guard let escape = next else { return false }
                at += 1
                if escape == UInt8(ascii: "u") {
                    for _ in 0..<4 {
                        guard let digit = next, ASCII.hexValue(digit) != nil else { return false }
                        at += 1
                    }
                } else if !Array("\"\\/bfnrt".utf8).contains(escape) {
                    return false
                }
            case 0x20..<0x7F: continue
            default: return false
            }
        }
        return false
    }

    private mutating func number() -> Bool {
        _ = take(UInt8(ascii: "-"))
        let start = at
        while let byte = next, ASCII.isDigit(byte) { at += 1 }
        guard at > start, at == start + 1 || bytes[start] != UInt8(ascii: "0") else { return false }
        guard take(UInt8(ascii: ".")) else { return true }
        let fraction = at
        while let byte = next, ASCII.isDigit(byte) { at += 1 }
        return at > fraction
    }
}
