// Who may name whom: folders of Sources/Edge, and modules from outside.

import Testing

/// The order of the layers.
///
/// A folder may name itself and what its row lists, by types and functions declared at top level.
private enum Layering {
    private static let codecs = ["Core", "HTTP"]
    private static let belowUpstream = [
        "Core", "System", "Loop", "HTTP", "TLS", "HTTP1", "HTTP2", "Routing", "Resolve",
        "Transport", "Registry", "Observe",
    ]
    private static let belowWorker =
        belowUpstream + ["Upstream", "Exchange", "Front", "Config"]

    /// From the lowest to the highest: every row names only folders of rows above it.
    static let table: [(folder: String, mayName: [String])] = [
        ("Core", []),
        ("System", ["Core"]),
        ("Loop", ["Core", "System"]),
        ("HTTP", ["Core"]),
        ("TLS", ["Core", "System", "HTTP"]),
        ("HTTP1", codecs),
        ("HTTP2", codecs),
        ("Routing", codecs),
        ("Resolve", ["Core", "System", "Loop"]),
        ("Transport", ["Core", "System", "Loop", "HTTP", "TLS"]),
        ("Registry", ["Core", "System", "HTTP", "TLS", "Resolve"]),
        ("Observe", ["Core", "HTTP"]),
        ("Upstream", belowUpstream),
        ("Exchange", belowUpstream + ["Upstream"]),
        ("Front", belowUpstream + ["Upstream", "Exchange"]),
        ("Config", ["Core", "HTTP", "Routing"]),
        ("Worker", belowWorker),
        ("Demo", belowWorker + ["Worker"]),
        ("Command", belowWorker + ["Worker", "Demo"]),
    ]

    /// Single types that a folder may name beyond its row, each with the reason.
    static let exceptions: [(folder: String, type: String, reason: String)] = [
        ("Config", "TLSVersion", "a value whose names are the file's"),
        ("Config", "FailureStatuses", "a value whose names are the file's"),
        ("Config", "HealthPolicy", "a value that is as the file gives it"),
        ("Config", "RetryPolicy", "a value that is as the file gives it"),
    ]

    static func mayName(_ folder: String, _ other: String) -> Bool {
        folder == other || table.contains { $0.folder == folder && $0.mayName.contains(other) }
    }

    static func isExcepted(_ folder: String, _ type: String) -> Bool {
        exceptions.contains { $0.folder == folder && $0.type == type }
    }
}

/// Modules from outside and where each may be imported: a folder, or one file of it.
private enum Modules {
    static let table: [String: [String]] = [
        "COpenSSL": ["TLS"],
        "CNGHTTP2": ["HTTP2"],
        "CCares": ["Resolve"],
        "CLinux": ["System"],
        "Yams": ["Config"],
        "Logging": ["Observe", "Worker", "Demo", "Command"],
        "Glibc": [
            "Core", "System", "Resolve", "Config",
            // The BIO's recv, which OpenSSL calls.
            "TLS/TLSWire.swift",
            // malloc and free behind nghttp2's allocator.
            "HTTP2/HTTP2Memory.swift",
            // Files and threads of the access log, figures of the process.
            "Observe/Platform.swift",
        ],
        "HeapModule": ["Registry"],
        "DequeModule": ["Loop", "Resolve", "Upstream", "Worker"],
        "Synchronization": [
            "Loop", "TLS", "Resolve", "Registry", "Upstream", "Front", "Observe", "Worker", "Demo",
            // Counts of objects that any thread may let go of.
            "Core/LiveObject.swift",
            // Those that any thread may open or close.
            "Core/KnownDescriptors.swift",
        ],
        "ArgumentParser": ["Sources/edge-proxy/EdgeProxy.swift"],
        "Edge": ["Sources/edge-proxy/EdgeProxy.swift"],
    ]
}

@Suite struct LayeringTests {
    @Test func theTreeIsFound() {
        #expect(SourceTree.edge.count > 100)
        #expect(SourceTree.swiftSources.count > SourceTree.edge.count)
        #expect(SourceTree.sources.count > SourceTree.swiftSources.count)
        #expect(SourceTree.tests.count > 10)
        #expect(!SourceTree.prose.isEmpty)
    }

    @Test func everyFolderHasARow() {
        let known = Set(Layering.table.map(\.folder))
        let missing = Set(SourceTree.edge.map { $0.folder ?? $0.path }).subtracting(known)
        #expect(missing.isEmpty, "no row for \(missing.sorted())")
    }

    @Test func rowsNameOnlyRowsAboveThem() {
        var above: Set<String> = []
        for row in Layering.table {
            #expect(above.isSuperset(of: row.mayName), "\(row.folder) names a row below it")
            above.insert(row.folder)
        }
    }

    @Test func foldersNameOnlyWhatTheyMay() {
        var owners: [String: String] = [:]
        for file in SourceTree.edge {
            for name in file.swift.topLevelNames { owners[name] = file.folder }
        }
        let findings = SourceTree.edge.flatMap { file -> [Finding] in
            guard let folder = file.folder else { return [] }
            let own = file.swift.ownNames
            return file.swift.words.compactMap { word in
                guard let owner = owners[word.text], !Layering.mayName(folder, owner),
                    word.before != UInt8(ascii: "."), !own.contains(word.text),
                    !Layering.isExcepted(folder, word.text)
                else { return nil }
                return Finding(
                    path: file.path, line: word.line,
                    what: "\(folder) may not name \(word.text) of \(owner)")
            }
        }
        report(findings)
    }

    @Test func modulesAreImportedWhereTheyBelong() {
        var findings: [Finding] = []
        for file in SourceTree.swiftSources {
            for (name, line) in file.swift.imports {
                let places = Modules.table[name] ?? []
                guard !places.contains(file.folder ?? ""), !places.contains(file.name) else {
                    continue
                }
                findings.append(
                    Finding(path: file.path, line: line, what: "may not import \(name)"))
            }
        }
        report(findings)
    }

    @Test func layersAreTakenApartRightly() {
        let text = SwiftText(
            #"""
            // struct Comment {}
            private struct Hidden { struct Inner {} }
            struct Seen<Value> { let text = "struct \(Used.name) \" }" } // Tail
            extension Seen { enum Nested {} }
            /* enum Block /* nested */ {} */ enum After { func f(x: Int = { 1 }()) { } }
            """#)
        #expect(text.topLevelNames == ["Seen", "After"])
        #expect(text.ownNames == ["Hidden", "Inner", "Seen", "Nested", "After", "Value", "f"])
        #expect(text.words.contains { $0.text == "Used" && $0.line == 3 })
        #expect(!text.words.contains { ["Comment", "Tail", "Block"].contains($0.text) })
        #expect(text.functions.map(\.name) == ["f"])
    }
}

/// Fails once per finding, with its place.
func report(_ findings: [Finding]) {
    for finding in findings { Issue.record("\(finding)") }
}
