// What is wrong with a configuration, and where.

/// Where a value was given.
enum ConfigurationPlace: Hashable, Sendable {
    /// Line and column in the file, both from 1; columns count Unicode scalars.
    case position(line: Int, column: Int)
    /// An option of the command line.
    case argument(String)
}

/// A file that the configuration names, and where it does.
struct NamedFile: Hashable, Sendable {
    /// Absolute, or relative to the working directory.
    var path: String
    var place: ConfigurationPlace
}

/// One mistake.
struct ConfigurationProblem: Hashable, Sendable {
    let place: ConfigurationPlace
    let message: String

    /// `file:line:column: message`, or `--option: message`.
    func description(file: String) -> String {
        switch place {
        case .position(let line, let column): "\(file):\(line):\(column): \(message)"
        case .argument(let name): "\(name): \(message)"
        }
    }

    fileprivate var order: (Int, Int) {
        switch place {
        case .position(let line, let column): (line, column)
        case .argument: (0, 0)
        }
    }
}

/// All mistakes of a configuration, in the order of the file.
struct ConfigurationErrors: Error, CustomStringConvertible {
    let file: String
    let problems: [ConfigurationProblem]

    init(file: String, _ problems: [ConfigurationProblem]) {
        self.file = file
        var known = Set<ConfigurationProblem>()
        let unique = problems.filter { known.insert($0).inserted }
        self.problems = unique.enumerated().sorted {
            ($0.element.order, $0.offset) < ($1.element.order, $1.offset)
        }.map { $0.element }
    }

    /// One line for each problem.
    var lines: [String] { problems.map { $0.description(file: file) } }

    var description: String { lines.joined(separator: "\n") }
}

private func < (left: ((Int, Int), Int), right: ((Int, Int), Int)) -> Bool {
    left.0 == right.0 ? left.1 < right.1 : left.0 < right.0
}

/// Collects mistakes while a configuration is read.
final class ConfigurationProblems {
    private(set) var list: [ConfigurationProblem] = []

    /// Notes a mistake; messages echo what was written, which may hold anything.
    func add(_ place: ConfigurationPlace, _ message: String) {
        let clean = message.unicodeScalars.map { scalar -> Unicode.Scalar in
            scalar.value < 0x20 || scalar.value == 0x7F ? "\u{FFFD}" : scalar
        }
        list.append(
            ConfigurationProblem(
                place: place, message: String(String.UnicodeScalarView(clean))))
    }
}
