import Logging
import Synchronization
import Testing

@testable import Edge

@Suite("The page /metrics") struct MetricsPageTests {
    private func page(_ view: MetricsView) -> [String] {
        String(decoding: MetricsPage.render(view), as: UTF8.self)
            .split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    }

    @Test("shows what was counted")
    func values() {
        let counters = Counters(workers: 2)
        counters[0].request(.http2, status: 200, took: .milliseconds(3))
        counters[1].request(.http2, status: 200, took: .seconds(20))
        counters[1].request(.http11, status: 742, took: .zero)
        counters[0].open(.frontSocket)
        counters[0].add(.handshakesResumed, 3)
        counters[0].error(.dnsError)
        counters[0].retry(.unsent)
        counters[0].retry(.overBudget)
        counters[0].add(.breakersOpened, 2)
        counters[0].timeout(.idle)
        counters.control.add(.reloadsSucceeded)
        counters[1].add(.accessLogDropped, 9)
        var view = MetricsView()
        view.totals = counters.totals()
        view.version = "1.0 \"x\"\\"
        view.registryHosts = 12
        view.openHosts = 1
        view.bufferBytes = 4096
        view.residentBytes = 1 << 20
        view.openDescriptors = 31
        let lines = Set(page(view))
        for line in [
            "edge_requests_total{protocol=\"HTTP/2.0\",code=\"200\"} 2",
            "edge_requests_total{protocol=\"HTTP/1.1\",code=\"other\"} 1",
            "edge_request_duration_seconds_bucket{le=\"0.001\"} 1",
            "edge_request_duration_seconds_bucket{le=\"0.004\"} 2",
            "edge_request_duration_seconds_bucket{le=\"16.384\"} 2",
            "edge_request_duration_seconds_bucket{le=\"+Inf\"} 3",
            "edge_request_duration_seconds_sum 20.003",
            "edge_request_duration_seconds_count 3",
            "edge_front_connections 1",
            "edge_handshakes_total{result=\"success\",resumed=\"true\"} 3",
            "edge_errors_total{reason=\"dns_error\"} 1",
            "edge_retries_total{verdict=\"unsent\"} 1",
            "edge_retries_refused_total 1",
            "edge_breakers_opened_total 2",
            "edge_open_hosts 1",
            "edge_timeouts_total{kind=\"idle\"} 1",
            "edge_reload_total{result=\"success\"} 1",
            "edge_access_log_dropped_total 9",
            "edge_registry_hosts 12",
            "edge_buffer_bytes{state=\"used\"} 4096",
            "edge_ledger_live{kind=\"front_socket\"} 1",
            "edge_build_info{version=\"1.0 \\\"x\\\"\\\\\"} 1",
            "process_resident_memory_bytes 1048576",
            "process_open_fds 31",
        ] { #expect(lines.contains(line), "\(line)") }
    }

    @Test("is well-formed: HELP, TYPE, then samples of that name only, each name once")
    func wellFormed() {
        let counters = Counters(workers: 1)
        for status in 100..<600 { counters[0].request(.http11, status: status, took: .zero) }
        let lines = page(.ofThisProcess(counters.totals()))
        #expect(lines.last?.isEmpty == true)
        var names: Set<String> = []
        var name = ""
        for line in lines.dropLast() {
            let words = line.split(separator: " ", maxSplits: 3).map(String.init)
            if words[0] == "#" {
                if words[1] == "HELP" {
                    name = words[2]
                    #expect(names.insert(name).inserted)
                    #expect(words.count == 4)
                } else {
                    #expect(words[1] == "TYPE" && words[2] == name)
                    #expect(["counter", "gauge", "histogram"].contains(words[3]))
                }
                continue
            }
            #expect(line.hasPrefix(name))
            #expect(line.split(separator: " ").last.flatMap { Double(String($0)) } != nil)
        }
        #expect(lines.count < 2500)
    }

    @Test("an empty process shows no request lines, and no figures that are unknown")
    func empty() {
        let lines = page(MetricsView())
        #expect(!lines.contains { $0.hasPrefix("edge_requests_total{") })
        #expect(!lines.contains { $0.hasPrefix("process_open_fds") })
        #expect(lines.contains("edge_front_connections 0"))
    }
}

@Suite("The page /registry") struct RegistryPageTests {
    private func text(_ view: RegistryView) -> String {
        String(decoding: RegistryPage.render(view), as: UTF8.self)
    }

    @Test("shows hosts, totals and the ledger")
    func values() {
        var host = HostView()
        host.host = "id-42.apps"
        host.port = 80
        host.versions = ["1.1", "2"]
        host.learned = .h1
        host.connections = 1
        host.idle = 1
        host.dials = 1
        host.requests = 10
        host.reused = 9
        host.rest = .milliseconds(4000)
        host.health = .open
        host.consecutiveFailures = 3
        host.openFor = .milliseconds(1500)
        host.addresses = ["127.0.0.1"]
        host.idleFor = .milliseconds(12)
        var view = RegistryView()
        view.hosts = [host]
        view.next = "/registry?after=1&limit=1"
        view.hostCount = 1
        view.connections = 1
        view.ledger = [
            LedgerRow(
                kind: .frontSocket,
                workers: [
                    LedgerCount(opened: 4, closed: 4, walk: 0),
                    LedgerCount(opened: 6, closed: 5, walk: 1),
                ])
        ]
        view.openDescriptors = 31
        view.expectedDescriptors = 30
        view.strays = [StrayDescriptor(number: 17, link: "socket:[42]")]
        let expected = #"""
            {"hosts":[
            {"host":"id-42.apps","port":80,"scheme":"http","versions":["1.1","2"],\#
            "learned":"h1","connections":1,"idle":1,"in_flight":0,"waiting":0,"dials":1,\#
            "requests":10,"reused":9,"failures":0,"rest_ms":4000,\#
            "health":"open","consecutive_failures":3,\#
            "open_for_ms":1500,"addresses":["127.0.0.1"],"idle_for_ms":12}],
            "next":"/registry?after=1&limit=1",
            "totals":{"hosts":1,"connections":1,"evictions":0,"unpooled":0},
            "ledger":[
            {"kind":"front_socket","opened":10,"closed":9,"live":1,"walk":1,"workers":[\#
            {"opened":4,"closed":4,"live":0,"walk":0},{"opened":6,"closed":5,"live":1,"walk":1}]}],
            "descriptors":{"open":31,"expected":30,\#
            "stray":[{"descriptor":17,"link":"socket:[42]"}]},"drift":true}

            """#
        #expect(text(view) == expected)
        #expect(JSONChecker.accepts(text(view).utf8))
    }

    @Test("drift is a walk of any worker that does not fit, or a descriptor without an owner")
    func drift() {
        func view(_ workers: LedgerCount...) -> RegistryView {
            var view = RegistryView()
            view.ledger = [LedgerRow(kind: .timer, workers: workers)]
            return view
        }
        #expect(!RegistryView().hasDrifted)
        #expect(!view(LedgerCount(opened: 3, closed: 1, walk: 2)).hasDrifted)
        #expect(view(LedgerCount(opened: 3, closed: 1, walk: 1)).hasDrifted)
        let closedTwice = view(LedgerCount(opened: 0, closed: 1, walk: 0))
        #expect(text(closedTwice).contains("\"live\":-1,\"walk\":0"))
        #expect(text(closedTwice).hasSuffix("\"drift\":true}\n"))
        // One worker has too many where the other has too few: the sum fits.
        let apart = view(
            LedgerCount(opened: 2, closed: 0, walk: 1), LedgerCount(opened: 2, closed: 1, walk: 2))
        #expect(apart.ledger[0].sum.hasDrifted == false)
        #expect(apart.hasDrifted)
        var stray = RegistryView()
        stray.strays = [StrayDescriptor(number: 5, link: "socket:[1]")]
        #expect(stray.hasDrifted)
    }

    @Test("many hosts with odd names stay valid JSON")
    func odd() {
        var view = RegistryView()
        for scalar in ["\"", "\\", "\n", "\u{0}", "é", "😀", "\u{7F}"] {
            var host = HostView()
            host.host = "id-\(scalar)"
            view.hosts.append(host)
        }
        #expect(JSONChecker.accepts(text(view).utf8))
        #expect(JSONChecker.accepts(text(RegistryView()).utf8))
    }
}

@Suite("Figures of the process") struct ProcessFiguresTests {
    @Test("are plausible")
    func plausible() {
        #expect((ProcessFigures.residentBytes() ?? 0) > 1 << 20)
        #expect((ProcessFigures.openDescriptors() ?? 0) >= 3)
        #expect((ProcessFigures.descriptorLimit() ?? 0) >= 64)
        #expect(ProcessFigures.processorTime() > .zero)
    }
}

@Suite("The control-plane log") struct ControlLogTests {
    @Test("a line has time, level, message and sorted values")
    func line() {
        let line = ControlLog.line(
            WallTime(nanoseconds: 1_767_225_600_000_000_000), "info", "listening on [::]:8443",
            [("workers", "2"), ("path", "/a b"), ("cause", "say \"x\"\n\u{1B}"), ("none", "")])
        #expect(
            String(decoding: line, as: UTF8.self)
                == "2026-01-01T00:00:00.000Z info listening on [::]:8443 "
                + #"cause="say \"x\"\n\u{1b}" none="" path="/a b" workers=2"# + "\n")
    }

    @Test("a message cannot forge a line")
    func forged() {
        let line = ControlLog.line(WallTime(nanoseconds: 0), "error", "a\r\nb", [("k\n", "v")])
        #expect(
            String(decoding: line, as: UTF8.self)
                == "1970-01-01T00:00:00.000Z error a\\r\\nb k\\n=v\n")
    }

    @Test("the level is shared, can change, and can be overridden per logger")
    func levels() {
        let level = ControlLogLevel(.info)
        let written = Written()
        var logger = Logger(label: "test") { _ in
            ControlLog(level: level) { line in written.lines.withLock { $0.append(line) } }
        }
        logger[metadataKey: "worker"] = "1"
        logger.debug("not shown")
        logger.info("shown", metadata: ["host": "a"])
        level.current = .debug
        logger.debug("shown too")
        logger.logLevel = .error
        logger.warning("not shown")
        let lines = written.lines.withLock { $0.map { String(decoding: $0, as: UTF8.self) } }
        #expect(lines.count == 2)
        #expect(lines.first?.hasSuffix("Z info shown host=a worker=1\n") == true)
        #expect(lines.last?.hasSuffix("Z debug shown too worker=1\n") == true)
    }

    private final class Written: Sendable {
        let lines = Mutex<[[UInt8]]>([])
    }
}
