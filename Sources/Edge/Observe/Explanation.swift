// What /explain and `edge-proxy explain` say: what would become of a request, and why.

/// What would become of a request in one worker, in the order in which it is tried.
enum Outcome: Equatable, Sendable {
    case reuse
    case share
    /// A connection is being opened that will take it.
    case awaitDial
    /// The host has refused and is dialled once more after a pause.
    case awaitRedial
    /// One that rests in another worker.
    case takeOver
    case resolve
    case dial
    /// `place` is counted from 1; `why` says what is used up.
    case wait(place: Int, most: Int, why: String)
    case refused(status: Int, reason: String)

    var text: String {
        switch self {
        case .reuse: "reuse connection"
        case .share: "share HTTP/2 connection"
        case .awaitDial: "wait for the dial under way"
        case .awaitRedial: "wait until the host is dialled again"
        case .takeOver: "take over a connection of another worker"
        case .resolve: "resolve then dial"
        case .dial: "dial"
        case .wait(let place, let most, let why): "wait in queue (\(place) of \(most)): \(why)"
        case .refused(let status, let reason): "\(status) \(reason)"
        }
    }

    var isForwarded: Bool {
        if case .refused = self { return false }
        return true
    }
}

struct WorkerOutcome: Equatable, Sendable {
    var worker: Int
    var outcome: Outcome
}

/// Counts against a bound.
struct UseView: Equatable, Sendable {
    var used: Int
    var most: Int

    fileprivate var text: String { "\(used) of \(most)" }
    fileprivate var json: String { "{\"used\":\(used),\"limit\":\(most)}" }
}

/// The state of the host that a request is for.
struct HostStateView: Sendable {
    var isInRegistry = false
    var learned: HostView.Learned?
    var health = HostView.Health.closed
    var hosts = UseView(used: 0, most: 0)
    var connections = UseView(used: 0, most: 0)
    var inFlight = UseView(used: 0, most: 0)
    var waiting = UseView(used: 0, most: 0)
    var allConnections = UseView(used: 0, most: 0)
    var name = NameView()
    var pools: [PoolView] = []
    /// By worker.
    var outcomes: [WorkerOutcome] = []

    init() {}
}

/// The key of the host client that a request would use.
struct KeyView: Equatable, Sendable {
    var scheme = "http"
    var host = ""
    var port = 0
    var versions: [String] = []
    var ca: String?
    var serverName: String?
    var verifies = true

    init() {}

    fileprivate var text: String {
        let name = host.utf8.contains(UInt8(ascii: ":")) ? "[\(host)]" : host
        var text = "\(scheme)://\(name):\(port), versions \(versions.joined(separator: " "))"
        guard scheme == "https" else { return text }
        text += ", authorities \(ca ?? "of the system"), server name \(serverName ?? host)"
        return text + (verifies ? "" : ", not verified")
    }

    fileprivate var json: String {
        var json = JSONText()
        json.add("scheme", scheme)
        json.add("host", host)
        json.add("port", port)
        json.add("versions", versions)
        json.add("ca", ca)
        json.add("server_name", serverName)
        json.add("verify", verifies)
        return json.closed
    }
}

/// All that is known of a request's way.
struct Explanation: Sendable {
    var method = ""
    var target = ""
    var authority = ""
    /// The route's number, counted from 1 in the order of the file; 0: none was found.
    var route = 0
    var path = ""
    var upstream = ""
    /// Where the route takes the id from; nil for a plain route.
    var source: String?
    var id: String?
    /// What the proxy itself answers, before any host is asked for.
    var answer: (status: Int, reason: String)?
    var key: KeyView?
    /// nil when no proxy was asked.
    var state: HostStateView?

    init() {}

    var isForwarded: Bool {
        answer == nil && (state?.outcomes.allSatisfy(\.outcome.isForwarded) ?? true)
    }

    /// What would happen: once, or worker by worker where they differ.
    var outcome: String {
        if let answer { return "\(answer.status) \(answer.reason)" }
        guard let state else { return "route and id are accepted; no running proxy was asked" }
        let texts = state.outcomes.map(\.outcome.text)
        if let first = texts.first, texts.allSatisfy({ $0 == first }) { return first }
        return zip(state.outcomes, texts).map { "worker \($0.worker): \($1)" }
            .joined(separator: "; ")
    }
}

// As a person reads it.
extension Explanation {
    var text: String {
        var lines = [isForwarded ? "forwarded: \(outcome)" : "refused: \(outcome)"]
        lines.append(Self.line("request", "\(method) \(target) for \(authority)"))
        if route > 0 { lines.append(Self.line("route", "\(route), \(path) to \(upstream)")) }
        if let source {
            lines.append(Self.line("id", (id.map { "\($0), " } ?? "refused, ") + "from \(source)"))
        }
        if let key { lines.append(Self.line("key", key.text)) }
        if let state { lines += Self.lines(state) }
        return lines.joined(separator: "\n") + "\n"
    }

    private static func lines(_ state: HostStateView) -> [String] {
        var lines = [line("name", text(state.name))]
        let place =
            state.isInRegistry
            ? "in it" : state.hosts.used < state.hosts.most ? "not in it" : "full without it"
        lines.append(line("registry", "\(place), \(state.hosts.text) hosts"))
        lines.append(
            line(
                "host",
                "connections \(state.connections.text), in flight \(state.inFlight.text), "
                    + "waiting \(state.waiting.text), breaker \(state.health.rawValue), "
                    + "speaks \(state.learned?.rawValue ?? "unknown")"))
        lines.append(line("process", "connections \(state.allConnections.text)"))
        for outcome in state.outcomes {
            let pools = state.pools.filter { $0.worker == outcome.worker }
            let idle = pools.flatMap(\.connections).count { $0.idle != nil }
            let shared = pools.flatMap(\.connections).count { $0.isHTTP2 && $0.phase == "ready" }
            lines.append(
                line(
                    "worker \(outcome.worker)",
                    "\(outcome.outcome.text) (connections \(pools.reduce(0) { $0 + $1.count }), "
                        + "idle \(idle), shared \(shared), "
                        + "dialling \(pools.reduce(0) { $0 + $1.dialling }), "
                        + "waiting \(pools.reduce(0) { $0 + $1.waiting }))"))
        }
        return lines
    }

    private static func text(_ name: NameView) -> String {
        var text = name.state
        if let failure = name.failure { text += " (\(failure))" }
        if name.isAsked { text += ", being asked for" }
        if !name.addresses.isEmpty { text += ", \(name.addresses.joined(separator: " "))" }
        if let left = name.timeLeft { text += ", for \(max(0, left.milliseconds)) ms more" }
        return text
    }

    private static func line(_ label: String, _ text: String) -> String {
        label + String(repeating: " ", count: max(1, 11 - label.utf8.count)) + text
    }
}

// As a program reads it.
extension Explanation {
    var json: String {
        var json = JSONText()
        json.add("forwarded", isForwarded)
        json.add("outcome", outcome)
        json.add("status", answer?.status)
        var request = JSONText()
        request.add("method", method)
        request.add("target", target)
        request.add("authority", authority)
        json.add("request", json: request.closed)
        json.add("route", json: route > 0 ? routeJSON : "null")
        json.add("id", id)
        json.add("key", json: key?.json ?? "null")
        json.add("state", json: state.map(Self.json) ?? "null")
        return json.closed + "\n"
    }

    private var routeJSON: String {
        var json = JSONText()
        json.add("number", route)
        json.add("path", path)
        json.add("upstream", upstream)
        json.add("id_source", source)
        return json.closed
    }

    private static func json(_ state: HostStateView) -> String {
        var json = JSONText()
        json.add("in_registry", state.isInRegistry)
        json.add("learned", state.learned?.rawValue)
        json.add("health", state.health.rawValue)
        json.add("hosts", json: state.hosts.json)
        json.add("connections", json: state.connections.json)
        json.add("in_flight", json: state.inFlight.json)
        json.add("waiting", json: state.waiting.json)
        json.add("all_connections", json: state.allConnections.json)
        json.add("name", json: state.name.json)
        json.add("pools", lines: state.pools.map(\.json))
        let outcomes = state.outcomes.map { outcome in
            var json = JSONText()
            json.add("worker", outcome.worker)
            json.add("forwarded", outcome.outcome.isForwarded)
            json.add("outcome", outcome.outcome.text)
            return json.closed
        }
        json.add("workers", lines: outcomes)
        return json.closed
    }
}
