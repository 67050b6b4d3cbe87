import Testing

@testable import Edge

@Suite("JSON") struct JSONValueTests {
    @Test("is read with order, escapes and wide numbers kept")
    func reads() {
        let text =
            #" {"a":[1,-2.5e3,18446744073709551615],"b":"x\n\u00e9\ud83d\ude00","c":null,"d":{}} "#
        let value = JSONValue(Array(text.utf8))
        #expect(value?["a"]?.elements.map(\.text) == ["1", "-2.5e3", "18446744073709551615"])
        #expect(value?["b"] == .string("x\né😀"))
        #expect(value?["c"] == .null)
        #expect(value?["d"] == .object([]))
        #expect(value?["e"] == nil)
        #expect(JSONValue(Array("[]".utf8)) == .array([]))
    }

    @Test(
        "is refused when it is not whole",
        arguments: [
            "", "{", "[1,", "[1 2]", "{\"a\"}", "{\"a\":}", "\"a", "tru", "[1]x", "--1",
            "\"\\u12\"",
            "{1:2}", String(repeating: "[", count: 40) + String(repeating: "]", count: 40),
        ])
    func refuses(text: String) { #expect(JSONValue(Array(text.utf8)) == nil) }
}

@Suite("A report of the registry") struct RegistryReportTests {
    private func report(_ view: RegistryView) -> RegistryReport? {
        RegistryReport(RegistryPage.render(view))
    }

    @Test("shows hosts, every kind, the worker that drifted and the stray descriptor")
    func lines() throws {
        var view = RegistryView()
        var host = HostView()
        host.host = "id-42.apps"
        host.addresses = ["10.0.0.1", "10.0.0.2"]
        view.hosts = [host]
        view.ledger = LedgerKind.allCases.map { LedgerRow(kind: $0, workers: [LedgerCount()]) }
        #expect(report(view)?.hasDrifted == false)
        #expect(report(view)?.lines().last == "no drift")
        view.ledger[3].workers.append(LedgerCount(opened: 8, closed: 5, walk: 2))
        view.strays = [StrayDescriptor(number: 17, link: "socket:[42]")]
        let drifted = try #require(report(view))
        #expect(drifted.hasDrifted)
        let lines = drifted.lines()
        #expect(lines.contains { $0.hasPrefix("id-42.apps") && $0.hasSuffix("10.0.0.1 10.0.0.2") })
        for kind in LedgerKind.allCases {
            #expect(lines.contains { $0.hasPrefix(kind.name.description) })
        }
        let words = lines.filter { $0.hasPrefix("upstream_tls") }
            .map { $0.split(separator: " ").map(String.init) }
        #expect(words.first == ["upstream_tls", "8", "5", "3", "2", "drift"])
        #expect(words.last == ["upstream_tls,", "worker", "1", "8", "5", "3", "2", "drift"])
        #expect(lines.contains("descriptor 17, socket:[42], belongs to nobody"))
        #expect(lines.last?.hasPrefix("drift") == true)
    }

    @Test("is not made from another page", arguments: ["", "ready\n", "{}", #"{"ledger":[]}"#])
    func refuses(body: String) { #expect(RegistryReport(Array(body.utf8)) == nil) }
}

@Suite("An answer of the admin listener") struct AdminClientTests {
    private func parse(_ text: String) -> (status: Int, body: [UInt8])? {
        AdminClient.parse(Array(text.utf8))
    }

    @Test("is taken apart")
    func whole() {
        let answer = parse("HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\nA: b\r\n\r\nno\n")
        #expect(answer?.status == 404)
        #expect(answer?.body == Array("no\n".utf8))
        #expect(parse("HTTP/1.1 200\r\n\r\nall of it")?.body.count == 9)
    }

    @Test(
        "that is cut short is none",
        arguments: [
            "", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n12345678",
            "SSH-2.0\r\n\r\n", "HTTP/1.1 abc\r\n\r\n",
        ])
    func cut(text: String) { #expect(parse(text) == nil) }
}
