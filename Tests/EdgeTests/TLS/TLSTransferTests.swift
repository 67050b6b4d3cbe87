import Glibc
import Testing

@testable import Edge

@Suite("TLS records") struct TLSTransferTests {
    private static func pair(_ version: TLSVersion = .tls13) throws -> TLSPair {
        let client = try Contexts.client()
        if version == .tls12 { ClientLimits.newest12(client) }
        let pair = try #require(TLSPair(try Contexts.server(), client))
        #expect(pair.connect())
        return pair
    }

    @Test("carry megabytes both ways", arguments: TLSVersion.allCases)
    func large(version: TLSVersion) throws {
        let pair = try Self.pair(version)
        var generator = SplitMix(state: 7)
        for (from, to) in [(pair.client, pair.server), (pair.server, pair.client)] {
            for round in 0..<24 {
                let sent = (0..<(round * 9973 + 1)).map { _ in
                    UInt8(truncatingIfNeeded: generator.next())
                }
                #expect(from.write(sent))
                var received: [UInt8] = []
                while received.count < sent.count {
                    from.flush()
                    let (step, bytes) = to.read(40_000)
                    guard case .bytes = step else { continue }
                    received += bytes
                }
                #expect(received == sent)
            }
        }
        #expect(pair.client.waiting.isEmpty)
    }

    @Test("fill the reader's space from several records")
    func severalRecords() throws {
        let pair = try Self.pair()
        for text in ["one ", "two ", "three"] { #expect(pair.client.write(text)) }
        pair.client.flush()
        #expect(pair.server.readText() == "one two three")
        #expect(!pair.server.hasBuffered)
        #expect(pair.server.isDrained)
        guard case .wantsRead = pair.server.read().0 else {
            Issue.record("nothing was left to read")
            return
        }
    }

    @Test("wait inside when the reader's space is short")
    func buffered() throws {
        let pair = try Self.pair()
        #expect(pair.client.write("abcdef"))
        pair.client.flush()
        #expect(pair.server.read(4).1 == Array("abcd".utf8))
        #expect(pair.server.hasBuffered)
        #expect(pair.server.readText() == "ef")
    }

    @Test("of which a part has come are not read before more does", arguments: ["", "whole "])
    func part(before: String) throws {
        let pair = try Self.pair()
        for cut in 1..<26 {
            #expect(pair.client.write(before))
            pair.client.flush()
            #expect(pair.client.write("late"))
            let record = pair.client.waiting
            #expect(record.count == 26)
            pair.client.wire[].output.removeAll()
            Array(record[..<cut]).withBytes { _ = Socket.send(pair.client.wire[].descriptor, $0) }
            #expect(pair.server.readText() == before)
            #expect(!pair.server.hasBuffered, "a worker would not come to rest: \(cut) octets")
            Array(record[cut...]).withBytes { _ = Socket.send(pair.client.wire[].descriptor, $0) }
            #expect(pair.server.readText() == "late")
        }
    }

    @Test("are not asked of a drained socket until an event says so")
    func drained() throws {
        let pair = try Self.pair()
        guard case .wantsRead = pair.server.read().0 else {
            Issue.record("nothing was sent")
            return
        }
        #expect(pair.server.isDrained)
        #expect(pair.client.write("late"))
        pair.client.flush()
        var space: [8 of UInt8] = .init(repeating: 0)
        let step = unsafe withUnsafeMutableBytes(of: &space) { raw in
            unsafe raw.bindMemory(to: UInt8.self).baseAddress.map {
                unsafe pair.server.session.read(into: $0, capacity: 8)
            }
        }
        guard case .wantsRead? = step else {
            Issue.record("a drained socket was read")
            return
        }
        #expect(pair.server.readText() == "late")
    }

    @Test("end cleanly with close_notify, after the last byte", arguments: TLSVersion.allCases)
    func cleanClose(version: TLSVersion) throws {
        let pair = try Self.pair(version)
        #expect(pair.client.write("bye"))
        pair.client.session.closeNotify()
        pair.client.flush()
        pair.client.end()
        #expect(pair.server.readText() == "bye")
        for _ in 0..<2 {
            guard case .closed(clean: true) = pair.server.read().0 else {
                Issue.record("the close was not clean")
                return
            }
        }
    }

    @Test("cut short are seen as cut short", arguments: TLSVersion.allCases, [0, 1, 10])
    func uncleanClose(version: TLSVersion, missing: Int) throws {
        let pair = try Self.pair(version)
        #expect(pair.client.write("whole"))
        pair.client.flush()
        #expect(pair.client.write("partial"))
        let bytes = pair.client.waiting
        let sent = missing == 0 ? bytes : Array(bytes.dropLast(missing))
        pair.client.wire[].output.removeAll()
        sent.withBytes { pair.client.wire[].output.append($0) }
        pair.client.flush()
        shutdown(pair.client.wire[].descriptor, Int32(SHUT_WR))
        #expect(pair.server.readText() == (missing == 0 ? "wholepartial" : "whole"))
        guard case .closed(clean: false) = pair.server.read().0 else {
            Issue.record("a truncation was taken for a clean end")
            return
        }
        #expect(pair.server.write("still answered"))
        pair.server.flush()
        #expect(pair.client.readText() == "still answered")
    }

    @Test("and the end behind a part of one are found in turn, however they came together")
    func endBehindPart() throws {
        let (left, right) = TLSPair.sockets()
        let context = try Contexts.client()
        let made = TLSEnd(left) { wire in
            TLSSession(
                client: context, wire: wire, serverName: Bytes("localhost"), alpn: [],
                sessions: nil)
        }
        let client = try #require(made)
        let pool = Ref.allocate(BufferPool())
        defer { pool.destroy() }
        var transport = Transport(descriptor: right, pool: pool)
        defer { transport.close() }
        transport.tls = TLSSession(server: try Contexts.server(), wire: transport.wire)
        var nothing = ByteQueue(pool: pool)
        for _ in 0..<6 {
            _ = client.step()
            transport.noteReadable(endsSoon: false)
            _ = transport.tls?.handshake()
            _ = transport.flush(&nothing)
        }
        #expect(client.write("whole"))
        client.flush()
        #expect(client.write("part"))
        Array(client.waiting.dropLast()).withBytes { _ = Socket.send(left, $0) }
        client.wire[].output.removeAll()
        shutdown(left, Int32(SHUT_WR))
        // One event tells of all that, and no other will follow.
        transport.noteReadable(endsSoon: true)
        var place = [UInt8](repeating: 0, count: 100)
        var found: [String] = []
        while transport.mayHoldMore, found.count < 3 {
            let outcome = unsafe place.withUnsafeMutableBufferPointer { buffer in
                unsafe buffer.baseAddress.map { unsafe transport.read(into: $0, capacity: 100) }
            }
            switch outcome {
            case .bytes(let count)?: found.append(String(decoding: place[..<count], as: UTF8.self))
            case .ended(let isClean)?:
                found.append("an end, clean: \(isClean)")
                transport.close()
            default: found.append("nothing")
            }
        }
        #expect(found == ["whole", "an end, clean: false"])
    }

    @Test("that were tampered with end the session")
    func tampered() throws {
        let pair = try Self.pair()
        #expect(pair.client.write("text"))
        var bytes = pair.client.waiting
        bytes[bytes.count - 1] ^= 1
        pair.client.wire[].output.removeAll()
        bytes.withBytes { pair.client.wire[].output.append($0) }
        pair.client.flush()
        guard case .failed(let failure) = pair.server.read().0 else {
            Issue.record("a damaged record was accepted")
            return
        }
        #expect(failure.reason.string == "decryption failed or bad record mac")
        #expect(pair.server.flush(), "an alert is due")
    }

    @Test("lost with the socket name its errno")
    func socketFailure() throws {
        let pair = try Self.pair()
        close(pair.server.wire[].descriptor)
        let (step, _) = pair.server.read()
        pair.server.wire[].descriptor = -1
        guard case .failed(let failure) = step else {
            Issue.record("a closed descriptor was read")
            return
        }
        #expect(failure == .io(EBADF))
    }

    @Test(
        "without data are bounded, whoever sends them, and a byte now and then pays for none",
        arguments: [true, false], ["", "x"])
    func keyUpdateFlood(fromClient: Bool, data: String) throws {
        let pair = try Self.pair()
        let (from, to) = fromClient ? (pair.client, pair.server) : (pair.server, pair.client)
        var ended = false
        for _ in 0..<100 where !ended {
            KeyUpdates.request(from)
            #expect(data.isEmpty || from.write(data))
            from.flush()
            if case .failed(let failure) = to.read().0 {
                #expect(failure.kind == .flood)
                ended = true
            }
        }
        #expect(ended)
    }

    @Test("that are small are read in shares, and none is lost")
    func manyRecords() throws {
        let pair = try Self.pair()
        for _ in 0..<200 { #expect(pair.client.write("x")) }
        pair.client.flush()
        var shares: [Int] = []
        while shares.reduce(0, +) < 200 {
            let share = pair.server.read().1.count
            guard share > 0 else { break }
            shares.append(share)
            #expect(pair.server.hasBuffered == (shares.count < 4))
        }
        #expect(shares == [64, 64, 64, 8])
    }

    @Test("pass after buffers were given back while idle")
    func released() throws {
        let pair = try Self.pair()
        for round in 0..<3 {
            pair.server.session.releaseBuffers()
            pair.client.session.releaseBuffers()
            #expect(pair.client.write("round \(round)"))
            pair.client.flush()
            #expect(pair.server.readText() == "round \(round)")
            #expect(pair.server.write("answer \(round)"))
            pair.server.flush()
            #expect(pair.client.readText() == "answer \(round)")
        }
    }

    @Test("are refused, not trapped on, when the output is full")
    func outputBound() throws {
        let pair = try Self.pair()
        let block = [UInt8](repeating: 1, count: 512 * 1024)
        #expect(pair.server.write(block))
        #expect(pair.server.write(block))
        #expect(pair.server.write(block))
        #expect(!pair.server.write(block))
    }
}
