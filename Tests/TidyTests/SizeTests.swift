// How large a file, a function and a line may be.

import Testing

/// Bounds on the size of source text, and what may exceed them.
private enum Sizes {
    static let fileLines = 500
    static let functionLines = 70
    static let lineColumns = 100

    /// Functions that may be longer, as "file function", each with the reason.
    static let longFunctions: [String: String] = [:]
}

@Suite struct SizeTests {
    private let files = SourceTree.sources + SourceTree.tests

    @Test func filesAreShort() {
        report(
            files.compactMap { file in
                let count = file.lines.count - 1
                guard count > Sizes.fileLines else { return nil }
                return Finding(path: file.path, line: 1, what: "\(count) lines")
            })
    }

    @Test func functionsAreShort() {
        report(
            files.filter { $0.path.hasSuffix(".swift") }.flatMap { file in
                file.swift.functions.compactMap { function in
                    guard function.lines > Sizes.functionLines,
                        Sizes.longFunctions["\(file.path) \(function.name)"] == nil
                    else { return nil }
                    return Finding(
                        path: file.path, line: function.line,
                        what: "\(function.name) has \(function.lines) lines")
                }
            })
    }

    @Test func linesAreNarrow() {
        report(
            files.flatMap { file in
                file.lines.enumerated().compactMap { number, line in
                    guard line.count > Sizes.lineColumns else { return nil }
                    return Finding(
                        path: file.path, line: number + 1, what: "\(line.count) columns")
                }
            })
    }
}
