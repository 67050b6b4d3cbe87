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

/// What /registry shows; filled by the control plane.
struct RegistryView: Sendable {
    var hosts: [HostView] = []
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
        text.reserveCapacity(512 + view.hosts.count * 320)
        for (index, host) in view.hosts.enumerated() {
            text += index == 0 ? "\n" : ",\n"
            append(host, to: &text)
        }
        text += "],\n\"totals\":{\"hosts\":\(view.hostCount),\"connections\":\(view.connections)"
        text += ",\"evictions\":\(view.evictions),\"unpooled\":\(view.unpooled)},\n\"ledger\":["
        for (index, row) in view.ledger.enumerated() {
            text += index == 0 ? "\n" : ",\n"
            text += "{\"kind\":\"\(row.kind.name)\",\(figures(row.sum)),\"workers\":["
            text += row.workers.map { "{\(figures($0))}" }.joined(separator: ",") + "]}"
        }
        text += "],\n\"descriptors\":{\"open\":\(view.openDescriptors)"
        text += ",\"expected\":\(view.expectedDescriptors),\"stray\":["
        text += view.strays.map { stray in
            "{\"descriptor\":\(stray.number),\"link\":\(quoted(stray.link))}"
        }.joined(separator: ",")
        text += "]},\"drift\":\(view.hasDrifted)}\n"
        return Array(text.utf8)
    }

    private static func figures(_ count: LedgerCount) -> String {
        "\"opened\":\(count.opened),\"closed\":\(count.closed),\"live\":\(count.live)"
            + ",\"walk\":\(count.walk)"
    }

    private static func append(_ host: HostView, to text: inout String) {
        text += "{\"host\":\(quoted(host.host)),\"port\":\(host.port)"
        text += ",\"scheme\":\(quoted(host.scheme)),\"versions\":\(list(host.versions))"
        text += ",\"learned\":\(host.learned.map { quoted($0.rawValue) } ?? "null")"
        text += ",\"connections\":\(host.connections),\"idle\":\(host.idle)"
        text += ",\"in_flight\":\(host.inFlight),\"waiting\":\(host.waiting)"
        text += ",\"dials\":\(host.dials),\"requests\":\(host.requests)"
        text += ",\"reused\":\(host.reused),\"failures\":\(host.failures)"
        text += ",\"rest_ms\":\(host.rest.map { String($0.milliseconds) } ?? "null")"
        text += ",\"health\":\(quoted(host.health.rawValue))"
        text += ",\"consecutive_failures\":\(host.consecutiveFailures)"
        text += ",\"open_for_ms\":\(host.openFor.map { String($0.milliseconds) } ?? "null")"
        text += ",\"addresses\":\(list(host.addresses))"
        text += ",\"idle_for_ms\":\(max(0, host.idleFor.milliseconds))}"
    }

    private static func list(_ values: [String]) -> String {
        "[\(values.map { quoted($0) }.joined(separator: ","))]"
    }

    /// A JSON string; everything but printable ASCII as `\u` escapes of UTF-16 units.
    private static func quoted(_ value: String) -> String {
        var result = "\""
        for unit in value.utf16 {
            switch unit {
            case 0x22: result += "\\\""
            case 0x5C: result += "\\\\"
            case 0x20..<0x7F: result.unicodeScalars.append(Unicode.Scalar(UInt8(unit)))
            default:
                let digits = String(unit, radix: 16)
                result += "\\u\(String(repeating: "0", count: 4 - digits.utf8.count))\(digits)"
            }
        }
        return result + "\""
    }
}
