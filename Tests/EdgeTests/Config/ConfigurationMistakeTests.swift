import Testing

@testable import Edge

/// Words that stand for longer ones in the tables below.
private let abbreviations = [
    ("SERVERS", "a list, each an IP address with an optional port"),
    ("ADDRESS", "host:port, [v6]:port, :port or unix:/path"),
    ("LOCAL", "a loopback address with a port, or unix:/path"),
    ("RANGES", "a list, each an address or a range such as 10.0.0.0/8"),
    ("LEVELS", "one of 'trace', 'debug', 'info', 'notice', 'warning', 'error', 'critical'"),
    ("SOURCES", "one of 'query', 'segment', 'field', 'host_label'"),
    ("DEFAULT", "{certificate: c, key: k, default: true}"),
    ("PAIR", "{certificate: c, key: k}"),
    ("UNENDED", "did not find expected ',' or ']' (while parsing a flow sequence, line 1)"),
    ("ANOTHER", "but found another document (expected a single document in the stream, line 1)"),
]

private func inFull(_ text: String) -> String {
    abbreviations.reduce(text) { $0.replacing($1.0, with: $1.1) }
}

/// The lines of all errors; empty when there are none.
private func errors(_ yaml: String) -> [String] {
    do throws(ConfigurationErrors) {
        _ = try Configuration.parse(yaml, file: "edge.yaml", folder: "/etc/edge")
        return []
    } catch { return error.lines }
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
                "6:12: log_level: expected LEVELS, found 'loud'"
            ),
            ("timeouts: 3s", "6:11: timeouts: expected a mapping, found '3s'"),
            ("timeouts: {head: 3}", "6:18: head: expected a duration from 1ms to 1d, found '3'"),
            (
                "timeouts: {head: 25h}",
                "6:18: head: expected a duration from 1ms to 1d, found '25h'"
            ),
            (
                "timeouts: {head: -1s}",
                "6:18: head: expected a duration from 1ms to 1d, found '-1s'"
            ),
            ("timeouts: {heed: 1s}", "6:12: unknown key 'heed'; did you mean 'head'?"),
            (
                "limits: {max_streams: 0}",
                "6:23: max_streams: expected a whole number from 1 to 10000, found '0'"
            ),
            (
                "limits: {underscore_fields: keep}",
                "6:29: underscore_fields: expected one of 'drop', 'pass', 'reject', found 'keep'"
            ),
            (
                "resolver: {servers: [dns]}",
                "6:22: servers: expected SERVERS, found 'dns'"
            ),
            (
                "resolver: {servers: 1.1.1.1}",
                "6:21: servers: expected SERVERS, found '1.1.1.1'"
            ),
            ("resolver: {search: yes}", "6:20: search: expected true or false, found 'yes'"),
            (
                "registry: {max_share: 0}",
                "6:23: max_share: expected a whole number from 1 to 100, found '0'"
            ),
            (
                "upstream: {health: {failure_statuses: 500}}",
                "6:39: failure_statuses: expected one of 'none', 'gateway', 'all', found '500'"
            ),
            (
                "upstream: {health: {consecutive: 5}}",
                "6:21: unknown key 'consecutive'"
            ),
            ("upstream: {health: {open: 1m}}", "6:27: open: 1m is more than max_open, 30s"),
            (
                "upstream: {health: {max_open: 10ms}}",
                "6:31: open: 1s is more than max_open, 10ms"
            ),
            (
                "upstream: {retries: {percent: 101}}",
                "6:31: percent: expected a whole number from 0 to 100, found '101'"
            ),
            (
                "resolver: {first_seen_per_second: -1}",
                "6:35: first_seen_per_second: expected a whole number from 0 to 1000000, found '-1'"
            ),
            (
                "registry: {max_waiting: 0}",
                "6:25: max_waiting: expected a whole number from 1 to 1000000, found '0'"
            ),
            ("resolver: {min_ttl: 10m}", "6:21: min_ttl: 10m is more than max_ttl, 5m"),
            (
                "trusted_proxies: [10.0.0.1/8]",
                "6:19: trusted_proxies: expected RANGES, found '10.0.0.1/8'"
            ),
            ("access_log: {format: xml}", "6:22: format: expected 'json' or 'common', found 'xml'"),
            ("admin: {}", "6:8: key 'address' is missing"),
            (
                "admin: {address: ':9090'}",
                "6:18: address: the admin listener is not protected; expected LOCAL, found ':9090'"
            ),
            (
                "admin: {address: '127.0.0.1'}",
                "6:18: address: expected LOCAL, found '127.0.0.1'"
            ),
            ("routes: []", "3:1: key 'routes' is given twice; this is the first"),
            ("\"routes\": []", "3:1: key 'routes' is given twice; this is the first"),
            ("!x routes: []", "6:1: key 'routes' is given twice"),
            ("a: *b", "6:4: not YAML: found undefined alias"),
        ])
    func topLevel(line: String, expected: String) {
        #expect(errors(minimalConfiguration + line + "\n") == ["edge.yaml:" + inFull(expected)])
    }

    @Test(
        "of a listener",
        arguments: [
            ("{}", "2:5: key 'address' is missing"),
            (
                "{address: 80}",
                "2:15: address: expected ADDRESS, found '80'"
            ),
            (
                "{address: 'example.com:80'}",
                "2:15: address: expected ADDRESS, found 'example.com:80'"
            ),
            (
                "{address: '::1:80'}",
                "2:15: address: expected ADDRESS, found '::1:80'"
            ),
            (
                "{address: ':65536'}",
                "2:15: address: expected ADDRESS, found ':65536'"
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
                "{address: ':1', tls: {certificates: [PAIR], alpn: [h3]}}",
                "2:76: alpn: expected a list of 'h2', 'http/1.1', found 'h3'"
            ),
            (
                "{address: ':1', tls: {certificates: [PAIR], alpn: [h2, h2]}}",
                "2:80: alpn: 'h2' is given twice"
            ),
            (
                "{address: ':1', tls: {certificates: [PAIR], min_version: 1.1}}",
                "2:82: min_version: expected '1.2' or '1.3', found '1.1'"
            ),
            (
                "{address: ':1', tls: {certificates: [PAIR]}, redirect_to_https: true}",
                "2:89: redirect_to_https: a listener with 'tls' serves https already"
            ),
            (
                "{address: ':1', tls: {certificates: [DEFAULT, DEFAULT]}}",
                "2:117: default: another certificate is the default"
            ),
            ("{address: ':80'}\n  - {address: ':80'}", "3:15: address: ':80' is listened on twice"),
        ])
    func listener(listener: String, expected: String) {
        let yaml =
            "listeners:\n  - \(inFull(listener))\nroutes: [{path: /, upstream: 'http://a'}]\n"
        #expect(errors(yaml) == ["edge.yaml:" + inFull(expected)])
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
                "3:25: upstream: an upstream starts with 'http://' or 'https://', "
                    + "'srv+' before it or not, at character 1"
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
                "3:46: id: expected SOURCES, found none"
            ),
            (
                "{path: /, upstream: 'http://{id}.a', id: {query: a, segment: 1}}",
                "3:46: id: expected SOURCES, found 'query', 'segment'"
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
                "3:63: dial_timeout: expected a duration from 1ms to 1d, found '0s'"
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
        #expect(errors(yaml) == ["edge.yaml:" + inFull(expected)])
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
                    "1:6: not YAML: UNENDED"
                ]
            ),
            (
                "a: 1\n---\nb: 1\n",
                [
                    "2:1: not YAML: ANOTHER"
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
        #expect(errors(yaml) == expected.map { "edge.yaml:" + inFull($0) })
    }

    @Test("of encoding, at the first byte that is wrong")
    func encoding() {
        let error = #expect(throws: ConfigurationErrors.self) {
            try Configuration.parse(Array("a: 1\nb: ä".utf8) + [0xFF], file: "e", folder: "")
        }
        #expect(error?.lines == ["e:2:5: the file is not UTF-8 text"])
    }

    @Test(
        "are placed where an editor sees them, whatever ends a line",
        arguments: [
            (Array("a: 1\r\nb: 2\r\n".utf8) + [0xFF], "e:3:1: the file is not UTF-8 text"),
            (Array("a: 1\r\nb: [".utf8), "e:2:5: not YAML"),
            (Array("a: 1\r\nb: \"\u{7}\"".utf8), "e:2:5: not YAML"),
            (Array("---".utf8), "e:1:4: the configuration"),
            (Array("ä: 1\rb: ä\(String(repeating: "[", count: 200))".utf8), "e:2:133: too many"),
        ])
    func lineBreaks(yaml: [UInt8], expected: String) {
        let error = #expect(throws: ConfigurationErrors.self) {
            try Configuration.parse(yaml, file: "e", folder: "")
        }
        #expect(error?.lines.first?.hasPrefix(expected) == true, "\(error?.lines ?? [])")
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
        let text = Array(minimalConfiguration.utf8)
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
