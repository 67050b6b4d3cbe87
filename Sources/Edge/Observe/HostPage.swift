// The page /registry/ID: everything about the hosts of one id, worker by worker.

/// One upstream connection.
struct ConnectionView: Equatable, Sendable {
    var isHTTP2 = false
    /// `dialling`, `handshaking`, `settling`, `ready` or `closed`.
    var phase = ""
    var address = ""
    var age = Duration.zero
    /// Since its last exchange ended; nil while it has one or is not open yet.
    var idle: Duration?
    var streams = 0
    /// Streams that the host allows; nil on HTTP/1.
    var streamLimit: Int?
    var served: UInt64 = 0
    var isDraining = false

    init() {}

    fileprivate var json: String {
        var json = JSONText()
        json.add("protocol", isHTTP2 ? "h2" : "h1")
        json.add("phase", phase)
        json.add("address", address)
        json.add("age_ms", milliseconds: age)
        json.add("idle_ms", milliseconds: idle)
        json.add("streams", streams)
        json.add("stream_limit", streamLimit)
        json.add("served", served)
        json.add("draining", isDraining)
        return json.closed
    }
}

/// One worker's pool for a host.
struct PoolView: Equatable, Sendable {
    var worker = 0
    /// In the worker's table: the next request for the host finds it.
    var isInTable = true
    var waiting = 0
    var dialling = 0
    var isResolving = false
    /// What made the last dial that failed fail; nil when none did.
    var lastDialFailure: String?
    /// `Limits.connectionRows` at most; `count` is all.
    var connections: [ConnectionView] = []
    var count = 0

    init() {}

    var json: String {
        var json = JSONText()
        json.add("worker", worker)
        json.add("in_table", isInTable)
        json.add("waiting", waiting)
        json.add("dialling", dialling)
        json.add("resolving", isResolving)
        json.add("last_dial_failure", lastDialFailure)
        json.add("connection_count", count)
        json.add("connections", lines: connections.map(\.json))
        return json.closed
    }
}

/// What is known of a host's name.
struct NameView: Equatable, Sendable {
    /// `literal`, `fresh`, `stale`, `expired`, `negative` or `unknown`.
    var state = "unknown"
    var isAsked = false
    var addresses: [String] = []
    var age: Duration?
    var timeLeft: Duration?
    var failure: String?

    init() {}

    var json: String {
        var json = JSONText()
        json.add("state", state)
        json.add("asked", isAsked)
        json.add("addresses", addresses)
        json.add("age_ms", milliseconds: age)
        json.add("time_left_ms", milliseconds: timeLeft)
        json.add("failure", failure)
        return json.closed
    }
}

/// One host client with its name, its pools and the parts of its key that /registry leaves out.
struct HostDetail: Sendable {
    var host = HostView()
    var isInRegistry = false
    var ca: String?
    var serverName: String?
    var verifies = true
    var name = NameView()
    var pools: [PoolView] = []

    init() {}

    fileprivate var json: String {
        var json = JSONText()
        host.add(to: &json)
        json.add("in_registry", isInRegistry)
        json.add("ca", ca)
        json.add("server_name", serverName)
        json.add("verify", verifies)
        json.add("name", json: name.json)
        json.add("workers", lines: pools.map(\.json))
        return json.closed
    }
}

/// Renders /registry/ID.
enum HostPage {
    static func render(id: String, _ hosts: [HostDetail]) -> [UInt8] {
        var json = JSONText()
        json.add("id", id)
        json.add("hosts", lines: hosts.map(\.json))
        return Array((json.closed + "\n").utf8)
    }
}

extension Limits {
    /// 64 connections of one worker to one host are listed; the others are only counted.
    static let connectionRows = 64
}
