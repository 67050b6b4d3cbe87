// The demonstration's view of the registry.

import Testing

@testable import Edge

@Suite struct RegistryTableTests {
    private func host(_ id: Int, _ versions: String = "1.1", requests: UInt64 = 1) -> HostFigures {
        var host = HostFigures(host: "id-\(id).demo", versions: versions)
        host.connections = 1
        host.dials = 1
        host.requests = requests
        host.reused = requests - 1
        host.lastUsed = Int64(id)
        return host
    }

    @Test func `Hosts are shown in the order of their ids, with totals`() {
        let table = RegistryTable([host(10), host(9, requests: 3), host(9, "h2c")])
        #expect(
            table.lines() == [
                "host          protocol  connections    dials   requests    reused",
                "id-9.demo     1.1                 1        1          3         2",
                "id-9.demo     h2c                 1        1          1         0",
                "id-10.demo    1.1                 1        1          1         0",
                "3 hosts                           3        3          5         2",
            ])
    }

    @Test func `Of many hosts those used last are shown`() {
        let table = RegistryTable((1...100).map { host($0) })
        let lines = table.lines()
        #expect(lines.count == RegistryTable.mostRows + 2)
        #expect(lines[1].hasPrefix("id-89.demo"))
        #expect(lines.last?.hasPrefix("100 hosts") == true)
    }

    @Test func `Only what changed is written`() {
        let before = RegistryTable([host(1), host(2)])
        #expect(before.changes(since: before) == nil)
        let after = RegistryTable([host(1), host(2, requests: 5)])
        #expect(
            after.changes(since: before)
                == "id-2.demo 1.1: connections 1, dials 1, requests 5, reused 4")
        #expect(RegistryTable([host(1)]).changes(since: before) == "1 gone")
        let many = RegistryTable((1...6).map { host($0) })
        #expect(many.changes(since: RegistryTable([]))?.hasSuffix("; 2 more") == true)
    }
}
