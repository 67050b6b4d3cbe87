// Counts and rates by client address.

import Synchronization
import Testing

@testable import Edge

@Suite("The table of client addresses") struct ClientTableTests {
    private let table = ClientTable()

    private func address(_ text: String) throws -> SocketAddress {
        try #require(SocketAddress(numeric: text, port: 1000))
    }

    private func limits(
        connections: Int = 1000, handshakes: Int = 0, requests: Int = 0, prefix: Int = 64
    ) -> AddressLimits {
        AddressLimits(
            maxConnections: connections, handshakes: ClientRate(perSecond: handshakes),
            requests: ClientRate(perSecond: requests), ipv6Prefix: prefix)
    }

    @Test("connections of one address are bounded, those of others are not touched")
    func connections() throws {
        let limits = limits(connections: 2)
        let one = try address("192.0.2.1")
        let first = try table.admit(one, isTLS: false, limits, now: .zero)
        _ = try table.admit(one, isTLS: false, limits, now: .zero)
        #expect(throws: ConnectionRefusal.addressLimit) {
            _ = try table.admit(one, isTLS: false, limits, now: .zero)
        }
        let other = try table.admit(address("192.0.2.2"), isTLS: false, limits, now: .zero)
        table.release(first, now: .zero)
        #expect(table.count == 2)
        let again = try table.admit(one, isTLS: false, limits, now: .zero)
        table.release(again, now: .zero)
        table.release(again, now: .zero)
        table.release(other, now: .zero)
        #expect(table.count == 0)
    }

    @Test("an IPv6 prefix is one client", arguments: [(16, 1), (48, 2), (64, 3), (128, 4)])
    func prefixes(_ bits: Int, _ clients: Int) throws {
        let limits = limits(prefix: bits)
        for text in ["2001:db8:1:2::1", "2001:db8:1:2::2", "2001:db8:1:3::1", "2001:db8:2::1"] {
            _ = try table.admit(address(text), isTLS: false, limits, now: .zero)
        }
        #expect(table.count == clients)
    }

    @Test("handshakes come at their rate, five seconds' worth at once")
    func handshakes() throws {
        let limits = limits(handshakes: 10)
        let one = try address("192.0.2.1")
        func begins(_ now: Instant) -> Bool {
            guard let record = try? table.admit(one, isTLS: true, limits, now: now) else {
                return false
            }
            table.release(record, now: now)
            return true
        }
        var now = Instant.zero + .seconds(100)
        #expect((0..<50).allSatisfy { _ in begins(now) })
        #expect(!begins(now))
        #expect(table.count == 1, "remembered until the rate has recovered")
        now = now + .milliseconds(100)
        #expect(begins(now))
        #expect(!begins(now))
        #expect(throws: Never.self) {
            let plain = try table.admit(one, isTLS: false, limits, now: now)
            table.release(plain, now: now)
        }
        now = now + .seconds(10)
        #expect(begins(now))
    }

    @Test("a rate of nothing is no limit")
    func unlimited() {
        let spent = Atomic<Int64>(0)
        #expect(!ClientRate(perSecond: 0).isLimited)
        for _ in 0..<1000 {
            let isGranted = ClientRate(perSecond: 0).take(spent, now: .zero)
            #expect(isGranted)
        }
        #expect(spent.load(ordering: .relaxed) == 0)
    }

    @Test("a scan of addresses does not make it grow for ever")
    func scan() throws {
        let limits = limits(handshakes: 1)
        for high in 0..<200_000 {
            let bytes: [UInt8] = [10, UInt8(high >> 16), UInt8(high >> 8 & 255), UInt8(high & 255)]
            let peer = try #require(bytes.withBytes { SocketAddress(bytes: $0, port: 1) })
            let record = try table.admit(peer, isTLS: true, limits, now: .zero)
            table.release(record, now: .zero)
        }
        #expect(table.count <= 16 * 4096)
    }

    @Test("several threads at once keep the counts right")
    func concurrency() async throws {
        let table = table
        let limits = limits()
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<4 {
                group.addTask {
                    for round in 0..<5000 {
                        let bytes: [UInt8] = [10, 0, 0, UInt8(round % 7)]
                        guard let peer = bytes.withBytes({ SocketAddress(bytes: $0, port: 1) }),
                            let record = try? table.admit(peer, isTLS: true, limits, now: .zero)
                        else { continue }
                        table.release(record, now: .zero)
                    }
                }
            }
        }
        #expect(table.count == 0)
    }
}
