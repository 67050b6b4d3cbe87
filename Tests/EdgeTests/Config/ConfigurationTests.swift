import Glibc
import Testing

@testable import Edge

let minimalConfiguration = """
    listeners:
      - address: "127.0.0.1:0"
    routes:
      - path: /
        upstream: http://app

    """

private let fullConfiguration = """
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

@Suite("A configuration") struct ConfigurationTests {
    @Test("has the documented defaults")
    func defaults() throws {
        let configuration = try Configuration.parse(
            minimalConfiguration, file: "edge.yaml", folder: "")
        #expect((1...256).contains(configuration.workers))
        #expect(configuration.upstream.dialTimeout == .seconds(3))
        #expect(configuration.upstream.handshakeTimeout == .seconds(5))
        #expect(configuration.upstream.responseTimeout == .seconds(60))
        #expect(configuration.upstream.idleTimeout == .seconds(60))
        #expect(configuration.upstream.queueTimeout == .seconds(10))
        #expect(configuration.upstream.keepalive == .seconds(60))
        #expect(configuration.upstream.maxAge == .seconds(600))
        #expect(configuration.upstream.pingAfter == .seconds(15))
        #expect(configuration.upstream.pingTimeout == .seconds(5))
        #expect(configuration.upstream.maxConnectionsPerHost == 256)
        #expect(configuration.upstream.maxInFlightPerHost == 1024)
        #expect(configuration.upstream.maxQueuePerHost == 1024)
        #expect(configuration.registry.maxHosts == 10_000)
        #expect(configuration.registry.maxConnections == 8192)
        #expect(configuration.registry.maxWaiting == 16_384)
        #expect(configuration.resolver.firstSeenPerSecond == 500)
        #expect(configuration.registry.hostIdle == .seconds(600))
        #expect(configuration.registry.maxShare == 25)
        #expect(configuration.upstream.health == HealthPolicy())
        #expect(configuration.upstream.retries == RetryPolicy())
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
        #expect(configuration.shutdown.spread == .seconds(5))
        #expect(configuration.logLevel == .info)
        #expect(configuration.listeners[0].tls == nil)
        #expect(configuration.listeners[0].redirectPort == 443)
        let route = configuration.routes[0]
        #expect(route.versions == [.http1, .http2])
        #expect(route.host == .preserve)
        #expect(route.timeouts.dialTimeout == .seconds(3))
    }

    @Test("takes every option")
    func everything() throws {
        let configuration = try Configuration.parse(
            fullConfiguration, file: "x", folder: "/etc/edge")
        let tls = try #require(configuration.listeners[0].tls)
        #expect(
            tls.certificates.map { $0.certificate.path } == ["/etc/edge/a.pem", "/etc/edge/b.pem"])
        #expect(tls.certificates.map { $0.key.path } == ["/keys/a.key", "/etc/edge/b.key"])
        #expect(tls.defaultCertificate == 1)
        #expect(tls.minVersion == .tls13)
        #expect(tls.alpn == [.http11])
        #expect(tls.ticketRotation == .seconds(5400))
        #expect(tls.ticketKeys?.path == "/etc/edge/tickets.bin")
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
        #expect(route.tls?.ca?.path == "/etc/edge/ca.pem")
        #expect(route.tls?.serverName == "apps.internal")
        #expect(route.tls?.verify == false)
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
        let yaml = minimalConfiguration + "access_log: {path: access.log}\n"
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
        let key = NamedFile(path: "k.pem", place: .argument("--key"))
        #expect(configuration.listeners[0].tls?.certificates[0].key == key)
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
