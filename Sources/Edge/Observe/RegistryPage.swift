// The page /registry: host clients, totals and the leak ledger as JSON.

/// One host client as an operator sees it.
struct HostView: Equatable, Sendable {
    enum Learned: String, Sendable { case h1, h2 }

    enum Health: String, Sendable {
        case closed, open
        case halfOpen = "half_open"
    }

    var host = ""
    var port = 0
    var scheme = "http"
    var versions: [String] = []
    /// The protocol that the service is known to speak; nil before its first answer.
    var learned: Learned?
    var connections = 0
    var idle = 0
    var inFlight = 0
    var waiting = 0
    var dials: UInt64 = 0
    var requests: UInt64 = 0
    var reused: UInt64 = 0
    var failures: UInt64 = 0
    /// How long connections may rest, as the service's own closes have shown; nil: not known.
    var rest: Duration?
    var health = Health.closed
    var consecutiveFailures = 0
    /// Until an open breaker lets a request through; nil when it is not open.
    var openFor: Duration?
    var addresses: [String] = []
    var idleFor = Duration.zero

    init() {}
}

/// Which hosts /registry is asked for.
struct RegistryQuery: Equatable, Sendable {
    /// The registry's place of the first host; places stay as they are while a host is there.
    var first = 0
    var limit = Limits.registryPage
    /// Only hosts whose names start so; empty: all.
    var prefix = ""
    /// Only hosts of this id, on one page.
    var id: String?

    static let parameters = ["after", "limit", "host", "id"]

    init(_ query: Bytes) throws(AdminMistake) {
        let query = try AdminQuery(query, known: Self.parameters)
        first = try query.count("after", in: 0...Int(UInt32.max)) ?? 0
        limit = try query.count("limit", in: 1...Limits.registryPageMost) ?? Limits.registryPage
        id = query.text("id")
        prefix = query.text("host") ?? ""
        guard
            prefix.utf8.allSatisfy({
                ASCII.isLetter($0) || ASCII.isDigit($0) || "-._:".utf8.contains($0)
            })
        else {
            throw AdminMistake(message: "parameter 'host': no host's name starts so")
        }
        prefix = String(decoding: prefix.utf8.map { ASCII.lowercase($0) }, as: UTF8.self)
        if id != nil,
            let other = ["after", "limit", "host"].first(where: { query.text($0) != nil })
        {
            throw AdminMistake(message: "parameter '\(other)' does not go together with 'id'")
        }
    }

    /// Where the page that begins at `place` is.
    func page(from place: Int) -> String {
        "/registry?after=\(place)&limit=\(limit)" + (prefix.isEmpty ? "" : "&host=\(prefix)")
    }
}

extension Limits {
    /// 100 hosts on a page of the registry unless asked for otherwise: 32 KiB of JSON.
    static let registryPage = 100
    /// 1 000 hosts on one page at most: 320 KiB, written in about 4 ms.
    static let registryPageMost = 1000
    /// 16 384 hosts looked at for one page at most, however few the filter admits.
    static let registryScan = 16_384
}

/// What /registry shows; filled by the control plane.
struct RegistryView: Sendable {
    /// Those of this page.
    var hosts: [HostView] = []
    /// The page after this one; nil for the last.
    var next: String?
    /// All host clients there are.
    var hostCount = 0
    var connections = 0
    var evictions: UInt64 = 0
    var unpooled: UInt64 = 0
    var ledger: [LedgerRow] = []
    var openDescriptors = 0
    /// Descriptors that somebody answers for.
    var expectedDescriptors = 0
    var strays: [StrayDescriptor] = []

    init() {}

    /// Whether anything live differs from what opened less closed says, or belongs to nobody.
    var hasDrifted: Bool { ledger.contains { $0.hasDrifted } || !strays.isEmpty }
}

/// Renders /registry.
enum RegistryPage {
    static let contentType: StaticString = "application/json"

    static func render(_ view: RegistryView) -> [UInt8] {
        var text = "{\"hosts\":["
        text.reserveCapacity(4096 + view.hosts.count * 320)
        for (index, host) in view.hosts.enumerated() {
            text += index == 0 ? "\n" : ",\n"
            text += row(host)
        }
        text += "],\n\"next\":\(view.next.map(JSONText.quoted) ?? "null")"
        text += ",\n\"totals\":{\"hosts\":\(view.hostCount),\"connections\":\(view.connections)"
        text += ",\"evictions\":\(view.evictions),\"unpooled\":\(view.unpooled)},\n\"ledger\":["
        for (index, row) in view.ledger.enumerated() {
            text += index == 0 ? "\n" : ",\n"
            text += "{\"kind\":\"\(row.kind.name)\",\(figures(row.sum)),\"workers\":["
            text += row.workers.map { "{\(figures($0))}" }.joined(separator: ",") + "]}"
        }
        text += "],\n\"descriptors\":{\"open\":\(view.openDescriptors)"
        text += ",\"expected\":\(view.expectedDescriptors),\"stray\":["
        text += view.strays.map { stray in
            "{\"descriptor\":\(stray.number),\"link\":\(JSONText.quoted(stray.link))}"
        }.joined(separator: ",")
        text += "]},\"drift\":\(view.hasDrifted)}\n"
        return Array(text.utf8)
    }

    private static func figures(_ count: LedgerCount) -> String {
        "\"opened\":\(count.opened),\"closed\":\(count.closed),\"live\":\(count.live)"
            + ",\"walk\":\(count.walk)"
    }

    private static func row(_ host: HostView) -> String {
        var row = JSONText()
        host.add(to: &row)
        return row.closed
    }
}

extension HostView {
    func add(to json: inout JSONText) {
        json.add("host", host)
        json.add("port", port)
        json.add("scheme", scheme)
        json.add("versions", versions)
        json.add("learned", learned?.rawValue)
        json.add("connections", connections)
        json.add("idle", idle)
        json.add("in_flight", inFlight)
        json.add("waiting", waiting)
        json.add("dials", dials)
        json.add("requests", requests)
        json.add("reused", reused)
        json.add("failures", failures)
        json.add("rest_ms", milliseconds: rest)
        json.add("health", health.rawValue)
        json.add("consecutive_failures", consecutiveFailures)
        json.add("open_for_ms", milliseconds: openFor)
        json.add("addresses", addresses)
        json.add("idle_for_ms", milliseconds: idleFor)
    }
}
