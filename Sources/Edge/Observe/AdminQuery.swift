// The query of an admin page: named parameters, each checked.

/// What is wrong with a request for an admin page, for the one who asked; answered 400.
struct AdminMistake: Error, Equatable {
    let message: String
}

/// The parameters of a query, percent-decoded.
///
/// A parameter that the page does not know, one given twice, one that is no text, or a broken
/// percent sequence is a mistake that names it.
struct AdminQuery {
    private var parameters: [(name: String, value: String)] = []

    /// - Parameters:
    ///   - query: what stands behind the `?`; empty without one.
    ///   - known: names of parameters that the page has.
    ///   - repeated: those of them that may be given more than once.
    init(_ query: Bytes, known: [String], repeated: [String] = []) throws(AdminMistake) {
        var start = 0
        while start < query.count {
            let end = query.firstIndex(of: UInt8(ascii: "&"), from: start) ?? query.count
            let part = query.slice(start, count: end - start)
            start = end + 1
            if part.isEmpty { continue }
            let equals = part.firstIndex(of: UInt8(ascii: "=")) ?? part.count
            let name = try Self.decoded(part.prefix(equals), "a parameter's name")
            guard known.contains(name) else {
                throw AdminMistake(
                    message: "unknown parameter '\(name)'; this page has "
                        + known.map { "'\($0)'" }.joined(separator: ", "))
            }
            guard repeated.contains(name) || text(name) == nil else {
                throw AdminMistake(message: "parameter '\(name)' is given more than once")
            }
            let value = try Self.decoded(part.dropFirst(equals + 1), "parameter '\(name)'")
            parameters.append((name, value))
        }
    }

    func text(_ name: String) -> String? { parameters.first { $0.name == name }?.value }

    func texts(_ name: String) -> [String] {
        parameters.filter { $0.name == name }.map(\.value)
    }

    /// A whole number; nil when it is not given.
    func count(_ name: String, in range: ClosedRange<Int>) throws(AdminMistake) -> Int? {
        guard let text = text(name) else { return nil }
        guard let value = text.withBytes({ $0.decimal() }), range.contains(Int(value)) else {
            throw AdminMistake(
                message: "parameter '\(name)': expected a whole number from "
                    + "\(range.lowerBound) to \(range.upperBound)")
        }
        return Int(value)
    }

    private static func decoded(_ bytes: Bytes, _ what: String) throws(AdminMistake) -> String {
        var result: [UInt8] = []
        var index = 0
        while index < bytes.count {
            var byte = bytes[index]
            index += 1
            if byte == UInt8(ascii: "%") {
                guard let value = bytes.percentDecoded(index - 1) else {
                    throw AdminMistake(message: "\(what): broken percent-encoding")
                }
                byte = value
                index += 2
            }
            guard byte >= ASCII.space, byte < 0x7F else {
                throw AdminMistake(message: "\(what): only printable ASCII is expected")
            }
            result.append(byte)
        }
        return String(decoding: result, as: UTF8.self)
    }
}
