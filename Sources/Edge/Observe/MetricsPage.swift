// The page /metrics: Prometheus' text format 0.0.4.

/// What /metrics shows besides the counters; filled by the control plane.
struct MetricsView: Sendable {
    var totals = CounterTotals()
    var version = "0"
    var workers = 0
    var start = WallTime(nanoseconds: 0)
    var isDraining = false
    /// Host clients in the registry and how many it may hold.
    var registryHosts = 0
    var registryHostLimit = 0
    var registryEvictions: UInt64 = 0
    var upstreamIdle = 0
    var waiting = 0
    /// Host clients whose breaker is open or half open.
    var openHosts = 0
    /// Bytes lent to queues and heads, and bytes in the workers' free lists.
    var bufferBytes = 0
    var bufferFreeBytes = 0
    /// Memory that `max_memory` bounds, and that bound.
    var memoryBytes = 0
    var memoryLimit = 0
    /// Client addresses that are remembered for limits per address.
    var clientAddresses = 0
    /// What is known of ids, and how many of them are named.
    var ids = IDSums()
    var topIDs = 0
    var residentBytes: Int?
    var openDescriptors: Int?
    var descriptorLimit: Int?
    var processorTime = Duration.zero

    init() {}

    /// With the figures that the system knows about this process.
    static func ofThisProcess(_ totals: CounterTotals) -> MetricsView {
        var view = MetricsView()
        view.totals = totals
        view.residentBytes = ProcessFigures.residentBytes()
        view.openDescriptors = ProcessFigures.openDescriptors()
        view.descriptorLimit = ProcessFigures.descriptorLimit()
        view.processorTime = ProcessFigures.processorTime()
        return view
    }
}

/// Renders /metrics.
///
/// Every label's values come from a fixed set, or are ids of which `metrics.top_ids` bounds the
/// number, so that the page cannot grow.
enum MetricsPage {
    static let contentType: StaticString = "text/plain; version=0.0.4; charset=utf-8"

    static func render(_ view: MetricsView) -> [UInt8] {
        var page = MetricsWriter()
        requests(view.totals, &page)
        ids(view.ids, top: view.topIDs, &page)
        front(view.totals, &page)
        upstream(view, &page)
        failures(view.totals, &page)
        ledger(view.totals, &page)
        controlPlane(view, &page)
        process(view, &page)
        return page.bytes
    }

    private static func requests(_ totals: CounterTotals, _ page: inout MetricsWriter) {
        page.begin("edge_requests_total", .counter, "Requests that ended, by protocol and status.")
        for version in [Version.http10, .http11, .http2] {
            for status in 100..<600 where totals.requests(version, status: status) > 0 {
                page.sample(
                    totals.requests(version, status: status),
                    [("protocol", version.name.description), ("code", String(status))])
            }
            let other = totals.requests(version, status: 0)
            guard other > 0 else { continue }
            page.sample(other, [("protocol", version.name.description), ("code", "other")])
        }
        page.begin(
            "edge_request_duration_seconds", .histogram, "Time from first byte in to last byte out."
        )
        var sum: UInt64 = 0
        for bucket in 0..<CounterLayout.buckets {
            sum += totals.durations(bucket)
            let isLast = bucket == CounterLayout.buckets - 1
            let bound = isLast ? "+Inf" : seconds(Int64(1_000_000) << Int64(bucket))
            page.sample(sum, [("le", bound)], suffix: "_bucket")
        }
        let nanoseconds = Int64(clamping: totals[.requestNanoseconds])
        page.sample(text: seconds(nanoseconds), [], suffix: "_sum")
        page.sample(sum, [], suffix: "_count")
    }

    private static func front(_ totals: CounterTotals, _ page: inout MetricsWriter) {
        page.gauge(
            "edge_front_connections", "Connections to clients.", totals.live(.frontSocket))
        page.counter(
            "edge_front_connections_total", "Connections accepted.", totals[.frontAccepted])
        page.counter(
            "edge_front_connections_closed_total", "Connections to clients closed.",
            totals[.frontClosed])
        page.begin(
            "edge_front_connections_refused_total", .counter,
            "Connections closed as soon as they were accepted, by reason.")
        for reason in ConnectionRefusal.allCases {
            page.sample(totals.refusals(reason), [("reason", reason.name.description)])
        }
        page.begin("edge_front_bytes_total", .counter, "Bytes exchanged with clients, before TLS.")
        page.sample(totals[.frontBytesIn], [("direction", "in")])
        page.sample(totals[.frontBytesOut], [("direction", "out")])
        page.begin("edge_handshakes_total", .counter, "TLS handshakes with clients.")
        page.sample(totals[.handshakesFull], [("result", "success"), ("resumed", "false")])
        page.sample(totals[.handshakesResumed], [("result", "success"), ("resumed", "true")])
        page.sample(totals[.handshakesFailed], [("result", "failure"), ("resumed", "false")])
        page.begin("edge_stream_resets_total", .counter, "HTTP/2 streams reset.")
        page.sample(totals[.streamResetsReceived], [("by", "peer")])
        page.sample(totals[.streamResetsSent], [("by", "proxy")])
        page.begin("edge_goaways_total", .counter, "HTTP/2 GOAWAY frames.")
        page.sample(totals[.goawaysReceived], [("by", "peer")])
        page.sample(totals[.goawaysSent], [("by", "proxy")])
        page.begin(
            "edge_oddities_total", .counter,
            "What HTTP/2 peers did that is allowed in small numbers, by kind.")
        for kind in Oddity.allCases {
            page.sample(totals.oddities(kind), [("kind", kind.name.description)])
        }
        page.begin(
            "edge_floods_total", .counter,
            "HTTP/2 connections ended as floods, by the oddity that was one too many.")
        for kind in Oddity.allCases {
            page.sample(totals.floods(kind), [("kind", kind.name.description)])
        }
    }

    private static func upstream(_ view: MetricsView, _ page: inout MetricsWriter) {
        let totals = view.totals
        page.gauge(
            "edge_upstream_connections", "Connections to services.", totals.live(.upstreamSocket))
        page.gauge(
            "edge_upstream_idle_connections", "Connections to services without an exchange.",
            Int64(view.upstreamIdle))
        page.counter("edge_upstream_dials_total", "Dials begun.", totals[.upstreamDials])
        page.counter(
            "edge_upstream_dial_failures_total", "Dials that failed.", totals[.upstreamDialFailures]
        )
        page.counter(
            "edge_upstream_reused_total", "Exchanges on a connection that had served before.",
            totals[.upstreamReused])
        page.counter(
            "edge_upstream_handovers_total",
            "Connections that one worker has taken over from another.", totals[.upstreamHandovers])
        page.counter(
            "edge_key_violations_total",
            "Requests kept from a connection that was not opened for them: 0, or a defect.",
            totals[.keyViolations])
        page.counter(
            "edge_upstream_redials_total", "Dials put off because every address had refused.",
            totals[.upstreamRedials])
        page.counter(
            "edge_upstream_stale_total", "Connections found ended when a request needed one.",
            totals[.upstreamStale])
        page.counter(
            "edge_upstream_aged_total", "Connections that have reached `max_age`.",
            totals[.upstreamAged])
        page.counter(
            "edge_upstream_pings_total", "HTTP/2 connections to services asked for a sign of life.",
            totals[.upstreamPings])
        page.counter(
            "edge_upstream_unpooled_total", "Exchanges served without a host client.",
            totals[.upstreamUnpooled])
        page.begin(
            "edge_upstream_bytes_total", .counter, "Bytes exchanged with services, before TLS.")
        page.sample(totals[.upstreamBytesIn], [("direction", "in")])
        page.sample(totals[.upstreamBytesOut], [("direction", "out")])
        page.begin("edge_upstream_handshakes_total", .counter, "TLS handshakes with services.")
        page.sample(totals[.upstreamHandshakesFull], [("result", "success"), ("resumed", "false")])
        page.sample(
            totals[.upstreamHandshakesResumed], [("result", "success"), ("resumed", "true")])
        page.sample(
            totals[.upstreamHandshakesFailed], [("result", "failure"), ("resumed", "false")])
        page.gauge("edge_registry_hosts", "Host clients.", Int64(view.registryHosts))
        page.gauge("edge_registry_hosts_limit", "Most host clients.", Int64(view.registryHostLimit))
        page.counter(
            "edge_registry_evictions_total", "Host clients forgotten to make room.",
            view.registryEvictions)
        page.counter(
            "edge_breakers_opened_total", "Times that a host's breaker opened.",
            totals[.breakersOpened])
        page.gauge(
            "edge_open_hosts", "Host clients whose breaker is not closed.", Int64(view.openHosts))
        page.gauge("edge_waiting", "Exchanges that wait for a place.", Int64(view.waiting))
        page.counter("edge_resolver_queries_total", "DNS queries.", totals.opened(.resolverQuery))
        page.counter(
            "edge_resolver_failures_total", "DNS queries that failed.", totals[.resolverFailures])
        page.counter(
            "edge_upstream_resets_total", "Streams that services reset before their answer's end.",
            totals[.upstreamResets])
        page.counter(
            "edge_accept_pauses_total", "Times that accepting paused for want of descriptors.",
            totals[.acceptPauses])
    }

    private static func failures(_ totals: CounterTotals, _ page: inout MetricsWriter) {
        page.begin("edge_errors_total", .counter, "Exchanges that the proxy failed, by reason.")
        for reason in ErrorReason.allCases where reason != .none {
            page.sample(totals.errors(reason), [("reason", reason.name.description)])
        }
        page.begin("edge_retries_total", .counter, "Requests sent once more, by verdict.")
        for verdict in RetryVerdict.allCases where verdict != .none && verdict != .overBudget {
            page.sample(totals.retries(verdict), [("verdict", verdict.name.description)])
        }
        page.counter(
            "edge_retries_refused_total",
            "Requests not sent once more: the host's budget was spent.",
            totals.retries(.overBudget))
        page.begin("edge_timeouts_total", .counter, "Deadlines that passed.")
        for kind in TimeoutKind.allCases {
            page.sample(totals.timeouts(kind), [("kind", kind.name.description)])
        }
    }

    private static func ledger(_ totals: CounterTotals, _ page: inout MetricsWriter) {
        page.begin("edge_ledger_opened_total", .counter, "Things opened, by kind.")
        for kind in LedgerKind.allCases {
            page.sample(totals.opened(kind), [("kind", kind.name.description)])
        }
        page.begin("edge_ledger_closed_total", .counter, "Things closed, by kind.")
        for kind in LedgerKind.allCases {
            page.sample(totals.closed(kind), [("kind", kind.name.description)])
        }
        page.begin("edge_ledger_live", .gauge, "Things opened and not closed, by kind.")
        for kind in LedgerKind.allCases {
            page.sample(text: String(totals.live(kind)), [("kind", kind.name.description)])
        }
        page.counter(
            "edge_ledger_drift_total", "Walks that found another number than the ledger's.",
            totals[.ledgerDrifts])
    }

    private static func controlPlane(_ view: MetricsView, _ page: inout MetricsWriter) {
        let totals = view.totals
        page.begin("edge_reload_total", .counter, "Reloads of configuration and certificates.")
        page.sample(totals[.reloadsSucceeded], [("result", "success")])
        page.sample(totals[.reloadsFailed], [("result", "failure")])
        page.begin("edge_objects", .gauge, "Objects of reloads and of the registry, by kind.")
        for kind in LiveObject.Kind.allCases {
            page.sample(text: String(kind.count), [("kind", kind.name.description)])
        }
        page.counter(
            "edge_access_log_lines_total", "Access log lines written.", totals[.accessLogLines])
        page.counter(
            "edge_access_log_dropped_total", "Access log records dropped.",
            totals[.accessLogDropped])
        page.counter(
            "edge_access_log_write_errors_total", "Writes of the access log that failed.",
            totals[.accessLogWriteErrors])
        page.begin("edge_buffer_bytes", .gauge, "Memory of byte queues, by state.")
        page.sample(text: String(view.bufferBytes), [("state", "used")])
        page.sample(text: String(view.bufferFreeBytes), [("state", "free")])
        page.gauge(
            "edge_memory_bytes", "Memory of what is under way: buffers, HTTP/2 and TLS state.",
            Int64(view.memoryBytes))
        page.gauge(
            "edge_memory_limit_bytes", "Memory at which new work is refused.",
            Int64(view.memoryLimit))
        page.counter(
            "edge_memory_cut_total", "Exchanges cut because memory was used up.",
            totals[.memoryCuts])
        page.gauge(
            "edge_client_addresses", "Client addresses remembered for limits per address.",
            Int64(view.clientAddresses))
        page.gauge("edge_workers", "Worker threads.", Int64(view.workers))
        page.gauge("edge_draining", "1 while the process drains.", view.isDraining ? 1 : 0)
        page.begin("edge_build_info", .gauge, "Always 1; the version is a label.")
        page.sample(1, [("version", view.version)])
    }

    private static func process(_ view: MetricsView, _ page: inout MetricsWriter) {
        page.begin("process_start_time_seconds", .gauge, "Start of the process, in Unix time.")
        page.sample(text: seconds(view.start.nanoseconds), [])
        page.begin("process_cpu_seconds_total", .counter, "Processor time, user and system.")
        page.sample(text: seconds(view.processorTime.nanoseconds), [])
        if let bytes = view.residentBytes {
            page.gauge("process_resident_memory_bytes", "Resident memory.", Int64(bytes))
        }
        if let count = view.openDescriptors {
            page.gauge("process_open_fds", "Open descriptors.", Int64(count))
        }
        if let count = view.descriptorLimit {
            page.gauge("process_max_fds", "Most open descriptors.", Int64(count))
        }
    }

    /// Nanoseconds as decimal seconds without trailing zeros: `0.001`, `16.384`, `3`.
    static func seconds(_ nanoseconds: Int64) -> String {
        let (whole, rest) = max(0, nanoseconds).quotientAndRemainder(dividingBy: 1_000_000_000)
        guard rest != 0 else { return String(whole) }
        var digits = String(rest)
        digits = String(repeating: "0", count: 9 - digits.utf8.count) + digits
        while digits.hasSuffix("0") { digits.removeLast() }
        return "\(whole).\(digits)"
    }
}

/// Builds the exposition line by line.
struct MetricsWriter {
    enum Kind: String { case counter, gauge, histogram }

    private(set) var bytes: [UInt8] = []
    private var name = ""

    init() { bytes.reserveCapacity(16 * 1024) }

    mutating func begin(_ name: String, _ kind: Kind, _ help: String) {
        self.name = name
        append("# HELP \(name) \(help)\n# TYPE \(name) \(kind.rawValue)\n")
    }

    mutating func counter(_ name: String, _ help: String, _ value: UInt64) {
        begin(name, .counter, help)
        sample(value, [])
    }

    mutating func gauge(_ name: String, _ help: String, _ value: Int64) {
        begin(name, .gauge, help)
        sample(text: String(value), [])
    }

    mutating func sample(_ value: UInt64, _ labels: [(String, String)], suffix: String = "") {
        sample(text: String(value), labels, suffix: suffix)
    }

    mutating func sample(text: String, _ labels: [(String, String)], suffix: String = "") {
        append(name)
        append(suffix)
        var separator = "{"
        for (label, value) in labels {
            append("\(separator)\(label)=\"\(Self.escaped(value))\"")
            separator = ","
        }
        append(labels.isEmpty ? " \(text)\n" : "} \(text)\n")
    }

    private static func escaped(_ value: String) -> String {
        var result = ""
        for scalar in value.unicodeScalars {
            switch scalar {
            case "\\": result += "\\\\"
            case "\"": result += "\\\""
            case "\n": result += "\\n"
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result
    }

    private mutating func append(_ text: String) { bytes.append(contentsOf: text.utf8) }
}
