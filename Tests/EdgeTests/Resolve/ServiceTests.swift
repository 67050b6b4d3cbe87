import Testing

@testable import Edge

@Suite("A service's name") struct ServiceTests {
    private func record(
        _ target: String, _ port: UInt16, priority: UInt16 = 0, weight: UInt16 = 0
    ) -> ServiceRecord {
        ServiceRecord(priority: priority, weight: weight, port: port, target: target)
    }

    private func answer(
        _ scripts: [String: Script], change: (inout ResolverSettings) -> Void = { _ in }
    ) throws -> NameLookup {
        let server = try ScriptedDNS(scripts)
        let (rigs, _) = try ResolverRig.make(server: server, change)
        let answer = rigs[0].answer("_x._tcp.a.test", isService: true)
        rigs[0].finish()
        server.stop()
        return answer
    }

    private func found(_ answer: NameLookup) -> [String] {
        guard case .addresses(let found) = answer else { return [] }
        return found.list.enumerated().map { index, address in
            "\(found.rank(index).priority) \(found.rank(index).share) \(address.text)"
        }
    }

    @Test("leads to the addresses of its targets, in order of priority, with ports and shares")
    func records() throws {
        let answer = try answer([
            "_x._tcp.a.test": .services([
                record("two.test", 82, priority: 2, weight: 9),
                record("One.test", 81, priority: 1, weight: 3),
                record("zero.test", 80, priority: 1),
            ]),
            "one.test": .records(v4: ["10.0.0.1", "10.0.0.2"], v6: ["fd00::1"]),
            "two.test": .records(v4: ["10.0.0.3"]), "zero.test": .records(v4: ["10.0.0.4"]),
        ])
        #expect(
            found(answer) == [
                "1 64 [fd00::1]:81", "1 64 10.0.0.1:81", "1 64 10.0.0.2:81", "1 1 10.0.0.4:80",
                "2 576 10.0.0.3:82",
            ])
    }

    @Test("does without targets that have no address, and fails when none has one")
    func missingTargets() throws {
        let some = try answer([
            "_x._tcp.a.test": .services([record("gone.test", 1), record("here.test", 2)]),
            "here.test": .records(v4: ["10.0.0.1"]),
        ])
        #expect(found(some) == ["0 1 10.0.0.1:2"])
        let none = try answer(["_x._tcp.a.test": .services([record("gone.test", 1)])])
        #expect(none == .failed(.notFound))
        let failed = try answer(
            [
                "_x._tcp.a.test": .services([record("gone.test", 1), record("ill.test", 2)]),
                "ill.test": .failure,
            ], change: { $0.attempts = 1 })
        #expect(failed == .failed(.serverFailure))
    }

    @Test("that says it is not there, has no records or does not exist is not found")
    func absent() throws {
        #expect(try answer(["_x._tcp.a.test": .services([record("", 0)])]) == .failed(.notFound))
        #expect(try answer(["_x._tcp.a.test": .services([])]) == .failed(.notFound))
        #expect(try answer(["_x._tcp.a.test": .records()]) == .failed(.notFound))
        #expect(try answer([:]) == .failed(.notFound))
        let garbage = try answer(["_x._tcp.a.test": .garbage], change: { $0.attempts = 1 })
        #expect(garbage == .failed(.serverFailure) || garbage == .failed(.timedOut))
    }

    @Test("is not its addresses' name, and lives as long as the shortest of its answers")
    func life() throws {
        let server = try ScriptedDNS([
            "a.test": .services([record("b.test", 1)], ttl: 60),
            "b.test": .records(v4: ["10.0.0.1"], ttl: 0),
        ])
        // Long enough that it does not expire between the answer and the look at it.
        let (rigs, cache) = try ResolverRig.make(server: server) {
            $0.minTTL = .milliseconds(1500)
        }
        #expect(found(rigs[0].answer("a.test", isService: true)) == ["0 1 10.0.0.1:1"])
        #expect(rigs[0].answer("a.test") == .failed(.notFound))
        #expect(cache.count == 2)
        server["b.test"] = .records(v4: ["10.0.0.2"], ttl: 60)
        rigs[0].pass(.milliseconds(1550))
        #expect(found(rigs[0].answer("a.test", isService: true)) == ["0 1 10.0.0.2:1"])
        #expect(server.count("a.test", 33) == 2)
        rigs[0].finish()
        server.stop()
    }

    @Test("is let go by a worker that ends in the middle of it")
    func shutDown() throws {
        let server = try ScriptedDNS([
            "a.test": .services([record("silent.test", 1)]), "silent.test": .silence,
        ])
        let (rigs, cache) = try ResolverRig.make(server: server)
        let waiter = ResolverRig.waiter(1)
        #expect(rigs[0].resolver[].resolve("a.test", isService: true, waiter: waiter) == .pending)
        #expect(ResolverRig.run(rigs) { server.count("silent.test") > 0 })
        rigs[0].finish()
        #expect(cache.count == 0)
        server.stop()
    }

    @Test("a first-seen name is asked for when its turn comes, and given up at the end")
    func turns() throws {
        let server = try ScriptedDNS(["n6.test": .records(v4: ["10.0.0.1"])])
        let (rigs, cache) = try ResolverRig.make(2, server: server) { $0.firstSeenPerSecond = 1 }
        for number in 0..<6 {
            let lookup = rigs[number % 2].answer("n\(number).test")
            #expect(lookup == .failed(.notFound))
        }
        let waiter = ResolverRig.waiter(1)
        let began = Instant.now()
        #expect(rigs[0].resolver[].resolve("n6.test", waiter: waiter) == .pending)
        #expect(rigs[1].resolver[].resolve("n6.test", waiter: waiter) == .pending)
        #expect(server.count("n6.test") == 0)
        #expect(ResolverRig.run(rigs) { rigs.allSatisfy { $0.told.contains(waiter) } })
        #expect(Instant.now() - began > .milliseconds(100))
        #expect(rigs[1].answer("n6.test") == addresses("10.0.0.1"))
        #expect(rigs[1].resolver[].resolve("n7.test", waiter: waiter) == .pending)
        let count = cache.count
        rigs.forEach { $0.finish() }
        #expect(cache.count == count - 1, "nobody asks for it any more")
        server.stop()
    }
}
