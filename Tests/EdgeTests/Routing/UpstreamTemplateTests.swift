import Testing

@testable import Edge

@Suite("An upstream template") struct UpstreamTemplateTests {
    private func expand(_ template: UpstreamTemplate, _ id: String) -> String {
        let place = UnsafeMutablePointer<UInt8>.allocate(capacity: UpstreamTemplate.capacity)
        defer { unsafe place.deallocate() }
        let count = id.withBytes { template.expandHost(id: $0, into: place) }
        return unsafe Bytes(place, count: count).string
    }

    @Test(
        "expands hosts in lower case",
        arguments: [
            ("http://id-{id}.Apps.svc:8080", "42", "id-42.apps.svc", 8080),
            ("http://{id}.apps/", "Ab", "ab.apps", 80), ("https://X{id}", "x", "xx", 443),
            ("https://a{id}b.c.", "1", "a1b.c", 443), ("http://127.0.0.1", "", "127.0.0.1", 80),
            ("http://[::1]:81", "", "::1", 81), ("http://localhost", "7", "localhost", 80),
        ] as [(String, String, String, UInt16)])
    func expansion(url: String, id: String, host: String, port: UInt16) throws {
        let template = try UpstreamTemplate(url)
        #expect(expand(template, id) == host)
        #expect(template.port == port)
        #expect(template.hasID == url.contains("{id}"))
    }

    @Test(
        "knows which hosts it may lead to",
        arguments: [
            ("http://id-{id}.Apps.svc:8080", "id-42.apps.svc", true),
            ("http://id-{id}.apps.svc", "id-.apps.svc", false),
            ("http://id-{id}.apps.svc", "id-42.apps.sv", false),
            ("http://id-{id}.apps.svc", "ie-42.apps.svc", false),
            ("http://aa{id}aa", "aaaa", false), ("https://X{id}", "xx", true),
            ("http://127.0.0.1", "127.0.0.1", true), ("http://127.0.0.1", "127.0.0.11", false),
            ("http://[::1]:81", "::1", true),
        ] as [(String, String, Bool)])
    func reach(url: String, host: String, isReached: Bool) throws {
        #expect(try UpstreamTemplate(url).reaches(host) == isReached)
    }

    @Test("a final dot and a service are noted, and written again")
    func kinds() throws {
        let absolute = try UpstreamTemplate("http://id-{id}.apps.:81")
        #expect(absolute.isAbsolute && !absolute.isService)
        #expect(expand(absolute, "4") == "id-4.apps")
        #expect(absolute.description == "http://id-{id}.apps.:81")
        #expect(try !UpstreamTemplate("http://id-{id}.apps").isAbsolute)
        #expect(try !UpstreamTemplate("http://127.0.0.1.").isAbsolute)
        let service = try UpstreamTemplate("srv+https://_h2._tcp.id-{id}.apps.")
        #expect(service.isService && service.isAbsolute)
        #expect(service.scheme == .https && service.port == 0)
        #expect(expand(service, "4") == "_h2._tcp.id-4.apps")
        #expect(service.description == "srv+https://_h2._tcp.id-{id}.apps.")
    }

    @Test("bounds the id by label and name")
    func bounds() throws {
        let label = try UpstreamTemplate("http://id-{id}.apps")
        #expect(label.longestID == 60)
        #expect(expand(label, String(repeating: "a", count: 60)).utf8.count == 68)
        #expect(expand(label, String(repeating: "a", count: 61)) == "")
        let long = String(repeating: "a", count: 60) + "."
        let name = try UpstreamTemplate(
            "http://{id}." + long + long + long + String(repeating: "b", count: 61))
        #expect(name.longestID == 253 - 1 - 183 - 61)
    }

    @Test(
        "is refused with the place of the mistake",
        arguments: [
            ("", 0, "an upstream starts with 'http://' or 'https://', 'srv+' before it or not"),
            (
                "ftp://x", 0,
                "an upstream starts with 'http://' or 'https://', 'srv+' before it or not"
            ),
            ("srv+http://_http._tcp.a:80", 23, "a service's records say its ports"),
            ("srv+http://127.0.0.1", 11, "a service has a name, not an address"),
            ("srv+https://[::1]", 12, "a service has a name, not an address"),
            ("srv+http://a.b..", 11, "a label of the host is empty"),
            ("unix:/x", 0, "unix sockets are not supported as upstreams"),
            ("http://", 7, "the host is missing"), ("http://:80", 7, "the host is missing"),
            ("http://a..b", 7, "a label of the host is empty"),
            ("http://-a", 7, "a label of the host starts or ends with '-'"),
            ("http://a-.b", 7, "a label of the host starts or ends with '-'"),
            ("http://a_b", 8, "'_' cannot be part of a host name"),
            ("http://{id}.{id}.a", 12, "{id} is given more than once"),
            ("http://{ID}.a", 7, "'{' cannot be part of a host name"),
            ("http://a/{id}", 8, "{id} can only stand in the host name"),
            ("http://a:{id}", 9, "{id} can only stand in the host name"),
            ("http://a/b", 8, "an upstream has no path yet: requests keep their own"),
            ("http://a?b", 8, "an upstream has neither query nor fragment"),
            ("http://u@a", 8, "user names and passwords are not supported in an upstream"),
            ("http://a:0", 9, "a port is a number from 1 to 65535"),
            ("http://a:65536", 9, "a port is a number from 1 to 65535"),
            ("http://a:80x", 11, "a port or the end of the URL is expected"),
            ("http://1.2.3", 7, "a host that ends with a number must be an IPv4 address"),
            ("http://{id}", 7, "with {id} in place, the host could be an IP address"),
            ("http://10.0.0.{id}", 7, "with {id} in place, the host could be an IP address"),
            ("http://[::1", 11, "']' is missing"),
            ("http://[1.2.3.4]", 8, "an IPv6 address is expected between brackets"),
            ("http://ä", 7, "this byte cannot be part of a host name"),
        ])
    func mistakes(url: String, offset: Int, message: String) {
        #expect(throws: TemplateError(offset: offset, message: message)) {
            try UpstreamTemplate(url)
        }
    }

    @Test("random URLs are read or refused", arguments: 0..<6 as Range<UInt64>)
    func random(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        let parts = [
            "http://", "https://", "srv+", "_", "{id}", ".", "-", "a", "7", ":", "80", "/", "[",
            "]", "::", "@",
            "é",
        ]
        for _ in 0..<500 {
            let url = (0..<Int.random(in: 0...8, using: &random)).map { _ in
                parts.randomElement(using: &random) ?? ""
            }.joined()
            guard let template = try? UpstreamTemplate(url) else { continue }
            #expect(!expand(template, "0").isEmpty)
        }
    }
}

@Suite("An address literal") struct AddressLiteralTests {
    @Test(
        "is read and written in normal form",
        arguments: [
            ("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "0.0.0.0"), ("::", "::"), ("::1", "::1"),
            ("1::", "1::"), ("2001:DB8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
            ("1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"), ("::ffff:10.0.0.1", "::ffff:a00:1"),
            ("1:0:3:4:5:6:7:8", "1:0:3:4:5:6:7:8"), ("fe80::1:0", "fe80::1:0"),
        ])
    func reading(text: String, normal: String) {
        #expect(text.withBytes { AddressLiteral($0) }?.text == normal)
    }

    @Test(
        "is refused otherwise",
        arguments: [
            "", ".", "1.2.3", "1.2.3.4.5", "256.0.0.1", "01.2.3.4", "1.2.3.", "a.b.c.d", ":", ":::",
            "1::2::3", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "12345::", "1:", ":1", "::1%eth0",
            "::1.2.3", "1:2:3:4:5:6:7:1.2.3.4", "1:2:3:4:5:6:7:8::", "+1.2.3.4",
        ])
    func mistakes(text: String) {
        #expect(text.withBytes { AddressLiteral($0) } == nil)
    }
}
