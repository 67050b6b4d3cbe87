// Reads the options of one mapping as their declarations say.

/// A mapping of the file, or nothing, seen through its section's declarations.
///
/// Every mistake is noted and a value is returned all the same, so that one run finds them all.
struct SectionReader {
    let section: ConfigurationSection
    let place: ConfigurationPlace
    let problems: ConfigurationProblems
    private var entries: [String: YAMLEntry] = [:]

    /// - Parameter node: nil when the whole mapping is absent; `place` then stands for it.
    init(
        _ node: YAMLNode?, _ section: ConfigurationSection, at place: ConfigurationPlace,
        _ problems: ConfigurationProblems
    ) {
        self.section = section
        self.place = node?.place ?? place
        self.problems = problems
        guard let node else { return }
        guard case .mapping(let list) = node.content else {
            let name = section.path.isEmpty ? "the configuration" : section.path
            problems.add(node.place, "\(name): expected a mapping, found \(node.found)")
            return
        }
        var misspelt = Set<String>()
        for entry in list {
            if section.options.contains(where: { $0.name == entry.key }) {
                entries[entry.key] = entry
            } else {
                problems.add(entry.place, Self.unknown(entry.key, section))
                if let nearest = section.nearest(to: entry.key) { misspelt.insert(nearest) }
            }
        }
        for option in section.options
        where entries[option.name] == nil && !misspelt.contains(option.name) {
            if case .required = option.fallback {
                problems.add(self.place, "key '\(option.name)' is missing")
            }
        }
    }

    private static func unknown(_ key: String, _ section: ConfigurationSection) -> String {
        let node = YAMLNode(
            content: .scalar(key, isPlain: false), place: .position(line: 1, column: 1))
        if key == "<<" { return "merge keys ('<<') are not supported" }
        let hint = section.nearest(to: key).map { "; did you mean '\($0)'?" } ?? ""
        return "unknown key \(node.found)\(hint)"
    }

    func node(_ name: String) -> YAMLNode? {
        _ = section.option(name)
        return entries[name]?.value
    }

    func isGiven(_ name: String) -> Bool { node(name) != nil }

    /// The place of an option's value, or of its mapping when it is not given.
    func place(of name: String) -> ConfigurationPlace { node(name)?.place ?? place }

    func keyPlace(of name: String) -> ConfigurationPlace { entries[name]?.place ?? place }

    func wrong(_ name: String, _ node: YAMLNode) {
        problems.add(
            node.place, "\(name): expected \(section.option(name).type.words), found \(node.found)")
    }

    private func scalar(_ name: String) -> String? {
        guard let node = node(name) else { return nil }
        guard case .scalar(let text, _) = node.content, !node.isNull else {
            wrong(name, node)
            return nil
        }
        return text
    }

    private func fallback(_ name: String) -> String? {
        guard case .value(let text) = section.option(name).fallback else { return nil }
        return text
    }

    /// The value of an option, read by `convert`; a mistake is noted and the default taken.
    private func value<Value>(_ name: String, _ convert: (String) -> Value?) -> Value? {
        if let text = scalar(name) {
            if let value = convert(text) { return value }
            if let node = node(name) { wrong(name, node) }
        }
        return fallback(name).flatMap(convert)
    }

    func text(_ name: String) -> String? { value(name) { $0.isEmpty ? nil : $0 } }

    func boolean(_ name: String) -> Bool? {
        value(name) { $0 == "true" ? true : $0 == "false" ? false : nil }
    }

    func count(_ name: String) -> Int? {
        guard case .count(let range) = section.option(name).type else {
            preconditionFailure("option '\(name)' is not a number")
        }
        return value(name) { text in
            guard text.utf8.allSatisfy(ASCII.isDigit), let number = Int(text) else { return nil }
            return range.contains(number) ? number : nil
        }
    }

    func duration(_ name: String) -> Duration? {
        guard case .duration(let range) = section.option(name).type else {
            preconditionFailure("option '\(name)' is not a duration")
        }
        return value(name) { text in
            Duration(text: text).flatMap { range.contains($0) ? $0 : nil }
        }
    }

    func size(_ name: String) -> ByteCount? {
        guard case .size(let range) = section.option(name).type else {
            preconditionFailure("option '\(name)' is not a size")
        }
        return value(name) { text in
            ByteCount(text: text).flatMap { range.contains($0) ? $0 : nil }
        }
    }

    func choice(_ name: String) -> String? {
        guard case .choice(let words) = section.option(name).type else {
            preconditionFailure("option '\(name)' is not a choice")
        }
        return value(name) { words.contains($0) ? $0 : nil }
    }

    /// The texts of a list with their places; nil when the option is not given or not a list.
    func texts(_ name: String) -> [(text: String, node: YAMLNode)]? {
        guard let node = node(name) else { return nil }
        guard case .sequence(let list) = node.content else {
            wrong(name, node)
            return nil
        }
        return list.compactMap { element in
            guard case .scalar(let text, _) = element.content, !element.isNull else {
                wrong(name, element)
                return nil
            }
            return (text, element)
        }
    }

    /// The words of a list, each once; the default when the option is not given or wrong.
    func choices(_ name: String) -> [String]? {
        guard case .choices(let words) = section.option(name).type else {
            preconditionFailure("option '\(name)' is not a list of choices")
        }
        guard let list = texts(name) else { return defaultChoices(name) }
        var chosen: [String] = []
        for (text, node) in list {
            if !words.contains(text) {
                wrong(name, node)
            } else if chosen.contains(text) {
                problems.add(node.place, "\(name): '\(text)' is given twice")
            } else {
                chosen.append(text)
            }
        }
        if list.isEmpty { problems.add(place(of: name), "\(name): at least one is needed") }
        return chosen.isEmpty ? defaultChoices(name) : chosen
    }

    /// The declared default, a list in brackets.
    private func defaultChoices(_ name: String) -> [String]? {
        let words = fallback(name)?.split { "[], \"".contains($0) }
        return words?.map { String($0) }
    }

    /// A mapping inside this one; reads all defaults when it is not given.
    func section(_ name: String) -> SectionReader {
        guard case .section(let inner) = section.option(name).type else {
            preconditionFailure("option '\(name)' is not a mapping")
        }
        return SectionReader(node(name), inner, at: place, problems)
    }

    /// The mappings of a list, at least one unless the option is absent or wrong.
    func sections(_ name: String) -> [SectionReader] {
        guard case .sections(let inner) = section.option(name).type else {
            preconditionFailure("option '\(name)' is not a list of mappings")
        }
        guard let node = node(name) else { return [] }
        guard case .sequence(let list) = node.content else {
            wrong(name, node)
            return []
        }
        if list.isEmpty { problems.add(node.place, "\(name): at least one is needed") }
        return list.map { SectionReader($0, inner, at: $0.place, problems) }
    }
}
