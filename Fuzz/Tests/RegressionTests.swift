// Seeds and past findings run through their targets with every test run.

import Foundation
import Testing

/// One input that is kept in the repository.
struct KeptInput: CustomTestStringConvertible {
    let target: FuzzTarget
    let url: URL

    var testDescription: String { url.pathComponents.suffix(3).joined(separator: "/") }

    /// What `Fuzz/Seeds` and `Fuzz/Findings` hold.
    static let all: [KeptInput] = {
        let fuzz = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        return FuzzTarget.all.flatMap { target in
            ["Seeds", "Findings"].flatMap { kind in
                let folder = fuzz.appending(path: kind).appending(path: target.name)
                let files = try? FileManager.default.contentsOfDirectory(
                    at: folder, includingPropertiesForKeys: nil)
                return (files ?? []).sorted { $0.path() < $1.path() }
                    .map { KeptInput(target: target, url: $0) }
            }
        }
    }()
}

@Suite("The fuzz targets") struct RegressionTests {
    @Test("hold on every input that was kept", arguments: KeptInput.all)
    func kept(input: KeptInput) throws {
        try input.target.run(Array(Data(contentsOf: input.url)))
    }

    @Test("have seeds to start from", arguments: FuzzTarget.all.map(\.name))
    func seeds(name: String) {
        #expect(KeptInput.all.contains { $0.target.name == name })
    }
}
