// The ways to a configuration: a file, a text, the command line.

import Glibc

extension Configuration {
    /// Reads and checks a file.
    static func load(path: String) throws(ConfigurationErrors) -> Configuration {
        let place = ConfigurationPlace.position(line: 1, column: 1)
        let bytes: [UInt8]
        switch readFile(path) {
        case .success(let content): bytes = content
        case .failure(let failure):
            throw ConfigurationErrors(file: path, [.init(place: place, message: failure.message)])
        }
        let folder = path.lastIndex(of: "/").map { $0 == path.startIndex ? "/" : path[..<$0] } ?? ""
        return try parse(bytes, file: path, folder: String(folder))
    }

    /// Checks bytes that should be YAML in UTF-8.
    static func parse(
        _ bytes: [UInt8], file: String, folder: String
    ) throws(ConfigurationErrors) -> Configuration {
        guard let text = String(validating: bytes, as: UTF8.self) else {
            let problem = ConfigurationProblem(
                place: invalidPlace(bytes), message: "the file is not UTF-8 text")
            throw ConfigurationErrors(file: file, [problem])
        }
        return try parse(text, file: file, folder: folder)
    }

    /// Checks a YAML text.
    ///
    /// - Parameters:
    ///   - file: the name that errors give.
    ///   - folder: where relative file names start; empty for the working directory.
    static func parse(
        _ yaml: String, file: String, folder: String
    ) throws(ConfigurationErrors) -> Configuration {
        let problems = ConfigurationProblems()
        var reader = YAMLReader(problems)
        let root = reader.read(yaml)
        let configuration = root.flatMap {
            ConfigurationReader(problems: problems, folder: folder).read($0, file: file)
        }
        guard problems.list.isEmpty, let configuration else {
            throw ConfigurationErrors(file: file, problems.list)
        }
        return configuration
    }

    /// The configuration of a start without a file: one listener, one route.
    ///
    /// The id is the query parameter `id` when the upstream holds `{id}`.
    static func fromCommandLine(
        listen: String, certificate: String?, key: String?, idPath: String, upstream: String,
        admin: String?, workers: Int?, resolver: String?, accessLog: String?
    ) throws(ConfigurationErrors) -> Configuration {
        var listener = [entry("address", "--listen", listen)]
        let problems = ConfigurationProblems()
        if let certificate, let key {
            let files = [
                entry("certificate", "--certificate", certificate), entry("key", "--key", key),
            ]
            let pair = mapping("--certificate", files)
            listener.append(
                entry("tls", "--certificate", [list("certificates", "--certificate", pair)]))
        } else if certificate != nil {
            problems.add(.argument("--certificate"), "needs --key as well")
        } else if key != nil {
            problems.add(.argument("--key"), "needs --certificate as well")
        }
        var route = [entry("path", "--id-path", idPath), entry("upstream", "--upstream", upstream)]
        if upstream.contains("{id}") {
            route.append(entry("id", "--id-path", [entry("query", "--id-path", "id")]))
        }
        var root = [
            list("listeners", "--listen", mapping("--listen", listener)),
            list("routes", "--id-path", mapping("--id-path", route)),
        ]
        if let admin {
            root.append(entry("admin", "--admin", [entry("address", "--admin", admin)]))
        }
        if let workers { root.append(entry("workers", "--workers", "\(workers)")) }
        if let resolver {
            let server = scalar("--resolver", resolver)
            root.append(entry("resolver", "--resolver", [list("servers", "--resolver", server)]))
        }
        if let accessLog {
            let path = entry("path", "--access-log", accessLog)
            root.append(entry("access_log", "--access-log", [path]))
        }
        let configuration = ConfigurationReader(problems: problems, folder: "")
            .read(mapping("--listen", root), file: "")
        guard problems.list.isEmpty, let configuration else {
            throw ConfigurationErrors(file: "", problems.list)
        }
        return configuration
    }

    private static func scalar(_ option: String, _ text: String) -> YAMLNode {
        YAMLNode(content: .scalar(text, isPlain: false), place: .argument(option))
    }

    private static func mapping(_ option: String, _ entries: [YAMLEntry]) -> YAMLNode {
        YAMLNode(content: .mapping(entries), place: .argument(option))
    }

    private static func entry(_ key: String, _ option: String, _ text: String) -> YAMLEntry {
        YAMLEntry(key: key, place: .argument(option), value: scalar(option, text))
    }

    private static func entry(_ key: String, _ option: String, _ inner: [YAMLEntry]) -> YAMLEntry {
        YAMLEntry(key: key, place: .argument(option), value: mapping(option, inner))
    }

    private static func list(_ key: String, _ option: String, _ only: YAMLNode) -> YAMLEntry {
        let list = YAMLNode(content: .sequence([only]), place: .argument(option))
        return YAMLEntry(key: key, place: .argument(option), value: list)
    }

    /// Line and column of the first byte that is not UTF-8.
    private static func invalidPlace(_ bytes: [UInt8]) -> ConfigurationPlace {
        let repaired = String(decoding: bytes, as: UTF8.self).utf8
        let valid = zip(bytes, repaired).prefix { $0 == $1 }.count
        let end = YAMLReader.end(of: String(decoding: bytes[..<valid], as: UTF8.self))
        return .position(line: end.line, column: end.column)
    }
}

/// Why a file could not be read.
struct FileFailure: Error {
    let message: String

    init(_ verb: String, _ code: Int32) {
        let reason = unsafe strerror(code).map { unsafe String(cString: $0) } ?? "error \(code)"
        message = "the file cannot be \(verb): \(reason)"
    }

    init(message: String) { self.message = message }
}

/// Reads a file of at most 1 MiB.
func readFile(_ path: String) -> Result<[UInt8], FileFailure> {
    let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return .failure(FileFailure("opened", errno)) }
    defer { close(descriptor) }
    var content: [UInt8] = []
    var block = [UInt8](repeating: 0, count: 16 * 1024)
    while true {
        let count = unsafe read(descriptor, &block, block.count)
        if count < 0, errno == EINTR { continue }
        guard count >= 0 else { return .failure(FileFailure("read", errno)) }
        if count == 0 { return .success(content) }
        content += block[..<count]
        guard content.count <= YAMLReader.maximumBytes else {
            return .failure(FileFailure(message: "the file is larger than 1 MiB"))
        }
    }
}
