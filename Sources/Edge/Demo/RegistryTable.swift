// The registry's figures as a person reads them while trying things out.

import Synchronization

/// What the table shows of one host client.
struct HostFigures: Equatable, Sendable {
    var host = ""
    var versions = ""
    var connections = 0
    var dials: UInt64 = 0
    var requests: UInt64 = 0
    var reused: UInt64 = 0
    /// Milliseconds on the monotonic clock.
    var lastUsed: Int64 = 0

    init(host: String, versions: String) {
        self.host = host
        self.versions = versions
    }

    init(_ client: HostClient) {
        let record = client.record
        host = client.host
        versions = client.identity.key.protocols.names.joined(separator: " ")
        connections = record[].connections.load(ordering: .relaxed)
        dials = record[].dials.load(ordering: .relaxed)
        requests = record[].requests.load(ordering: .relaxed)
        reused = record[].reused.load(ordering: .relaxed)
        lastUsed = record[].lastUsed.load(ordering: .relaxed)
    }

    /// The same host, reached in the same way.
    func isSameHost(as other: HostFigures) -> Bool {
        host == other.host && versions == other.versions
    }
}

/// The host clients at one moment.
struct RegistryTable: Equatable, Sendable {
    /// 12 rows: with the guide above them they fit a terminal of 24 lines and more.
    static let mostRows = 12
    /// 4 hosts fit a line of a log.
    static let mostChanges = 4

    var hosts: [HostFigures]

    init(_ hosts: [HostFigures]) { self.hosts = hosts }

    init(_ registry: Registry) { hosts = registry.snapshot().map(HostFigures.init) }

    /// A heading, the hosts used last in the order of their names, and the totals.
    func lines() -> [String] {
        let shown = hosts.sorted { $0.lastUsed > $1.lastUsed }.prefix(Self.mostRows)
            .sorted {
                ($0.host.utf8.count, $0.host, $0.versions)
                    < ($1.host.utf8.count, $1.host, $1.versions)
            }
        var lines = [Self.line("host", "protocol", "connections", "dials", "requests", "reused")]
        for host in shown {
            lines.append(
                Self.line(
                    host.host, host.versions, "\(host.connections)", "\(host.dials)",
                    "\(host.requests)", "\(host.reused)"))
        }
        lines.append(
            Self.line(
                hosts.count == 1 ? "1 host" : "\(hosts.count) hosts", "",
                "\(hosts.reduce(0) { $0 + $1.connections })", "\(sum(\.dials))",
                "\(sum(\.requests))", "\(sum(\.reused))"))
        return lines
    }

    /// The hosts that differ from an earlier moment on one line; nil when none does.
    func changes(since earlier: RegistryTable) -> String? {
        let changed = hosts.filter { host in
            !earlier.hosts.contains { $0 == host }
        }.sorted { $0.lastUsed > $1.lastUsed }
        let gone = earlier.hosts.count { old in !hosts.contains { $0.isSameHost(as: old) } }
        var parts = changed.prefix(Self.mostChanges).map { host in
            "\(host.host) \(host.versions): connections \(host.connections), dials \(host.dials), "
                + "requests \(host.requests), reused \(host.reused)"
        }
        if changed.count > parts.count { parts.append("\(changed.count - parts.count) more") }
        if gone > 0 { parts.append("\(gone) gone") }
        return parts.isEmpty ? nil : parts.joined(separator: "; ")
    }

    private func sum(_ figure: (HostFigures) -> UInt64) -> UInt64 {
        hosts.reduce(0) { $0 &+ figure($1) }
    }

    private static func line(
        _ host: String, _ versions: String, _ connections: String, _ dials: String,
        _ requests: String, _ reused: String
    ) -> String {
        filled(host, 14, atEnd: true) + filled(versions, 8, atEnd: true)
            + filled(connections, 13, atEnd: false) + filled(dials, 9, atEnd: false)
            + filled(requests, 11, atEnd: false) + filled(reused, 10, atEnd: false)
    }

    private static func filled(_ text: String, _ width: Int, atEnd: Bool) -> String {
        let blanks = String(repeating: " ", count: max(0, width - text.utf8.count))
        return atEnd ? text + blanks : blanks + text
    }
}
