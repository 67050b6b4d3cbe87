// `edge-proxy inspect`: what the registry and the ledger of a running proxy hold.

/// The pages of /registry as a person reads them.
struct RegistryReport {
    /// The last one that was read; totals and ledger are those of its moment.
    private var page: JSONValue
    private var hostRows: [JSONValue]

    /// Reads a page; nil when it is another one.
    init?(_ body: [UInt8]) {
        guard let page = JSONValue(body), page["ledger"] != nil,
            case .boolean(let hasDrifted) = page["drift"]
        else { return nil }
        self.page = page
        self.hasDrifted = hasDrifted
        hostRows = page["hosts"]?.elements ?? []
    }

    /// Where the page after this one is; nil for the last.
    var next: String? {
        guard case .string(let path) = page["next"] else { return nil }
        return path
    }

    /// Adds the hosts of the pages before it.
    mutating func follow(_ earlier: RegistryReport) { hostRows = earlier.hostRows + hostRows }

    let hasDrifted: Bool

    /// Hosts, totals and the ledger as tables, and a last line with the verdict.
    func lines() -> [String] {
        hosts() + [""] + ledger() + [""] + [totals(), descriptors()] + strays()
            + [hasDrifted ? "drift: what was counted is not what lives" : "no drift"]
    }

    private func hosts() -> [String] {
        let columns = ["host", "port", "scheme", "learned", "connections", "idle", "in_flight"]
        let more = ["waiting", "dials", "requests", "reused", "failures", "addresses"]
        let rows = hostRows.map { host in
            (columns + more).map { host[$0]?.text ?? "" }
        }
        return Self.table([columns + more] + rows)
    }

    /// A row for each kind, and below it those of workers that have drifted.
    private func ledger() -> [String] {
        let columns = ["opened", "closed", "live", "walk"]
        var rows = [["kind"] + columns + [""]]
        for kind in page["ledger"]?.elements ?? [] {
            let name = kind["kind"]?.text ?? ""
            let drifted = (kind["workers"]?.elements ?? []).enumerated().filter {
                $0.element["live"] != $0.element["walk"]
            }
            rows.append(
                [name] + columns.map { kind[$0]?.text ?? "" } + [drifted.isEmpty ? "" : "drift"])
            for (worker, count) in drifted {
                rows.append(
                    ["\(name), worker \(worker)"] + columns.map { count[$0]?.text ?? "" }
                        + ["drift"])
            }
        }
        return Self.table(rows)
    }

    private func totals() -> String {
        guard case .object(let members) = page["totals"] else { return "" }
        return members.map { "\($0.name) \($0.value.text)" }.joined(separator: ", ")
    }

    private func descriptors() -> String {
        let table = page["descriptors"]
        return "descriptors: \(table?["open"]?.text ?? "-") open, "
            + "\(table?["expected"]?.text ?? "-") known"
    }

    private func strays() -> [String] {
        (page["descriptors"]?["stray"]?.elements ?? []).map { stray in
            "descriptor \(stray["descriptor"]?.text ?? ""), \(stray["link"]?.text ?? ""), "
                + "belongs to nobody"
        }
    }

    /// The first column to the left, the others to the right.
    private static func table(_ rows: [[String]]) -> [String] {
        let columns = rows.first?.count ?? 0
        let widths = (0..<columns).map { column in
            rows.map { $0[column].unicodeScalars.count }.max() ?? 0
        }
        return rows.map { row in
            let cells = row.enumerated().map { column, text in
                let blanks = String(
                    repeating: " ", count: widths[column] - text.unicodeScalars.count)
                return column == 0 ? text + blanks : blanks + text
            }
            let line = cells.joined(separator: "  ")
            return String(line.reversed().drop { $0 == " " }.reversed())
        }
    }
}

extension EdgeCommand {
    /// Shows a running proxy's registry and ledger: 0 without drift, 2 with, 1 when it cannot be
    /// asked.
    package static func inspect(admin: String?, config: String?, json: Bool) -> Int32 {
        do {
            let address = try AdminClient.address(admin: admin, config: config)
            var path: String? = "/registry?limit=\(Limits.registryPageMost)"
            var whole: RegistryReport?
            while let page = path {
                let (status, body) = try AdminClient.get(address: address, path: page)
                guard status == 200, var report = RegistryReport(body) else {
                    throw AdminFailure("\(address.text): /registry is not what it should be")
                }
                if json { StandardOutput.write(String(decoding: body, as: UTF8.self)) }
                if let whole { report.follow(whole) }
                whole = report
                path = report.next
            }
            if let whole, !json {
                StandardOutput.write(whole.lines().joined(separator: "\n") + "\n")
            }
            return whole?.hasDrifted ?? true ? ProxyExit.notDrained : ProxyExit.clean
        } catch {
            StandardError.write("\(error)\n")
            return ProxyExit.notStarted
        }
    }
}
