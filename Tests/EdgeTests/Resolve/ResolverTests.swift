import Testing

@testable import Edge

@Suite("A resolver") struct ResolverTests {
    @Test("asks once for each family, however many workers and waiters wait")
    func singleFlight() throws {
        let server = try ScriptedDNS(["one.test": .records(v4: ["10.0.0.1"], v6: ["fd00::1"])])
        let (rigs, _) = try ResolverRig.make(2, server: server)
        for rig in rigs {
            for number in 0..<50 {
                let lookup = rig.resolver[].resolve("one.test", waiter: ResolverRig.waiter(number))
                #expect(lookup == .pending)
            }
        }
        #expect(ResolverRig.run(rigs) { rigs.allSatisfy { $0.told.count == 50 } })
        for rig in rigs {
            #expect(Set(rig.told.map(\.slot)).count == 50)
            #expect(rig.answer("One.Test") == addresses("fd00::1", "10.0.0.1"))
        }
        #expect(server.count("one.test", ScriptedDNS.v4) == 1)
        #expect(server.count("one.test", ScriptedDNS.v6) == 1)
        #expect(rigs[0].resolver[].queriesOpened + rigs[1].resolver[].queriesOpened == 1)
        rigs.forEach { $0.finish() }
        server.stop()
    }

    @Test("gives both families in turns, in the server's order")
    func order() throws {
        let server = try ScriptedDNS([
            "many.test": .records(
                v4: ["10.0.0.1", "10.0.0.2", "10.0.0.3"], v6: ["fd00::1", "fd00::2"])
        ])
        let (rigs, _) = try ResolverRig.make(server: server)
        #expect(
            rigs[0].answer("many.test")
                == addresses("fd00::1", "10.0.0.1", "fd00::2", "10.0.0.2", "10.0.0.3"))
        rigs[0].finish()
        server.stop()
    }

    @Test("asks again when the time to live has passed, the alias's too")
    func expiry() throws {
        let server = try ScriptedDNS([
            "short.test": .records(v4: ["10.0.0.1"], ttl: 0),
            "alias.test": .alias("target.test", ttl: 0, v4: "10.0.0.9"),
            "long.test": .records(v4: ["10.0.0.1"], ttl: 4_000_000_000),
        ])
        // Long enough that none expires between its answer and the next look at it.
        let (rigs, _) = try ResolverRig.make(server: server) {
            $0.minTTL = .milliseconds(1500)
            $0.maxTTL = .milliseconds(2000)
        }
        #expect(rigs[0].answer("short.test") == addresses("10.0.0.1"))
        #expect(rigs[0].answer("alias.test") == addresses("10.0.0.9"))
        #expect(rigs[0].answer("long.test") == addresses("10.0.0.1"))
        #expect(rigs[0].answer("long.test") == addresses("10.0.0.1"))
        #expect(server.count("long.test", ScriptedDNS.v4) == 1)
        for name in ["short.test", "alias.test", "long.test"] {
            server[name] = .records(v4: ["10.0.0.2"])
        }
        rigs[0].pass(.milliseconds(2050))
        for name in ["short.test", "alias.test", "long.test"] {
            #expect(rigs[0].answer(name) == addresses("10.0.0.2"))
            #expect(server.count(name, ScriptedDNS.v4) == 2)
        }
        rigs[0].finish()
        server.stop()
    }

    @Test("believes for a while that a name does not exist")
    func negative() throws {
        let server = try ScriptedDNS(["empty.test": .records()])
        let (rigs, _) = try ResolverRig.make(server: server) { $0.negativeTTL = .seconds(2) }
        for _ in 0..<3 {
            #expect(rigs[0].answer("no.test") == .failed(.notFound))
            #expect(rigs[0].answer("empty.test") == .failed(.notFound))
        }
        #expect(server.count("no.test", ScriptedDNS.v4) == 1)
        server["no.test"] = .records(v4: ["10.0.0.1"])
        rigs[0].pass(.milliseconds(2050))
        #expect(rigs[0].answer("no.test") == addresses("10.0.0.1"))
        rigs[0].finish()
        server.stop()
    }

    @Test("does not take one family's failure for a name that does not exist")
    func halfFailure() throws {
        let server = try ScriptedDNS(["half.test": .failureForV4])
        let (rigs, _) = try ResolverRig.make(server: server) { $0.attempts = 1 }
        #expect(rigs[0].answer("half.test") == .failed(.serverFailure))
        rigs[0].finish()
        server.stop()
    }

    @Test("serves an expired answer while the servers fail, and no longer than allowed")
    func stale() throws {
        let server = try ScriptedDNS(["stale.test": .records(v4: ["10.0.0.1"], ttl: 0)])
        let (rigs, _) = try ResolverRig.make(server: server) { $0.stale = .seconds(4) }
        #expect(rigs[0].answer("stale.test") == addresses("10.0.0.1"))
        server["stale.test"] = .failure
        rigs[0].pass(.milliseconds(150))
        #expect(rigs[0].answer("stale.test") == addresses("10.0.0.1"))
        let asked = server.count("stale.test")
        #expect(rigs[0].answer("stale.test") == addresses("10.0.0.1"))
        #expect(server.count("stale.test") == asked)
        rigs[0].pass(.milliseconds(4100))
        #expect(rigs[0].answer("stale.test") == .failed(.serverFailure))
        server["stale.test"] = .records(v4: ["10.0.0.2"])
        rigs[0].pass(.milliseconds(1050))
        #expect(rigs[0].answer("stale.test") == addresses("10.0.0.2"))
        rigs[0].finish()
        server.stop()
    }

    @Test("an authoritative no ends an expired answer")
    func staleThenGone() throws {
        let server = try ScriptedDNS(["gone.test": .records(v4: ["10.0.0.1"], ttl: 0)])
        let (rigs, _) = try ResolverRig.make(server: server)
        #expect(rigs[0].answer("gone.test") == addresses("10.0.0.1"))
        server["gone.test"] = .noName
        rigs[0].pass(.milliseconds(150))
        #expect(rigs[0].answer("gone.test") == .failed(.notFound))
        rigs[0].finish()
        server.stop()
    }

    @Test("times out, fails, and tells which; both are believed for a moment")
    func failures() throws {
        let server = try ScriptedDNS([
            "silent.test": .silence, "broken.test": .failure, "garbage.test": .garbage,
        ])
        let (impatient, _) = try ResolverRig.make(server: server) {
            $0.timeout = .milliseconds(100)
            $0.attempts = 2
        }
        let began = Instant.now()
        #expect(impatient[0].answer("silent.test") == .failed(.timedOut))
        #expect(server.count("silent.test", ScriptedDNS.v4) == 2)
        #expect(impatient[0].answer("silent.test") == .failed(.timedOut))
        if Instant.now() - began < Limits.failureTTL {
            #expect(server.count("silent.test", ScriptedDNS.v4) == 2)
        }
        let (rigs, _) = try ResolverRig.make(server: server) { $0.attempts = 2 }
        #expect(rigs[0].answer("broken.test") == .failed(.serverFailure))
        guard case .failed(let failure) = rigs[0].answer("garbage.test") else {
            Issue.record("garbage gave addresses")
            return
        }
        #expect(!failure.isVerdict)
        impatient[0].finish()
        rigs[0].finish()
        server.stop()
    }

    @Test("goes to TCP for what UDP cannot hold, and keeps a bounded number of addresses")
    func truncation() throws {
        let many = (1...100).map { "10.0.1.\($0)" }
        let server = try ScriptedDNS(["big.test": .truncated(v4: many)])
        let (rigs, _) = try ResolverRig.make(server: server)
        guard case .addresses(let found) = rigs[0].answer("big.test") else {
            Issue.record("no addresses over TCP")
            return
        }
        #expect(found.list.count == Limits.addressesPerName)
        rigs[0].finish()
        server.stop()
    }

    @Test("answers addresses, localhost and unusable names without asking")
    func withoutQueries() throws {
        let server = try ScriptedDNS([:])
        for searches in [false, true] {
            let (rigs, _) = try ResolverRig.make(server: server) { $0.usesSearch = searches }
            let resolver = rigs[0].resolver
            let waiter = ResolverRig.waiter(1)
            #expect(resolver[].resolve("10.1.2.3", waiter: waiter) == addresses("10.1.2.3"))
            #expect(resolver[].resolve("[fd00::7]", waiter: waiter) == addresses("fd00::7"))
            #expect(resolver[].resolve("fd00::7", waiter: waiter) == addresses("fd00::7"))
            let loopback = SocketAddress(numeric: "127.0.0.1", port: 0) ?? .unix
            for name in ["localhost", "LocalHost", "localhost."] {
                guard case .addresses(let found) = resolver[].resolve(name, waiter: waiter) else {
                    Issue.record("\(name) is not known")
                    continue
                }
                #expect(found.list.contains(loopback))
            }
            let label = String(repeating: "a", count: 64)
            for name in [
                "", ".", "..", "a..b", ".a", "a b", "a/b", "ä", "[1.2.3.4]", label, "a\0b",
            ] {
                #expect(resolver[].resolve(name, waiter: waiter) == .failed(.unusableName))
            }
            let long = String(repeating: "a.", count: 126) + "ab"
            #expect(long.utf8.count == 254)
            #expect(resolver[].resolve(long, waiter: waiter) == .failed(.unusableName))
            rigs[0].finish()
        }
        server.stop()
    }

    @Test("a final dot means the name as it is, with search domains or without")
    func absoluteNames() throws {
        let server = try ScriptedDNS(["dot.test": .records(v4: ["10.0.0.1"])])
        for searches in [false, true] {
            let (rigs, _) = try ResolverRig.make(server: server) { $0.usesSearch = searches }
            #expect(rigs[0].answer("dot.test.") == addresses("10.0.0.1"))
            #expect(rigs[0].answer("dot.test") == addresses("10.0.0.1"))
            #expect(rigs[0].answer("none.test.") == .failed(.notFound))
            rigs[0].finish()
        }
        server.stop()
    }

    @Test("does not tell a waiter that was forgotten, and tells the others")
    func forget() throws {
        let server = try ScriptedDNS(["one.test": .records(v4: ["10.0.0.1"])])
        let (rigs, _) = try ResolverRig.make(server: server)
        let resolver = rigs[0].resolver
        for number in 0..<3 {
            #expect(
                resolver[].resolve("one.test", waiter: ResolverRig.waiter(number)) == .pending)
        }
        resolver[].forget(ResolverRig.waiter(0))
        resolver[].forget(ResolverRig.waiter(99))
        #expect(ResolverRig.run(rigs) { rigs[0].told.count == 2 })
        #expect(Set(rigs[0].told.map(\.slot)) == [1, 2])
        #expect(resolver[].waiterCount == 0)
        rigs[0].finish()
        server.stop()
    }

    @Test("shuts down with queries in flight; who waits elsewhere asks for himself")
    func shutDown() throws {
        let server = try ScriptedDNS(["slow.test": .silence, "other.test": .silence])
        let (rigs, cache) = try ResolverRig.make(2, server: server) {
            $0.usesSearch = true
            $0.timeout = .seconds(5)
        }
        let waiter = ResolverRig.waiter(1)
        #expect(rigs[0].resolver[].resolve("slow.test", waiter: waiter) == .pending)
        #expect(
            rigs[0].resolver[].resolve("other.test.", waiter: ResolverRig.waiter(2)) == .pending)
        #expect(rigs[1].resolver[].resolve("slow.test", waiter: waiter) == .pending)
        #expect(
            ResolverRig.run(rigs) {
                server.count("slow.test") == 2 && server.count("other.test") == 2
            })
        server["slow.test"] = .records(v4: ["10.0.0.1"])
        rigs[0].resolver[].shutDown()
        #expect(rigs[0].resolver[].queriesOpened == rigs[0].resolver[].queriesClosed)
        #expect(ResolverRig.run(rigs) { rigs[0].told.count == 2 && rigs[1].told.count == 1 })
        #expect(
            rigs[0].resolver[].resolve("slow.test", waiter: waiter) == .failed(.unavailable))
        rigs[1].told = []
        #expect(rigs[1].answer("slow.test") == addresses("10.0.0.1"))
        #expect(rigs[0].resolver[].resolve("slow.test", waiter: waiter) == addresses("10.0.0.1"))
        #expect(cache.count == 1)
        rigs.forEach { $0.finish() }
        server.stop()
    }

    @Test("keeps a bounded number of names under a scan")
    func bounded() throws {
        let server = try ScriptedDNS(["kept.test": .records(v4: ["10.0.0.1"])])
        let (rigs, cache) = try ResolverRig.make(server: server) { $0.maxNames = 10 }
        #expect(rigs[0].answer("kept.test") == addresses("10.0.0.1"))
        for number in 0..<50 {
            #expect(rigs[0].answer("id-\(number).test") == .failed(.notFound))
            #expect(cache.count <= 10)
        }
        #expect(rigs[0].answer("kept.test") == addresses("10.0.0.1"))
        #expect(server.count("kept.test", ScriptedDNS.v4) == 1)
        rigs[0].finish()
        server.stop()
    }

    @Test(
        "knows what a server's address looks like",
        arguments: [
            ("127.0.0.1", true), ("127.0.0.1:5353", true), ("[::1]:53", true), ("[::1]", true),
            ("::1", true), ("dns.test:53", false), ("127.0.0.1:0", false), ("127.0.0.1:", false),
            ("127.0.0.1:99999", false), ("", false), ("1.2.3.4,5.6.7.8", false), ("]", false),
        ])
    func servers(_ text: String, _ isServer: Bool) {
        #expect(QueryChannel.isServer(text) == isServer)
    }

    @Test("is not made with servers that are none")
    func unusableServers() throws {
        let loop = Ref.allocate(try EventLoop())
        var settings = ResolverSettings()
        settings.servers = ["dns.test"]
        let cache = NameCache(settings, workers: 1) { _ in }
        var failure: ResolverSetupFailure?
        do throws(ResolverSetupFailure) {
            _ = try Resolver(cache: cache, worker: 0, loop: loop)
        } catch {
            failure = error
        }
        #expect(failure?.description == "'dns.test' is not address[:port]")
        loop.destroy()
    }
}
