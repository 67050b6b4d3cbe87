import Glibc
import Testing

@testable import Edge

private let minimal = """
    listeners:
      - address: "127.0.0.1:0"
    routes:
      - path: /
        upstream: http://app

    """

/// The lines of all errors; empty when there are none.
private func errors(_ yaml: String) -> [String] {
    do throws(ConfigurationErrors) {
        _ = try Configuration.parse(yaml, file: "edge.yaml", folder: "/etc/edge")
        return []
    } catch { return error.lines }
}

@Suite("A configuration") struct ConfigurationTests {
    @Test("has the documented defaults")
    func defaults() throws {
        let configuration = try Configuration.parse(minimal, file: "edge.yaml", folder: "")
        #expect((1...256).contains(configuration.workers))
        #expect(configuration.upstream.dialTimeout == .seconds(3))
        #expect(configuration.upstream.handshakeTimeout == .seconds(5))
        #expect(configuration.upstream.responseTimeout == .seconds(60))
        #expect(configuration.upstream.idleTimeout == .seconds(60))
        #expect(configuration.upstream.queueTimeout == .seconds(10))
        #expect(configuration.upstream.keepalive == .seconds(60))
        #expect(configuration.upstream.maxConnectionsPerHost == 256)
        #expect(configuration.upstream.maxInFlightPerHost == 1024)
        #expect(configuration.upstream.maxQueuePerHost == 1024)
        #expect(configuration.registry.maxHosts == 10_000)
        #expect(configuration.registry.maxConnections == 8192)
        #expect(configuration.registry.hostIdle == .seconds(600))
        #expect(configuration.resolver.servers.isEmpty)
        #expect(configuration.resolver.search)
        #expect(configuration.resolver.maxTTL == .seconds(300))
        #expect(configuration.resolver.stale == .seconds(30))
        #expect(configuration.timeouts.head == .seconds(10))
        #expect(configuration.timeouts.idle == .seconds(75))
        #expect(configuration.limits.maxStreams == 128)
        #expect(configuration.limits.underscoreFields == .drop)
        #expect(configuration.trustedProxies.isEmpty)
        #expect(configuration.accessLog.path == "/dev/stdout")
        #expect(configuration.accessLog.format == .json)
        #expect(configuration.admin == nil)
        #expect(configuration.shutdown.grace == .seconds(30))
        #expect(configuration.logLevel == .info)
        #expect(configuration.listeners[0].tls == nil)
        #expect(configuration.listeners[0].redirectPort == 443)
        let route = configuration.routes[0]
        #expect(route.versions == [.http11, .http2])
        #expect(route.host == .preserve)
        #expect(route.timeouts.dialTimeout == .seconds(3))
    }

    @Test("takes every option")
    func everything() throws {
        let yaml = """
            workers: 2
            listeners:
              - address: ":8443"
                tls:
                  certificates:
                    - {certificate: a.pem, key: /keys/a.key}
                    - {certificate: b.pem, key: b.key, default: true}
                  min_version: 1.3
                  alpn: [http/1.1]
                  ticket_keys: tickets.bin
                  ticket_rotation: 1h30m
                  key_log: keys.log
              - address: "[::1]:80"
                redirect_to_https: true
                redirect_port: 8443
              - address: unix:/run/edge.sock
            routes:
              - path: /api
                id: {segment: 2, pattern: "[a-z0-9]{1,20}"}
                upstream: "https://id-{id}.apps:8080"
                versions: ["2"]
                host: upstream
                tls: {ca: ca.pem, server_name: apps.internal, verify: false}
                timeouts: {dial_timeout: 250ms, idle_timeout: 12h}
              - path: /
                upstream: http://127.0.0.1:3000
                versions: [h2c]
            upstream: {dial_timeout: 1s, response_timeout: 2s}
            resolver: {servers: ["127.0.0.1:5353", "::1", "[::1]:54"], search: false}
            trusted_proxies: ["10.0.0.0/8", "fd00::/8"]
            access_log: {path: off, format: common}
            admin: {address: "127.0.0.1:9090"}
            log_level: debug
            """
        let configuration = try Configuration.parse(yaml, file: "x", folder: "/etc/edge")
        let tls = try #require(configuration.listeners[0].tls)
        #expect(tls.certificates.map { $0.certificate } == ["/etc/edge/a.pem", "/etc/edge/b.pem"])
        #expect(tls.certificates.map { $0.key } == ["/keys/a.key", "/etc/edge/b.key"])
        #expect(tls.defaultCertificate == 1)
        #expect(tls.minVersion == .tls13)
        #expect(tls.alpn == [.http11])
        #expect(tls.ticketRotation == .seconds(5400))
        #expect(tls.ticketKeys == "/etc/edge/tickets.bin")
        #expect(
            configuration.listeners.map { $0.address.text } == [
                ":8443", "[::1]:80", "unix:/run/edge.sock",
            ])
        #expect(configuration.listeners[1].redirectToHTTPS)
        let route = configuration.routes[0]
        #expect(route.id == .segment(2))
        #expect(route.pattern != nil)
        #expect(route.upstream.description == "https://id-{id}.apps:8080")
        #expect(route.versions == .http2)
        #expect(route.host == .upstream)
        let upstreamTLS = UpstreamTLSSettings(
            ca: "/etc/edge/ca.pem", serverName: "apps.internal", verify: false)
        #expect(route.tls == upstreamTLS)
        #expect(route.timeouts.dialTimeout == .milliseconds(250))
        #expect(route.timeouts.responseTimeout == .seconds(2))
        #expect(route.timeouts.idleTimeout == .seconds(43_200))
        #expect(configuration.routes[1].versions == .h2c)
        #expect(configuration.routes[1].timeouts.dialTimeout == .seconds(1))
        #expect(
            configuration.resolver.servers.map { $0.text } == [
                "127.0.0.1:5353", "[::1]:53", "[::1]:54",
            ])
        #expect(configuration.trustedProxies.count == 2)
        #expect(configuration.accessLog.path == nil)
        #expect(configuration.admin?.address.text == "127.0.0.1:9090")
        _ = try RouteTable(configuration.routeDefinitions)
        let summary = configuration.summary()
        #expect(summary.contains("listener :8443: TLS 1.3 and later, 2 certificates, http/1.1\n"))
        #expect(summary.contains("route /api: https://id-{id}.apps:8080, id from path segment 2"))
        #expect(summary.contains("access log: off\n"))
    }

    @Test("is documented as it is declared")
    func reference() throws {
        let folder = #filePath.split(separator: "/").dropLast(4).joined(separator: "/")
        let bytes = try readFile("/\(folder)/docs/configuration.md").get()
        #expect(String(decoding: bytes, as: UTF8.self) == Configuration.reference())
    }

    @Test("is found in a file, with names relative to its folder")
    func file() throws {
        let name = "/tmp/edge-configuration-\(getpid()).yaml"
        let yaml = minimal + "access_log: {path: access.log}\n"
        let descriptor = unsafe open(name, O_CREAT | O_WRONLY | O_TRUNC, 0o600)
        defer { _ = unsafe unlink(name) }
        let bytes = Array(yaml.utf8)
        #expect(unsafe write(descriptor, bytes, bytes.count) == bytes.count)
        close(descriptor)
        #expect(try Configuration.load(path: name).accessLog.path == "/tmp/access.log")
        let error = #expect(throws: ConfigurationErrors.self) {
            try Configuration.load(path: "/nowhere/edge.yaml")
        }
        let expected =
            "/nowhere/edge.yaml:1:1: the file cannot be opened: No such file or directory"
        #expect(error?.description == expected)
    }

    @Test("comes from the command line too")
    func commandLine() throws {
        let configuration = try Configuration.fromCommandLine(
            listen: "127.0.0.1:8443", certificate: "c.pem", key: "k.pem", idPath: "/api",
            upstream: "http://id-{id}.apps", admin: "127.0.0.1:9090", workers: 3,
            resolver: "127.0.0.1:5353", accessLog: "off")
        #expect(configuration.workers == 3)
        #expect(configuration.listeners[0].tls?.certificates[0].key == "k.pem")
        #expect(configuration.routes[0].id == .query("id"))
        #expect(configuration.resolver.servers.map { $0.text } == ["127.0.0.1:5353"])
        let error = #expect(throws: ConfigurationErrors.self) {
            try Configuration.fromCommandLine(
                listen: "x", certificate: "c.pem", key: nil, idPath: "api",
                upstream: "http://{id}.{id}", admin: "0.0.0.0:1", workers: 0, resolver: "x",
                accessLog: nil)
        }
        #expect(
            error?.lines == [
                "--certificate: needs --key as well",
                "--listen: address: expected host:port, [v6]:port, :port or unix:/path, found 'x'",
                "--id-path: path: a route's path starts with '/'",
                "--upstream: upstream: {id} is given more than once, at character 13",
                "--admin: address: the admin listener is not protected; expected "
                    + "a loopback address with a port, or unix:/path, found '0.0.0.0:1'",
                "--resolver: servers: expected a list, each an IP address with an optional port, "
                    + "found 'x'",
                "--workers: workers: expected a whole number from 1 to 256, found '0'",
            ])
    }
}

@Suite("Mistakes in a configuration") struct ConfigurationMistakeTests {
    @Test(
        "of one line at the top level",
        arguments: [
            ("workers: 0", "6:10: workers: expected a whole number from 1 to 256, found '0'"),
            ("workers: many", "6:10: workers: expected a whole number from 1 to 256, found 'many'"),
            ("workers:", "6:9: workers: expected a whole number from 1 to 256, found nothing"),
            ("workers: [1]", "6:10: workers: expected a whole number from 1 to 256, found a list"),
            ("worker: 1", "6:1: unknown key 'worker'; did you mean 'workers'?"),
            ("listner: 1", "6:1: unknown key 'listner'; did you mean 'listeners'?"),
            ("zzz: 1", "6:1: unknown key 'zzz'"),
            ("<<: 1", "6:1: merge keys ('<<') are not supported"),
            ("[a]: 1", "6:1: a key is expected to be a word"),
            (
                "log_level: loud",
                "6:12: log_level: expected 'trace' or 'debug' or 'info' or 'notice' or 'warning' or 'error' or 'critical', found 'loud'"
            ),
            ("timeouts: 3s", "6:11: timeouts: expected a mapping, found '3s'"),
            ("timeouts: {head: 3}", "6:18: head: expected a duration from 1ms to 24h, found '3'"),
            (
                "timeouts: {head: 25h}",
                "6:18: head: expected a duration from 1ms to 24h, found '25h'"
            ),
            (
                "timeouts: {head: -1s}",
                "6:18: head: expected a duration from 1ms to 24h, found '-1s'"
            ),
            ("timeouts: {heed: 1s}", "6:12: unknown key 'heed'; did you mean 'head'?"),
            (
                "limits: {max_streams: 0}",
                "6:23: max_streams: expected a whole number from 1 to 10000, found '0'"
            ),
            (
                "limits: {underscore_fields: keep}",
                "6:29: underscore_fields: expected 'drop' or 'pass' or 'reject', found 'keep'"
            ),
            (
                "resolver: {servers: [dns]}",
                "6:22: servers: expected a list, each an IP address with an optional port, found 'dns'"
            ),
            (
                "resolver: {servers: 1.1.1.1}",
                "6:21: servers: expected a list, each an IP address with an optional port, found '1.1.1.1'"
            ),
            ("resolver: {search: yes}", "6:20: search: expected true or false, found 'yes'"),
            ("resolver: {min_ttl: 10m}", "6:21: min_ttl: 10m is more than max_ttl, 5m"),
            (
                "trusted_proxies: [10.0.0.1/8]",
                "6:19: trusted_proxies: expected a list, each an address or a range such as 10.0.0.0/8, found '10.0.0.1/8'"
            ),
            ("access_log: {format: xml}", "6:22: format: expected 'json' or 'common', found 'xml'"),
            ("admin: {}", "6:8: key 'address' is missing"),
            (
                "admin: {address: ':9090'}",
                "6:18: address: the admin listener is not protected; expected a loopback address with a port, or unix:/path, found ':9090'"
            ),
            (
                "admin: {address: '127.0.0.1'}",
                "6:18: address: expected a loopback address with a port, or unix:/path, found '127.0.0.1'"
            ),
            ("routes: []", "3:1: key 'routes' is given twice; this is the first"),
            ("\"routes\": []", "3:1: key 'routes' is given twice; this is the first"),
            ("!x routes: []", "6:1: key 'routes' is given twice"),
            ("a: *b", "6:4: not YAML: found undefined alias"),
        ])
    func topLevel(line: String, expected: String) {
        #expect(errors(minimal + line + "\n") == ["edge.yaml:" + expected])
    }

    @Test(
        "of a listener",
        arguments: [
            ("{}", "2:5: key 'address' is missing"),
            (
                "{address: 80}",
                "2:15: address: expected host:port, [v6]:port, :port or unix:/path, found '80'"
            ),
            (
                "{address: 'example.com:80'}",
                "2:15: address: expected host:port, [v6]:port, :port or unix:/path, found 'example.com:80'"
            ),
            (
                "{address: '::1:80'}",
                "2:15: address: expected host:port, [v6]:port, :port or unix:/path, found '::1:80'"
            ),
            (
                "{address: ':65536'}",
                "2:15: address: expected host:port, [v6]:port, :port or unix:/path, found ':65536'"
            ),
            ("{address: ':1', tls: {}}", "2:26: key 'certificates' is missing"),
            (
                "{address: ':1', tls: {certificates: []}}",
                "2:41: certificates: at least one is needed"
            ),
            (
                "{address: ':1', tls: {certificates: [{key: a}]}}",
                "2:42: key 'certificate' is missing"
            ),
            (
                "{address: ':1', tls: {certificates: [{certificate: c, key: k}], alpn: [h3]}}",
                "2:76: alpn: expected a list of 'h2', 'http/1.1', found 'h3'"
            ),
            (
                "{address: ':1', tls: {certificates: [{certificate: c, key: k}], alpn: [h2, h2]}}",
                "2:80: alpn: 'h2' is given twice"
            ),
            (
                "{address: ':1', tls: {certificates: [{certificate: c, key: k}], min_version: 1.1}}",
                "2:82: min_version: expected '1.2' or '1.3', found '1.1'"
            ),
            (
                "{address: ':1', tls: {certificates: [{certificate: c, key: k}]}, redirect_to_https: true}",
                "2:89: redirect_to_https: a listener with 'tls' serves https already"
            ),
            (
                "{address: ':1', tls: {certificates: [{certificate: c, key: k, default: true}, {certificate: c, key: k, default: true}]}}",
                "2:117: default: another certificate is the default"
            ),
            ("{address: ':80'}\n  - {address: ':80'}", "3:15: address: ':80' is listened on twice"),
        ])
    func listener(listener: String, expected: String) {
        let yaml = "listeners:\n  - \(listener)\nroutes: [{path: /, upstream: 'http://a'}]\n"
        #expect(errors(yaml) == ["edge.yaml:" + expected])
    }

    @Test(
        "of a route",
        arguments: [
            ("{path: /}", "3:5: key 'upstream' is missing"),
            ("{upstream: 'http://a'}", "3:5: key 'path' is missing"),
            ("{path: api, upstream: 'http://a'}", "3:12: path: a route's path starts with '/'"),
            (
                "{path: /a/../b, upstream: 'http://a'}",
                "3:12: path: the path is not in normal form; write '/b'"
            ),
            (
                "{path: /, upstream: 'ftp://a'}",
                "3:25: upstream: an upstream starts with 'http://' or 'https://', at character 1"
            ),
            (
                "{path: /, upstream: 'http://{id}.a'}",
                "3:25: upstream: {id} is given, but the route has no 'id'"
            ),
            (
                "{path: /, upstream: 'http://a', id: {query: id}}",
                "3:25: upstream: the route has an 'id', but {id} is not given"
            ),
            (
                "{path: /, upstream: 'http://{id}.a', id: {}}",
                "3:46: id: expected one of 'query', 'segment', 'field', 'host_label', found none"
            ),
            (
                "{path: /, upstream: 'http://{id}.a', id: {query: a, segment: 1}}",
                "3:46: id: expected one of 'query', 'segment', 'field', 'host_label', found 'query', 'segment'"
            ),
            (
                "{path: /, upstream: 'http://{id}.a', id: {query: 'a b'}}",
                "3:54: query: expected a parameter name, found 'a b'"
            ),
            (
                "{path: /, upstream: 'http://{id}.a', id: {field: x_id}}",
                "3:54: field: expected a field name, found 'x_id'"
            ),
            (
                "{path: /, upstream: 'http://{id}.a', id: {segment: 0}}",
                "3:56: segment: expected a whole number from 1 to 63, found '0'"
            ),
            (
                "{path: /, upstream: 'http://{id}.a', id: {host_label: false}}",
                "3:59: host_label: expected true, found 'false'"
            ),
            (
                "{path: /, upstream: 'http://{id}.a', id: {query: a, pattern: 'A'}}",
                "3:66: pattern: only a-z, 0-9 and '-' can be part of an id, at character 1"
            ),
            (
                "{path: /, upstream: 'http://a', versions: ['2']}",
                "3:47: versions: '2' is for https upstreams; for http, use 'h2c'"
            ),
            (
                "{path: /, upstream: 'https://a', versions: [h2c]}",
                "3:48: versions: 'h2c' is for http upstreams; for https, use '2'"
            ),
            (
                "{path: /, upstream: 'https://a', versions: []}",
                "3:48: versions: at least one is needed"
            ),
            (
                "{path: /, upstream: 'https://a', versions: 2}",
                "3:48: versions: expected a list of '1.1', '2', 'h2c', found '2'"
            ),
            (
                "{path: /, upstream: 'http://a', tls: {verify: false}}",
                "3:37: tls: the upstream is http; write 'https://'"
            ),
            (
                "{path: /, upstream: 'https://a', tls: {server_name: 'a b'}}",
                "3:57: server_name: expected a host name, found 'a b'"
            ),
            (
                "{path: /, upstream: 'https://a', timeouts: {dial_timeout: 0s}}",
                "3:63: dial_timeout: expected a duration from 1ms to 24h, found '0s'"
            ),
            (
                "{path: /, upstream: 'http://a', host: client}",
                "3:43: host: expected 'preserve' or 'upstream', found 'client'"
            ),
            (
                "{path: /, upstream: 'http://a'}\n  - {path: /, upstream: 'http://b'}",
                "4:12: path: two routes have the path '/'"
            ),
        ])
    func route(route: String, expected: String) {
        let yaml = "listeners: [{address: ':0'}]\nroutes:\n  - \(route)\n"
        #expect(errors(yaml) == ["edge.yaml:" + expected])
    }

    @Test(
        "of the whole document",
        arguments: [
            ("", ["1:1: the configuration is empty"]),
            ("# nothing\n", ["1:1: the configuration is empty"]),
            ("hello", ["1:1: the configuration: expected a mapping, found 'hello'"]),
            ("- a", ["1:1: the configuration: expected a mapping, found a list"]),
            ("{}", ["1:1: key 'listeners' is missing", "1:1: key 'routes' is missing"]),
            ("a: b: c", ["1:5: not YAML: mapping values are not allowed in this context"]),
            (
                "a: [1",
                [
                    "2:1: not YAML: did not find expected ',' or ']' (while parsing a flow sequence, line 1)"
                ]
            ),
            (
                "a: 1\n---\nb: 1\n",
                [
                    "2:1: not YAML: but found another document (expected a single document in the stream, line 1)"
                ]
            ),
            (
                "listeners: []\nroutes: 1\n",
                [
                    "1:12: listeners: at least one is needed",
                    "2:9: routes: expected a list of mappings, found '1'",
                ]
            ),
            (
                "routes: [1]\nworkers: x\n",
                [
                    "1:1: key 'listeners' is missing",
                    "1:10: routes[]: expected a mapping, found '1'",
                    "2:10: workers: expected a whole number from 1 to 256, found 'x'",
                ]
            ),
        ])
    func document(yaml: String, expected: [String]) {
        #expect(errors(yaml) == expected.map { "edge.yaml:" + $0 })
    }

    @Test("of encoding, at the first byte that is wrong")
    func encoding() {
        let error = #expect(throws: ConfigurationErrors.self) {
            try Configuration.parse(Array("a: 1\nb: ä".utf8) + [0xFF], file: "e", folder: "")
        }
        #expect(error?.lines == ["e:2:5: the file is not UTF-8 text"])
    }

    @Test("of nesting, without exhausting the stack")
    func nesting() {
        for piece in ["[", "{a: ", "- ", "? ", "a: [", "[\"]\", "] {
            #expect(!errors(String(repeating: piece, count: 50_000)).isEmpty)
        }
        var bomb = "a0: &a0 [x]\n"
        for level in 1...40 {
            bomb += "a\(level): &a\(level) [*a\(level - 1), *a\(level - 1), *a\(level - 1)]\n"
        }
        #expect(!errors(bomb).isEmpty)
    }

    @Test("of any bytes are reported without trapping", arguments: 0..<8 as Range<UInt64>)
    func randomBytes(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        let text = Array(minimal.utf8)
        let alphabet = Array("[]{}:,-?&*!|>'\"%@`#~\n\t \\x\u{7F}é".utf8) + [0, 0xFF, 0x80]
        for _ in 0..<150 {
            var bytes = text
            for _ in 0..<Int.random(in: 1...6, using: &random) {
                let place = Int.random(in: 0..<bytes.count, using: &random)
                let byte = alphabet.randomElement(using: &random) ?? 0
                switch Int.random(in: 0..<3, using: &random) {
                case 0: bytes[place] = byte
                case 1: bytes.insert(byte, at: place)
                default: bytes.removeSubrange(place..<min(place + 5, bytes.count - 1))
                }
            }
            do throws(ConfigurationErrors) {
                _ = try Configuration.parse(bytes, file: "x", folder: "")
            } catch { #expect(!error.lines.isEmpty) }
        }
    }
}

@Suite("An address range") struct AddressRangeTests {
    @Test(
        "holds the addresses that share its prefix",
        arguments: [
            ("10.0.0.0/8", [10, 255, 0, 1], true), ("10.0.0.0/8", [11, 0, 0, 1], false),
            ("0.0.0.0/0", [1, 2, 3, 4], true), ("192.168.1.7", [192, 168, 1, 7], true),
            ("192.168.1.7", [192, 168, 1, 6], false), ("10.0.0.0/8", [10], false),
            ("10.0.0.0/8", [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 1], true),
            ("fd00::/8", [0xFD, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], true),
            ("fd00::/8", [0xFE, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], false),
            ("::1", [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], true),
            ("::/0", [10, 0, 0, 1], false),
            ("::/64", [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1], false),
        ] as [(String, [UInt8], Bool)])
    func contains(range: String, address: [UInt8], isInside: Bool) throws {
        let range = try #require(AddressRange(range))
        #expect(address.withBytes { range.contains($0) } == isInside)
    }

    @Test(
        "is refused otherwise",
        arguments: [
            "", "/", "10.0.0.0/33", "10.0.0.1/8", "::/129", "a/8", "10.0.0.0/8/8", "10.0.0.0/",
            "10.0.0.0/+8", "fd00::1/8",
        ])
    func mistakes(text: String) { #expect(AddressRange(text) == nil) }
}

@Suite("A duration") struct DurationTextTests {
    @Test(
        "is written as it is read",
        arguments: ["250ms", "3s", "5m", "12h", "1h30m", "1s500ms", "0s"])
    func reading(text: String) { #expect(Duration(text: text)?.text == text) }

    @Test(
        "is refused without a unit or out of order",
        arguments: [
            "", "3", "s", "3 s", "-3s", "1.5s", "3d", "1m1h", "1s1s", "9999999999999s",
            "999999999999h", "３s",
        ])
    func mistakes(text: String) { #expect(Duration(text: text) == nil) }
}
