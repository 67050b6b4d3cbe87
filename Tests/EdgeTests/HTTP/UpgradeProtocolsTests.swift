import Testing

@testable import Edge

@Suite("Upgrade protocols") struct UpgradeProtocolsTests {
    @Test(
        "HTTP and TLS under any name are not passed on, nor what is malformed",
        arguments: [
            "h2c", "H2C", "h2", "h2c/1", "HTTP/2.0", "http", "TLS/1.2", "websocket, h2c",
            "h2c,websocket", "", " ", ",", "web socket", "a/", "/1", "a/b/c", "a;b", "\"a\"",
        ])
    func refused(list: String) {
        #expect(!list.withBytes { UpgradeProtocols.areAdmitted($0) })
    }

    @Test(
        "other protocols are passed on",
        arguments: ["websocket", "WebSocket", "SPDY/3.1", "a, b/1", "h2cx", "tlsx"])
    func admitted(list: String) {
        #expect(list.withBytes { UpgradeProtocols.areAdmitted($0) })
    }

    @Test("a server may choose one of those that were offered, in any case")
    func chosen() {
        func contains(_ offered: String, _ chosen: String) -> Bool {
            offered.withBytes { offered in
                chosen.withBytes { UpgradeProtocols.contain(offered, $0) }
            }
        }
        #expect(contains("websocket", "WebSocket"))
        #expect(contains("a/1, b", "b"))
        #expect(!contains("a/1, b", "a"))
        #expect(!contains("websocket", "websocket, a"))
        #expect(!contains("websocket", "h2c"))
        #expect(!contains("", ""))
    }
}
