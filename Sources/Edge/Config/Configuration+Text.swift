// The configuration in words: the reference of all options, and the summary of one file.

extension Configuration {
    /// All options in Markdown, generated from their declarations; `docs/configuration.md` is this.
    static func reference() -> String {
        var text = """
            # Configuration

            Every option of the configuration file, as `edge-proxy check --options` prints it. The
            file is YAML; unknown and repeated keys are errors. Durations carry units: `250ms`,
            `3s`, `5m`, `12h`, `30d`, `1h30m`. File names are relative to the folder of the file.

            ```yaml
            listeners:
              - address: ":8443"
                tls:
                  certificates:
                    - certificate: server.pem
                      key: server.key
            routes:
              - path: /api
                id:
                  query: id
                upstream: "http://id-{id}.apps.svc.cluster.local:8080"
            ```

            """
        for section in ConfigurationSchema.sections {
            let title = section.path.isEmpty ? "Top level" : "`\(section.path)`"
            text += "\n## \(title)\n\n\(section.meaning)\n\n"
            text += "| key | value | default | meaning |\n| --- | --- | --- | --- |\n"
            for option in section.options {
                let cells = [
                    "`\(option.name)`", option.type.words, describe(option.fallback),
                    option.meaning,
                ]
                let row = cells.map(escape).joined(separator: " | ")
                text += "| \(row) |\n"
            }
        }
        return text
    }

    /// A vertical bar would end a table's cell.
    private static func escape(_ cell: String) -> String {
        cell.split(separator: "|", omittingEmptySubsequences: false).joined(separator: "\\|")
    }

    private static func describe(_ fallback: OptionDefault) -> String {
        switch fallback {
        case .value(let text): "`\(text)`"
        case .absent(let words): words
        case .required: "required"
        }
    }

    /// What the file comes to, for `check`.
    func summary() -> String {
        var lines = ["workers: \(workers)"]
        for listener in listeners {
            var text = "listener \(listener.address.text): "
            if let tls = listener.tls {
                let count = tls.certificates.count
                text += "TLS \(tls.minVersion.rawValue) and later, "
                text += "\(count) certificate\(count == 1 ? "" : "s"), "
                text += tls.alpn.map { $0.rawValue }.joined(separator: " ")
            } else if listener.redirectToHTTPS {
                text += "redirects to https, port \(listener.redirectPort)"
            } else {
                text += "plain HTTP"
            }
            lines.append(text)
        }
        for route in routes {
            var text = "route \(route.path): \(route.upstream.description)"
            switch route.id {
            case nil: break
            case .query(let name): text += ", id from query parameter \(name)"
            case .segment(let number): text += ", id from path segment \(number)"
            case .field(let name): text += ", id from field \(name)"
            case .hostLabel: text += ", id from the host's first label"
            }
            lines.append(text + ", versions \(route.versions.names.joined(separator: " "))")
        }
        lines.append(
            "registry: \(registry.maxHosts) hosts, \(registry.maxConnections) connections")
        lines.append("access log: \(accessLog.path ?? "off")")
        lines.append("admin: \(admin?.address.text ?? "none")")
        return lines.joined(separator: "\n") + "\n"
    }
}
