// The demonstration's name server: which names exist, and what no datagram may do to it.

import Testing

@testable import Edge

@Suite struct DemonstrationZoneTests {
    private static let a: UInt8 = 1

    private func query(_ name: String, type: UInt8 = a) -> [UInt8] {
        let labels = name.split(separator: ".").flatMap { [UInt8($0.utf8.count)] + Array($0.utf8) }
        return [0xAB, 0xCD, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0] + labels + [0, 0, type, 0, 1]
    }

    private func answer(to query: [UInt8]) -> [UInt8]? {
        query.withBytes { DemonstrationZone.reply(to: $0) }
    }

    @Test(arguments: ["id-0.demo", "id-7.demo", "id-42.demo", "ID-999.Demo"])
    func `An id's name has one address`(name: String) throws {
        let query = query(name)
        let reply = try #require(answer(to: query))
        #expect(reply.prefix(12) == [0xAB, 0xCD, 0x85, 0x80, 0, 1, 0, 1, 0, 0, 0, 0])
        #expect(reply.dropFirst(12).prefix(query.count - 12) == query.dropFirst(12))
        #expect(reply.suffix(6) == [0, 4, 127, 0, 0, 1])
    }

    @Test(arguments: [
        "id-1000.demo", "id-042.demo", "id-.demo", "id--1.demo", "id-x.demo", "demo", "id-1",
        "id-1.other", "id-1.demo.demo", "id-99999999999999999999.demo",
    ])
    func `Other names do not exist`(name: String) throws {
        let reply = try #require(answer(to: query(name)))
        #expect(reply[3] == 0x83)
        #expect(reply[7] == 0)
    }

    @Test func `There is no IPv6 address, but the name exists`() throws {
        let reply = try #require(answer(to: query("id-42.demo", type: 28)))
        #expect(reply[3] == 0x80)
        #expect(reply[7] == 0)
    }

    @Test func `Whatever is cut short or no query gets no reply`() {
        let whole = query("id-42.demo")
        for count in 0..<whole.count { #expect(answer(to: Array(whole.prefix(count))) == nil) }
        var response = whole
        response[2] = 0x84
        #expect(answer(to: response) == nil)
        var reference = whole
        reference[12] = 0xC0
        #expect(answer(to: reference) == nil)
    }
}
