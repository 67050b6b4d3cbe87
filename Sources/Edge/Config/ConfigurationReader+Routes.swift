// Routes: paths, ids, upstreams, and what fits together.

extension ConfigurationReader {
    func route(_ reader: SectionReader, _ general: UpstreamSettings?) -> RouteSettings? {
        let path = reader.text("path")
        if let path, let message = RouteTable.objection(to: path) {
            problems.add(reader.place(of: "path"), "path: \(message)")
        }
        let hasID = reader.isGiven("id")
        let id = hasID ? identifier(reader.section("id")) : nil
        let template = template(reader)
        if let template {
            checkPlaceholder(reader, template, hasID: hasID, hasPattern: id?.pattern != nil)
        }
        let versions = versions(reader, template)
        let timeouts = upstreamTimeouts(reader.section("timeouts"), general)
        let tlsReader = reader.section("tls")
        let tls = upstreamTLS(tlsReader)
        if let name = tls.serverName, !Self.isHostName(name),
            let node = tlsReader.node("server_name")
        {
            tlsReader.wrong("server_name", node)
        }
        if template?.scheme == .http, reader.isGiven("tls") {
            problems.add(reader.keyPlace(of: "tls"), "tls: the upstream is http; write 'https://'")
        }
        guard let path, let template, let versions, let timeouts,
            let host = reader.choice("host").flatMap(HostPolicy.init)
        else { return nil }
        return RouteSettings(
            path: path, id: id?.source, pattern: id?.pattern, upstream: template,
            versions: versions, host: host, tls: template.scheme == .https ? tls : nil,
            timeouts: timeouts)
    }

    private func template(_ reader: SectionReader) -> UpstreamTemplate? {
        guard let text = reader.text("upstream") else { return nil }
        do throws(TemplateError) {
            return try UpstreamTemplate(text)
        } catch {
            problems.add(
                reader.place(of: "upstream"),
                "upstream: \(error.message), at character \(error.offset + 1)")
            return nil
        }
    }

    private func checkPlaceholder(
        _ reader: SectionReader, _ template: UpstreamTemplate, hasID: Bool, hasPattern: Bool
    ) {
        let place = reader.place(of: "upstream")
        if template.hasID, !hasID {
            problems.add(place, "upstream: {id} is given, but the route has no 'id'")
        } else if !template.hasID, hasID {
            problems.add(place, "upstream: the route has an 'id', but {id} is not given")
        } else if template.hasID, !hasPattern, template.longestID < 19 {
            problems.add(
                place, "upstream: the host leaves \(template.longestID) bytes for {id}, not 19")
        }
    }

    private func versions(
        _ reader: SectionReader, _ template: UpstreamTemplate?
    ) -> UpstreamProtocols? {
        let versions = reader.choices("versions").map { UpstreamProtocols(names: $0) }
        guard let versions, reader.isGiven("versions"), let template else { return versions }
        let place = reader.place(of: "versions")
        if template.scheme == .https, versions.contains(.h2c) {
            problems.add(place, "versions: 'h2c' is for http upstreams; for https, use '2'")
        } else if template.scheme == .http, versions == .http2 {
            problems.add(place, "versions: '2' is for https upstreams; for http, use 'h2c'")
        }
        return versions
    }

    private func identifier(
        _ reader: SectionReader
    ) -> (source: IDSource?, pattern: IDPattern?) {
        let given = ["query", "segment", "field", "host_label"].filter { reader.isGiven($0) }
        if given.count != 1 {
            let found = given.isEmpty ? "none" : given.map { "'\($0)'" }.joined(separator: ", ")
            problems.add(
                reader.place,
                "id: expected one of 'query', 'segment', 'field', 'host_label', found \(found)")
        }
        return (source(reader, given.first ?? ""), pattern(reader))
    }

    private func source(_ reader: SectionReader, _ name: String) -> IDSource? {
        guard let node = reader.node(name.isEmpty ? "query" : name) else { return nil }
        switch name {
        case "query":
            guard let text = reader.text(name) else { return nil }
            // Unreserved characters only, so that the name has one spelling.
            let isPlain = text.utf8.allSatisfy {
                ASCII.isLetter($0) || ASCII.isDigit($0) || "-._~".utf8.contains($0)
            }
            guard isPlain else {
                reader.wrong(name, node)
                return nil
            }
            return .query(text)
        case "segment": return reader.count(name).map { .segment($0) }
        case "field":
            guard let text = reader.text(name) else { return nil }
            let isToken = text.utf8.allSatisfy(ASCII.isToken) && text.utf8.count <= 256
            // Underscores are dropped or refused before routing, unless configured otherwise.
            guard isToken, !text.utf8.contains(UInt8(ascii: "_")) else {
                reader.wrong(name, node)
                return nil
            }
            return .field(text)
        default:
            guard let isSet = reader.boolean(name) else { return nil }
            if !isSet { problems.add(node.place, "\(name): expected true, found 'false'") }
            return .hostLabel
        }
    }

    private func pattern(_ reader: SectionReader) -> IDPattern? {
        guard let text = reader.text("pattern") else { return nil }
        do throws(IDPatternError) {
            return try IDPattern(text)
        } catch {
            problems.add(
                reader.place(of: "pattern"),
                "pattern: \(error.message), at character \(error.offset + 1)")
            return nil
        }
    }

    private static func isHostName(_ name: String) -> Bool {
        guard !name.contains("{"), !name.contains(":"), !name.contains("/") else { return false }
        do throws(TemplateError) {
            _ = try UpstreamTemplate("https://\(name)")
            return true
        } catch { return false }
    }
}
