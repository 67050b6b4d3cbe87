// The files of the project, read from the place where this test was compiled.

import Foundation

/// One file, with its path from the project's root.
struct SourceFile {
    let path: String
    let text: String
    let swift: SwiftText

    init(path: String, text: String) {
        self.path = path
        self.text = text
        swift = SwiftText(text)
    }

    var lines: [Substring] { text.split(separator: "\n", omittingEmptySubsequences: false) }

    /// The folder of Sources/Edge it stands in; nil elsewhere.
    var folder: String? {
        let parts = path.split(separator: "/")
        return parts.count == 4 && path.hasPrefix("Sources/Edge/") ? String(parts[2]) : nil
    }

    /// Its path below Sources/Edge, or the whole path.
    var name: String { folder == nil ? path : String(path.dropFirst("Sources/Edge/".count)) }

    /// The lines of one layer, in order.
    static func lines(of layer: [UInt8]) -> [String] {
        layer.split(separator: newline, omittingEmptySubsequences: false)
            .map { String(decoding: $0, as: UTF8.self) }
    }
}

/// A rule broken at one place.
struct Finding: CustomStringConvertible {
    let path: String
    let line: Int
    let what: String

    var description: String { "\(path):\(line): \(what)" }
}

enum SourceTree {
    /// The folder that holds Package.swift.
    static let root: URL = {
        var folder = URL(filePath: #filePath)
        repeat {
            folder.deleteLastPathComponent()
        } while folder.path() != "/"
            && !FileManager.default.fileExists(
                atPath: folder.appending(path: "Package.swift").path(percentEncoded: false))
        return folder
    }()

    /// Files of the library, by folder and name.
    static let edge = files(under: "Sources/Edge", endings: ["swift"])
    /// Everything that is compiled into the product, C headers included.
    static let sources = files(under: "Sources", endings: ["swift", "h", "modulemap"])
    static let swiftSources = sources.filter { $0.path.hasSuffix(".swift") }
    static let tests =
        files(under: "Tests", endings: ["swift"]) + files(under: "Fuzz", endings: ["swift", "h"])
    /// What people read.
    static let prose = files(under: "docs", endings: ["md"]) + single("README.md")

    private static func files(under folder: String, endings: Set<String>) -> [SourceFile] {
        let base = root.appending(path: folder).path(percentEncoded: false)
        let names = FileManager.default.enumerator(atPath: base)?.compactMap { $0 as? String } ?? []
        return names.sorted()
            .filter { endings.contains(URL(filePath: $0).pathExtension) }
            .flatMap { single("\(folder)/\($0)") }
    }

    private static func single(_ path: String) -> [SourceFile] {
        let place = root.appending(path: path)
        guard let text = try? String(contentsOf: place, encoding: .utf8) else { return [] }
        return [SourceFile(path: path, text: text)]
    }
}
