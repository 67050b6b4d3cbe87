// What a peer's frames cost it, whatever pieces they come in.

import Testing

@testable import Edge

@Suite("The meter of HTTP/2 frames") struct FrameMeterTests {
    private static let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)

    private static func frame(_ type: UInt8, _ flags: UInt8, _ payload: [UInt8]) -> [UInt8] {
        let count = payload.count
        return [
            UInt8(count >> 16), UInt8(count >> 8 & 255), UInt8(count & 255), type, flags, 0, 0, 0,
            1,
        ] + payload
    }

    /// One of everything: what an ordinary client sends, then each oddity.
    private static let mixture: [UInt8] =
        preface + frame(4, 0, []) + frame(4, 1, []) + frame(8, 0, [0, 0, 0, 9])
        + frame(1, 4, [0x82, 0x84]) + frame(0, 0, Array(repeating: 7, count: 300))
        + frame(0, 1, []) + frame(3, 0, [0, 0, 0, 8]) + frame(1, 0, [0x82]) + frame(9, 4, [0x84])
        + frame(3, 0, [0, 0, 0, 8]) + frame(3, 0, [0, 0, 0, 8]) + frame(4, 0, [])
        + frame(4, 1, []) + frame(6, 1, Array(repeating: 0, count: 8))
        + frame(6, 0, Array(repeating: 0, count: 8)) + frame(2, 0, [0, 0, 0, 0, 1])
        + frame(0, 0, []) + frame(200, 0, [1, 2, 3])

    private func counts(_ meter: inout FrameMeter) -> [Oddity: Int] {
        var counts: [Oddity: Int] = [:]
        meter.budget.takeCounts { counts[$0] = $1 }
        return counts
    }

    @Test("ordinary frames are free, odd ones are counted, wherever a read ends")
    func pieces() {
        for size in 1...64 {
            var meter = FrameMeter(.server)
            var start = 0
            while start < Self.mixture.count {
                let end = min(start + size, Self.mixture.count)
                Array(Self.mixture[start..<end]).withBytes { meter.read($0, now: .zero) }
                start = end
            }
            #expect(
                counts(&meter) == [
                    .strayReset: 1, .settings: 1, .strayAcknowledgement: 2, .ping: 1,
                    .priority: 1, .emptyFrame: 1, .unknownFrame: 1,
                ], "pieces of \(size)")
            #expect(!meter.awaitsRest)
            #expect(meter.budget.flood == nil)
        }
    }

    @Test("what is not finished is owed, except content")
    func rest() {
        var meter = FrameMeter(.server)
        func feed(_ bytes: [UInt8]) { bytes.withBytes { meter.read($0, now: .zero) } }
        #expect(meter.awaitsRest)
        feed(Self.preface + Self.frame(4, 0, []))
        #expect(!meter.awaitsRest)
        feed(Self.frame(1, 0, [0x82]))
        #expect(meter.awaitsRest, "a head without its end")
        feed(Self.frame(9, 4, [0x84]))
        #expect(!meter.awaitsRest)
        feed([0, 0])
        #expect(meter.awaitsRest, "a part of a frame header")
        feed([8, 0, 0, 0, 0, 0, 1])
        #expect(!meter.awaitsRest, "content may take its time")
        let eight = [UInt8](repeating: 0, count: 8)
        feed(eight + Self.frame(6, 0, eight).dropLast())
        #expect(meter.awaitsRest, "a part of a PING")
    }

    @Test("updates are expected for DATA that was sent, and time heals")
    func recovery() {
        var meter = FrameMeter(.server)
        var now = Instant.zero
        let update = Self.frame(8, 0, [0, 0, 0, 1])
        (Self.preface + Self.frame(4, 0, [])).withBytes { meter.read($0, now: now) }
        for _ in 0..<16 { update.withBytes { meter.read($0, now: now) } }
        for _ in 0..<1000 {
            meter.sentData()
            (update + update).withBytes { meter.read($0, now: now) }
        }
        #expect(meter.budget.debt == 0)
        for _ in 0..<Limits.oddityBudget { update.withBytes { meter.read($0, now: now) } }
        #expect(meter.budget.debt == Limits.oddityBudget && meter.budget.flood == nil)
        now = now + .seconds(1)
        for _ in 0..<Int(Limits.oddityRecovery) { update.withBytes { meter.read($0, now: now) } }
        #expect(meter.budget.flood == nil)
        update.withBytes { meter.read($0, now: now) }
        #expect(meter.budget.flood == .windowUpdate)
        #expect(meter.budget.takeFlood() == .windowUpdate)
        #expect(meter.budget.takeFlood() == nil)
    }
}
