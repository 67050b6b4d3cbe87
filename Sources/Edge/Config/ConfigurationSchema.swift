// Every option of the configuration file.

/// The declarations that reading, `check --options` and the reference all work from.
enum ConfigurationSchema {
    static let root = ConfigurationSection(
        "", "The top level of the file.",
        [
            .init(
                "workers", .count(1...256), .absent("the number of cores"),
                "Worker threads; each has its own event loop and listening sockets."),
            .init("listeners", .sections(listener), .required, "Where clients connect."),
            .init("routes", .sections(route), .required, "Where requests go."),
            .init(
                "upstream", .section(upstream), .absent("the defaults below"),
                "Limits and timeouts towards upstreams."),
            .init(
                "registry", .section(registry), .absent("the defaults below"),
                "Bounds of the registry of upstream hosts."),
            .init(
                "resolver", .section(resolver), .absent("the defaults below"),
                "How host names become addresses."),
            .init(
                "timeouts", .section(timeouts), .absent("the defaults below"),
                "How long clients may take."),
            .init(
                "limits", .section(limits), .absent("the defaults below"),
                "How much clients may ask for."),
            .init(
                "trusted_proxies", .texts("an address or a range such as 10.0.0.0/8"), .value("[]"),
                "Peers whose Forwarded and X-Forwarded fields are believed."),
            .init(
                "access_log", .section(accessLog), .absent("the defaults below"),
                "One line for each exchange."),
            .init(
                "admin", .section(admin), .absent("no admin listener"),
                "Health, metrics and the registry's state over HTTP."),
            .init(
                "ledger", .section(ledger), .absent("the defaults below"),
                "The check that everything opened is closed again."),
            .init(
                "metrics", .section(metrics), .absent("the defaults below"),
                "What /metrics shows."),
            .init(
                "shutdown", .section(shutdown), .absent("the defaults below"),
                "What SIGTERM and SIGINT start."),
            .init(
                "log_level",
                .choice(["trace", "debug", "info", "notice", "warning", "error", "critical"]),
                .value("info"), "The least severe messages that are written to standard error."),
        ])

    static let listener = ConfigurationSection(
        "listeners[]", "An address on which clients are accepted.",
        [
            .init(
                "address", .text("host:port, [v6]:port, :port or unix:/path"), .required,
                "An empty host means all addresses of both families; port 0 takes a free one."),
            .init(
                "tls", .section(tls), .absent("plain HTTP/1.1, and HTTP/2 by prior knowledge"),
                "TLS on this listener."),
            .init(
                "redirect_to_https", .boolean, .value("false"),
                "Answer every request with 308 to https; only without `tls`."),
            .init(
                "redirect_port", .count(1...65535), .value("443"),
                "The port that redirections name; 443 is left out."),
        ])

    static let tls = ConfigurationSection(
        "listeners[].tls", "Certificates and protocol of a listener.",
        [
            .init(
                "certificates", .sections(certificate), .required,
                "Chosen by server name, then by the client's algorithms; "
                    + "ECDSA and RSA may stand side by side."),
            .init(
                "min_version", .choice(["1.2", "1.3"]), .value("1.2"), "The oldest TLS version."),
            .init(
                "alpn", .choices(["h2", "http/1.1"]), .value("[h2, http/1.1]"),
                "Protocols offered, the preferred one first."),
            .init(
                "ticket_keys", .file, .absent("random keys"),
                "Session ticket keys of 80 bytes each: name 16, HMAC 32, AES 32. "
                    + "The first encrypts, all decrypt; share the file between replicas."),
            .init(
                "ticket_rotation", .duration(.seconds(60)...(.seconds(604_800))), .value("12h"),
                "Age at which a random ticket key is replaced; "
                    + "it decrypts for as long again."),
            .init(
                "hsts", .duration(.zero...(.seconds(315_360_000))), .value("730d"),
                "How long clients shall use https only: `max-age` of Strict-Transport-Security in "
                    + "every answer that does not carry that field already; `0s`: not sent."),
            .init(
                "key_log", .file, .absent("no key log"),
                "Writes session secrets for packet analysis. Whoever reads it reads all traffic."),
        ])

    static let certificate = ConfigurationSection(
        "listeners[].tls.certificates[]", "A certificate with its key.",
        [
            .init("certificate", .file, .required, "PEM chain, the leaf first."),
            .init("key", .file, .required, "PEM private key, unencrypted."),
            .init(
                "default", .boolean, .absent("the first certificate is the default"),
                "Serve this one for unknown or absent server names."),
        ])

    static let route = ConfigurationSection(
        "routes[]", "A path prefix and the upstream behind it.",
        [
            .init(
                "path", .text("a path such as /api"), .required,
                "Matches itself and what lies below; the longest match wins, "
                    + "whatever the order. `/` matches everything."),
            .init(
                "id", .section(id), .absent("a plain route to a fixed upstream"),
                "Where requests carry the id of their host."),
            .init(
                "upstream", .text("a URL such as http://id-{id}.apps:8080"), .required,
                "http or https, with `{id}` in the host exactly if the route has an `id`. A host "
                    + "with a final dot is asked for without search domains. `srv+http` and "
                    + "`srv+https`: the host is a service's whole name, such as "
                    + "`_http._tcp.id-{id}.apps`, and its SRV records say hosts and ports."),
            .init(
                "versions", .choices(["1.1", "2", "h2c"]), .value("[\"1.1\", \"2\"]"),
                "Protocols to speak: `2` by ALPN on https, `h2c` by prior knowledge on http."),
            .init(
                "host", .choice(["preserve", "upstream"]), .value("preserve"),
                "Send the client's host or the upstream's."),
            .init(
                "tls", .section(routeTLS), .absent("the defaults below"),
                "Verification of https upstreams."),
            .init(
                "timeouts", .section(routeTimeouts), .absent("those of `upstream`"),
                "Timeouts of this route."),
        ])

    static let id = ConfigurationSection(
        "routes[].id", "Exactly one place, and optionally a pattern.",
        [
            .init(
                "query", .text("a parameter name"), .absent("not there"),
                "The query parameter of this name, given once."),
            .init(
                "segment", .count(1...RouteDefinition.lastSegment), .absent("not there"),
                "The segment of this number, counted from 1 over the whole path."),
            .init(
                "field", .text("a field name"), .absent("not there"),
                "The field of this name, given once."),
            .init(
                "host_label", .boolean, .absent("not there"),
                "`true`: the first label of the host that the client asked for."),
            .init(
                "pattern", .text("a pattern such as [a-z0-9]{1,20}"),
                .absent("canonical decimal numbers up to 9223372036854775807"),
                "What ids look like: letters a-z, digits, `-`, classes, groups, `|`, `?`, `*`, "
                    + "`+`, `{m,n}`; the whole id must match."),
        ])

    static let routeTLS = ConfigurationSection(
        "routes[].tls", "Verification of an https upstream.",
        [
            .init("ca", .file, .absent("the system's authorities"), "PEM authorities to trust."),
            .init(
                "server_name", .text("a host name"),
                .absent("the upstream's host, of a service without its labels with an underscore"),
                "The name that is sent and verified."),
            .init("verify", .boolean, .value("true"), "Verify the certificate and its name."),
        ])
}

// Sections without a list inside.
extension ConfigurationSchema {
    private static let wait = Duration.milliseconds(1)...(.seconds(86_400))

    private static let upstreamTimeouts: [(name: String, fallback: String, meaning: String)] = [
        ("dial_timeout", "3s", "From the first SYN to an open connection."),
        ("handshake_timeout", "5s", "TLS handshake with an upstream."),
        ("response_timeout", "60s", "From the request's last byte to the response's head."),
        ("idle_timeout", "60s", "Longest silence in a body, either way."),
        ("queue_timeout", "10s", "Longest wait for a connection or for a place in flight."),
    ]

    static let routeTimeouts = ConfigurationSection(
        "routes[].timeouts", "Timeouts that differ from those of `upstream`.",
        upstreamTimeouts.map {
            .init($0.name, .duration(wait), .absent("that of `upstream`"), $0.meaning)
        })

    static let upstream = ConfigurationSection(
        "upstream", "Limits and timeouts towards upstreams.",
        upstreamTimeouts.map { .init($0.name, .duration(wait), .value($0.fallback), $0.meaning) }
            + [
                .init(
                    "keepalive", .duration(wait), .value("60s"),
                    "How long an idle connection is kept for reuse."),
                .init(
                    "max_age", .duration(.zero...(.seconds(86_400))), .value("10m"),
                    "Age from which a connection takes no new exchange, give or take a tenth, so "
                        + "that load moves to new instances; `0s`: any age."),
                .init(
                    "ping_after", .duration(.zero...(.seconds(86_400))), .value("15s"),
                    "Silence of an HTTP/2 connection with requests under way, or before the next "
                        + "one, after which a PING asks whether its service lives; `0s`: none."),
                .init(
                    "ping_timeout", .duration(wait), .value("5s"),
                    "Wait for a sign of life after a PING."),
                .init(
                    "max_connections_per_host", .count(1...65536), .value("256"),
                    "Connections to one host."),
                .init(
                    "max_in_flight_per_host", .count(1...1_000_000), .value("1024"),
                    "Exchanges with one host at the same time."),
                .init(
                    "max_queue_per_host", .count(0...1_000_000), .value("1024"),
                    "Exchanges that wait for one host; more are answered 503."),
                .init(
                    "health", .section(health), .absent("the defaults below"),
                    "When a host that fails is left alone for a while."),
                .init(
                    "retries", .section(retries), .absent("the defaults below"),
                    "How many requests may be sent once more."),
            ])

    static let registry = ConfigurationSection(
        "registry", "Bounds of the registry of upstream hosts.",
        [
            .init(
                "max_hosts", .count(1...1_000_000), .value("10000"),
                "Hosts remembered. A new one takes the place of an idle one that never answered; "
                    + "once it has answered itself, that of the one used longest ago, those that "
                    + "were asked only once first."),
            .init(
                "max_connections", .count(1...1_000_000), .value("8192"),
                "Upstream connections in all."),
            .init(
                "max_share", .count(1...100), .value("25"),
                "Percent of `max_connections` that one host may hold, so that a host that hangs "
                    + "leaves room for the others. 100 where there is one host only."),
            .init(
                "max_waiting", .count(1...1_000_000), .value("16384"),
                "Exchanges that wait for any host; more are answered 503."),
            .init(
                "host_idle", .duration(wait), .value("10m"), "Forget a host without traffic."),
        ])

    static let resolver = ConfigurationSection(
        "resolver", "How host names become addresses.",
        [
            .init(
                "servers", .texts("an IP address with an optional port"),
                .absent("those of resolv.conf"), "DNS servers, in order."),
            .init(
                "search", .boolean, .value("true"),
                "Try the search domains; `false` takes names as absolute."),
            .init("timeout", .duration(wait), .value("2s"), "Wait for one answer."),
            .init("attempts", .count(1...10), .value("2"), "Tries of each server."),
            .init(
                "min_ttl", .duration(.zero...(.seconds(86_400))), .value("1s"),
                "Least time an answer is kept; also paces how often the names of hosts in use "
                    + "are asked for again."),
            .init("max_ttl", .duration(wait), .value("5m"), "Most time an answer is kept."),
            .init(
                "negative_ttl", .duration(.zero...(.seconds(86_400))), .value("5s"),
                "How long a name is known not to exist."),
            .init(
                "stale", .duration(.zero...(.seconds(86_400))), .value("30s"),
                "How long an expired answer is used while the servers fail."),
            .init(
                "first_seen_per_second", .count(0...1_000_000), .value("500"),
                "Names of which nothing is known that may be asked for; five seconds' worth may "
                    + "come at once. Others wait up to two seconds for their turn; those for which "
                    + "that is not enough are answered 503 without a query. 0: no limit."),
        ])

    static let timeouts = ConfigurationSection(
        "timeouts", "How long clients may take.",
        [
            .init("handshake", .duration(wait), .value("10s"), "TLS handshake."),
            .init("head", .duration(wait), .value("10s"), "A request's head, from its first byte."),
            .init("body", .duration(wait), .value("60s"), "Longest silence in a request's body."),
            .init("write", .duration(wait), .value("60s"), "Longest time without taking a byte."),
            .init("idle", .duration(wait), .value("75s"), "Between requests."),
        ])

    static let limits = ConfigurationSection(
        "limits", "How much clients may ask for.",
        [
            .init("max_connections", .count(1...1_000_000), .value("10000"), "Client connections."),
            .init(
                "max_connections_per_address", .count(1...1_000_000), .value("2000"),
                "Client connections from one address. "
                    + "Addresses in `trusted_proxies` stand for many clients and have no limits."),
            .init(
                "handshakes_per_second_per_address", .count(0...1_000_000), .value("200"),
                "TLS connections that one address may begin; five seconds' worth may come at once. "
                    + "More are closed at once. 0: no limit."),
            .init(
                "requests_per_second_per_address", .count(0...1_000_000), .value("0"),
                "Requests of one address; five seconds' worth may come at once. "
                    + "More are answered 429. 0: no limit."),
            .init(
                "ipv6_prefix", .count(16...128), .value("64"),
                "Bits of an IPv6 address that stand for one client in the limits per address."),
            .init(
                "min_rate", .count(0...1_000_000_000), .value("100"),
                "Bytes per second that a client must send of a request's body until it is "
                    + "answered, and take of an answer that waits for it, on average over "
                    + "`timeouts.body` and `timeouts.write`. gRPC requests may be slower. "
                    + "0: any rate."),
            .init(
                "max_memory", .size(.mebibytes(16)...(.mebibytes(1 << 20))),
                .absent("half of what the process may use"),
                "Memory for what is under way: buffers, HTTP/2 and TLS state. From three "
                    + "quarters on buffers are kept short; when it is used up, new requests are "
                    + "answered 503, new connections and those at rest closed, and exchanges cut "
                    + "that do not move."),
            .init(
                "max_streams", .count(1...10_000), .value("128"),
                "Concurrent streams of an HTTP/2 connection."),
            .init(
                "underscore_fields", .choice(["drop", "pass", "reject"]), .value("drop"),
                "What happens to fields with `_` in their name, which many applications "
                    + "cannot tell from `-`."),
        ])

    static let accessLog = ConfigurationSection(
        "access_log", "One line for each exchange.",
        [
            .init(
                "path", .text("a file name, /dev/stdout, /dev/stderr or off"),
                .value("/dev/stdout"),
                "Reopened on SIGHUP when it is a file."),
            .init(
                "format", .choice(["json", "common"]), .value("json"),
                "JSON, or the Common Log Format."),
        ])

    static let admin = ConfigurationSection(
        "admin", "Health, metrics and the registry's state over HTTP.",
        [
            .init(
                "address", .text("a loopback address with a port, or unix:/path"), .required,
                "Not reachable from outside: it is not protected otherwise.")
        ])

    static let ledger = ConfigurationSection(
        "ledger", "The check that everything opened is closed again.",
        [
            .init(
                "interval", .duration(.milliseconds(100)...(.seconds(86_400))), .value("60s"),
                "Between two checks; what differs is logged as `ledger drift`.")
        ])

    static let metrics = ConfigurationSection(
        "metrics", "What /metrics shows.",
        [
            .init(
                "top_ids", .count(0...100), .value("20"),
                "Ids that are named by requests, bytes, errors and seconds each; all others are "
                    + "`other`. 0: none of these metrics.")
        ])

    static let shutdown = ConfigurationSection(
        "shutdown", "What SIGTERM and SIGINT start.",
        [
            .init(
                "grace", .duration(.zero...(.seconds(86_400))), .value("30s"),
                "Time for exchanges to finish."),
            .init(
                "spread", .duration(.zero...(.seconds(43_200))),
                .absent("5s, but no more than a quarter of `grace`"),
                "Over how long clients are told to leave, so that they do not all connect to "
                    + "another replica in one moment; at most half of `grace`. Up to 100 per "
                    + "second and worker are not held back. 0s: all at once."),
        ])

    /// All sections, as the reference lists them.
    static let sections: [ConfigurationSection] = [
        root, listener, tls, certificate, route, id, routeTLS, routeTimeouts, upstream, health,
        retries, registry, resolver, timeouts, limits, accessLog, admin, ledger, metrics, shutdown,
    ]
}
