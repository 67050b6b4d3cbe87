// Configuration files: a configuration, or mistakes with places in the file.

@testable import Edge

enum ConfigurationFuzz {
    static func run(_ bytes: [UInt8]) throws(FuzzFailure) {
        let configuration: Configuration
        do throws(ConfigurationErrors) {
            configuration = try Configuration.parse(bytes, file: "edge.yaml", folder: "/etc")
        } catch {
            return try check(error, bytes)
        }
        try use(configuration)
    }

    /// What is accepted can be described and put into force, but for its files.
    private static func use(_ configuration: Configuration) throws(FuzzFailure) {
        try require(!configuration.summary().isEmpty, "no summary")
        do throws(RouteTableError) {
            _ = try RouteTable(configuration.routeDefinitions)
        } catch {
            throw FuzzFailure(what: "accepted, but \(error)")
        }
    }

    private static func check(_ errors: ConfigurationErrors, _ bytes: [UInt8]) throws(FuzzFailure) {
        try require(!errors.problems.isEmpty, "refused without a reason")
        // As YAML counts lines: CR LF, CR, LF, and three breaks beyond ASCII.
        let text = String(decoding: bytes, as: UTF8.self)
        var lines: [Int] = [0]
        var previous: Unicode.Scalar = " "
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\n" where previous == "\r": break
            case "\n", "\r", "\u{85}", "\u{2028}", "\u{2029}": lines.append(0)
            default: lines[lines.count - 1] += 1
            }
            previous = scalar
        }
        for problem in errors.problems {
            guard case .position(let line, let column) = problem.place else {
                throw FuzzFailure(what: "no place: \(problem)")
            }
            try require(
                (1...lines.count).contains(line) && column >= 1 && column <= lines[line - 1] + 1,
                "\(line):\(column) is not in the file: \(problem.message)")
            try require(
                problem.message.unicodeScalars.allSatisfy { $0.value >= 0x20 && $0.value != 0x7F },
                "controls in a message: \(problem.message)")
        }
    }
}
