import Testing

@testable import Edge

@Suite("Forwarding") struct ForwardingTests {
    private func lines(
        _ request: String, cache: inout ForwardedFields, client: String = "192.0.2.1",
        isTrusted: Bool = false, underscores: UnderscorePolicy = .drop
    ) -> [String]? {
        let pool = Ref.allocate(BufferPool())
        defer { pool.destroy() }
        var head = Head(pool: pool)
        var scanned = 0
        let parsed = try? Array(request.utf8).withBytes { bytes throws(MalformedMessage) in
            try HTTP1RequestParser.parse(bytes, scanned: &scanned, into: &head, isSecure: true)
        }
        guard parsed != nil else { return nil }
        let isAccepted = client.withBytes { client in
            Forwarding.prepareRequest(
                &head, origin: Forwarding.Origin(client: client, isTrusted: isTrusted),
                underscores: underscores, cache: &cache)
        }
        guard isAccepted else { return nil }
        return (0..<head.fields.count).filter { !head.fields[$0].isDropped }.map { index in
            "\(head.name(head.fields[index]).string): \(head.value(head.fields[index]).string)"
        }
    }

    private let request =
        "GET / HTTP/1.1\r\nHost: a.example:8443\r\nX-Forwarded-For: 6.6.6.6\r\nAccept: */*\r\n\r\n"

    @Test("an untrusted client's word is replaced, the first time and the next")
    func untrusted() {
        var cache = ForwardedFields()
        let expected = [
            "Accept: */*", "via: 1.1 edge-proxy", "x-forwarded-for: 192.0.2.1",
            "forwarded: for=192.0.2.1;host=\"a.example:8443\";proto=https",
            "x-forwarded-proto: https", "x-forwarded-host: a.example:8443",
        ]
        #expect(lines(request, cache: &cache) == expected)
        #expect(lines(request, cache: &cache) == expected)
        let other = request.replacing("a.example", with: "b.example")
        #expect(lines(other, cache: &cache)?.last == "x-forwarded-host: b.example:8443")
        #expect(lines(request, cache: &cache) == expected)
    }

    @Test("a trusted peer's word is continued")
    func trusted() {
        var cache = ForwardedFields()
        let found = lines(request, cache: &cache, client: "2001:db8::1", isTrusted: true)
        #expect(found?.contains("x-forwarded-for: 6.6.6.6, 2001:db8::1") == true)
        #expect(
            found?.contains("forwarded: for=\"[2001:db8::1]\";host=\"a.example:8443\";proto=https")
                == true)
    }

    @Test("hop-by-hop fields and those that Connection names stay behind")
    func hopByHop() {
        var cache = ForwardedFields()
        let found = lines(
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, X-Secret\r\nX-Secret: 1\r\n"
                + "Keep-Alive: 5\r\nProxy-Connection: x\r\nTE: trailers\r\nX-Kept: 2\r\n\r\n",
            cache: &cache)
        #expect(found?.filter { $0.hasPrefix("X-") } == ["X-Kept: 2"])
        #expect(found?.contains { $0.lowercased().hasPrefix("keep-alive") } == false)
    }

    @Test("Connection takes nothing away that is meant for everyone")
    func nominated() {
        var cache = ForwardedFields()
        let found = lines(
            "GET / HTTP/1.1\r\nHost: a\r\n"
                + "Connection: cookie, Authorization, via, x-forwarded-for\r\n"
                + "Cookie: 1\r\nAuthorization: 2\r\n\r\n", cache: &cache)
        #expect(found?.prefix(3) == ["Cookie: 1", "Authorization: 2", "via: 1.1 edge-proxy"])
        #expect(found?.contains("x-forwarded-for: 192.0.2.1") == true)
    }

    @Test("a trusted peer's word stays, whatever its client nominates")
    func nominatedByTrusted() {
        var cache = ForwardedFields()
        let found = lines(
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: X-Forwarded-Proto, X-Forwarded-Host\r\n"
                + "X-Forwarded-Proto: http\r\nX-Forwarded-Host: b\r\n\r\n",
            cache: &cache, isTrusted: true)
        #expect(found?.contains("X-Forwarded-Proto: http") == true)
        #expect(found?.contains("X-Forwarded-Host: b") == true)
    }

    @Test("names with underscores are dropped, passed or refused")
    func underscores() {
        let request = "GET / HTTP/1.1\r\nHost: a\r\nX_A: 1\r\n\r\n"
        var cache = ForwardedFields()
        #expect(lines(request, cache: &cache)?.contains("X_A: 1") == false)
        #expect(lines(request, cache: &cache, underscores: .pass)?.contains("X_A: 1") == true)
        #expect(lines(request, cache: &cache, underscores: .reject) == nil)
    }
}
