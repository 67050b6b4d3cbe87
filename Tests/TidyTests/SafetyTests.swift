// What the compiler cannot check is explained where it stands; nothing leaks from a workstation.

import Testing

/// Places excepted from the rules of this file, each with the reason.
private enum Allowed {
    /// Folders and files that may print: what the user asked for on the command line.
    static let printing = ["Command", "Demo", "Sources/edge-proxy/EdgeProxy.swift"]
    /// Texts that name a place on somebody's machine.
    static let machinePaths = ["/work/", "/tmp/", "/home/", "/Users/"]
    /// "path text" of places where such a text is meant, each with the reason.
    static let meantPaths: [String: String] = [:]
    /// How far above a promise its `// Safety:` comment may stand, in lines.
    static let safetyLines = 4
}

@Suite struct SafetyTests {
    @Test func promisesToTheCompilerAreExplained() {
        var findings: [Finding] = []
        for file in SourceTree.swiftSources {
            let comments = SourceFile.lines(of: file.swift.comments)
            for (number, line) in SourceFile.lines(of: file.swift.code).enumerated() {
                let promise = ["@unchecked Sendable", "nonisolated(unsafe)"]
                    .first { line.contains($0) }
                guard let promise else { continue }
                let near = comments[max(0, number - Allowed.safetyLines)...number]
                guard !near.contains(where: { $0.contains("// Safety:") }) else { continue }
                findings.append(
                    Finding(
                        path: file.path, line: number + 1,
                        what: "\(promise) without '// Safety:' above it"))
            }
        }
        report(findings)
    }

    @Test func onlyTheCommandLinePrints() {
        report(
            SourceTree.swiftSources.flatMap { file -> [Finding] in
                guard !Allowed.printing.contains(file.folder ?? file.path) else { return [] }
                return file.swift.words.compactMap { word in
                    guard ["print", "debugPrint", "dump"].contains(word.text),
                        word.after == UInt8(ascii: "("), word.before != UInt8(ascii: ".")
                    else { return nil }
                    return Finding(path: file.path, line: word.line, what: word.text)
                }
            })
    }

    @Test func foundationStaysOutside() {
        let modules: Set = ["Foundation", "FoundationEssentials", "Dispatch"]
        report(
            SourceTree.swiftSources.flatMap { file in
                file.swift.imports.filter { modules.contains($0.name) }
                    .map { Finding(path: file.path, line: $0.line, what: "imports \($0.name)") }
            })
    }

    @Test func noPathOfADevelopersMachine() {
        var findings: [Finding] = []
        for file in SourceTree.sources + SourceTree.prose {
            for (number, line) in file.lines.enumerated() {
                for path in Allowed.machinePaths
                where line.contains(path) && Allowed.meantPaths["\(file.path) \(path)"] == nil {
                    findings.append(
                        Finding(path: file.path, line: number + 1, what: "names \(path)"))
                }
            }
        }
        report(findings)
    }
}
