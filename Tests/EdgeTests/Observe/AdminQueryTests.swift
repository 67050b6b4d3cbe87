// Parameters of the admin pages.

import Testing

@testable import Edge

@Suite("Queries of admin pages") struct AdminQueryTests {
    private func mistake(_ query: String) -> String? {
        do throws(AdminMistake) {
            _ = try query.withBytes { (bytes) throws(AdminMistake) in
                try AdminQuery(bytes, known: ["a", "b"], repeated: ["b"])
            }
            return nil
        } catch { return error.message }
    }

    private func registry(_ query: String) throws(AdminMistake) -> RegistryQuery {
        try query.withBytes { (bytes) throws(AdminMistake) in try RegistryQuery(bytes) }
    }

    @Test("parameters are decoded, empty parts passed over")
    func values() throws {
        let query = try "a=%2Fx%3d+1&&b=1&b=&".withBytes {
            try AdminQuery($0, known: ["a", "b"], repeated: ["b"])
        }
        #expect(query.text("a") == "/x=+1")
        #expect(query.texts("b") == ["1", ""])
        #expect(query.text("c") == nil)
        #expect(mistake("") == nil)
    }

    @Test("mistakes name the parameter")
    func mistakes() {
        #expect(mistake("c=1") == "unknown parameter 'c'; this page has 'a', 'b'")
        #expect(mistake("a=1&a=1") == "parameter 'a' is given more than once")
        #expect(mistake("a=%4") == "parameter 'a': broken percent-encoding")
        #expect(mistake("a=%0a") == "parameter 'a': only printable ASCII is expected")
        #expect(mistake("%ff=1") == "a parameter's name: only printable ASCII is expected")
    }

    @Test("a page of the registry, and the one after it")
    func pages() throws {
        #expect(try registry("").limit == 100)
        let query = try registry("after=200&limit=50&host=ID-1.")
        #expect((query.first, query.limit, query.prefix) == (200, 50, "id-1."))
        #expect(query.page(from: 250) == "/registry?after=250&limit=50&host=id-1.")
        #expect(try registry("").page(from: 100) == "/registry?after=100&limit=100")
        #expect(try registry("id=42").id == "42")
        for wrong in [
            "limit=0", "limit=1001", "limit=x", "after=4294967296", "host=a/b", "id=1&host=a",
        ] {
            #expect(throws: AdminMistake.self) { try registry(wrong) }
        }
    }

    @Test("the registry is walked in places, whoever comes and goes")
    func places() throws {
        let registry = Registry(limits: RegistryLimits(maxHosts: 1000)) { _, _ in }
        let identity = registry.identity(
            for: UpstreamKey(isSecure: false, port: 80, protocols: .http1)
        ) { nil }
        for number in 0..<700 {
            _ = "host-\(number)".withBytes {
                registry.client(identity, host: $0, worker: 0, now: .zero)
            }
        }
        var first: Int? = 0
        var seen: [String] = []
        var pages = 0
        while let place = first {
            let page = registry.page(from: place, limit: 99) { _ in true }
            seen += page.clients.map(\.host)
            first = page.next
            pages += 1
        }
        #expect(pages == 8)
        #expect(seen == (0..<700).map { "host-\($0)" })
        let some = registry.page(from: 0, limit: 1000) { $0.host.hasSuffix("55") }
        #expect(some.clients.map(\.host) == (0..<7).map { "host-\($0 == 0 ? "" : "\($0)")55" })
        #expect(some.next == nil)
        #expect(registry.page(from: 700, limit: 5) { _ in true }.clients.isEmpty)
        #expect(registry.find(identity.number, "host-5")?.host == "host-5")
        #expect(registry.find(identity.number + 1, "host-5") == nil)
        #expect(registry.clients(of: "host-5").count == 1)
    }
}
