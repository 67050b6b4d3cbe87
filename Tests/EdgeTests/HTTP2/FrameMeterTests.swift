// What a peer's frames cost it, whatever pieces they come in.

import Testing

@testable import Edge

/// A meter behind a reader, as a server session has them.
private struct Metered {
    var frames = HTTP2FrameReader(.server)
    var meter = FrameMeter()

    var awaitsRest: Bool { meter.awaitsRest || frames.awaitsRest }

    mutating func read(_ bytes: [UInt8], now: Instant = .zero) {
        meter.budget.settle(now)
        bytes.withBytes { input in
            var position = 0
            while let frame = frames.next(input, &position) { meter.count(frame) }
        }
    }
}

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
        + frame(0, 0, []) + frame(200, 0, [1, 2, 3]) + frame(0, 8, [5, 1, 0, 0, 0, 0, 0])

    private func counts(_ meter: inout FrameMeter) -> [Oddity: Int] {
        var counts: [Oddity: Int] = [:]
        meter.budget.takeCounts { counts[$0] = $1 }
        return counts
    }

    @Test("ordinary frames are free, odd ones are counted, wherever a read ends")
    func pieces() {
        for size in 1...64 {
            var metered = Metered()
            var start = 0
            while start < Self.mixture.count {
                let end = min(start + size, Self.mixture.count)
                metered.read(Array(Self.mixture[start..<end]))
                start = end
            }
            #expect(
                counts(&metered.meter) == [
                    .strayReset: 1, .settings: 1, .strayAcknowledgement: 2, .ping: 1,
                    .priority: 1, .emptyFrame: 1, .unknownFrame: 1,
                    .padding: 1,
                ], "pieces of \(size)")
            #expect(!metered.awaitsRest)
            #expect(metered.meter.budget.flood == nil)
        }
    }

    @Test("what is not finished is owed, except content")
    func rest() {
        var metered = Metered()
        func feed(_ bytes: [UInt8]) { metered.read(bytes) }
        #expect(metered.awaitsRest)
        feed(Self.preface + Self.frame(4, 0, []))
        #expect(!metered.awaitsRest)
        feed(Self.frame(1, 0, [0x82]))
        #expect(metered.awaitsRest, "a head without its end")
        let begun = metered.meter.begun
        feed(Self.frame(9, 4, [0x84]))
        #expect(!metered.awaitsRest && metered.meter.begun == begun, "the rest of the same head")
        feed([0, 0])
        #expect(metered.awaitsRest, "a part of a frame header")
        feed([8, 0, 0, 0, 0, 0, 1])
        #expect(!metered.awaitsRest, "content may take its time")
        let eight = [UInt8](repeating: 0, count: 8)
        feed(eight + Self.frame(6, 0, eight).dropLast())
        #expect(metered.awaitsRest && metered.meter.begun == begun + 2, "a part of a PING")
    }

    @Test("updates are expected for DATA that was sent, and time heals")
    func recovery() {
        var metered = Metered()
        var now = Instant.zero
        let update = Self.frame(8, 0, [0, 0, 0, 1])
        metered.read(Self.preface + Self.frame(4, 0, []), now: now)
        for _ in 0..<16 { metered.read(update, now: now) }
        for _ in 0..<1000 {
            metered.meter.sentData()
            metered.read(update + update, now: now)
        }
        #expect(metered.meter.budget.debt == 0)
        for _ in 0..<Limits.oddityBudget { metered.read(update, now: now) }
        #expect(
            metered.meter.budget.debt == Limits.oddityBudget && metered.meter.budget.flood == nil)
        now = now + .seconds(1)
        for _ in 0..<Int(Limits.oddityRecovery) { metered.read(update, now: now) }
        #expect(metered.meter.budget.flood == nil)
        metered.read(update, now: now)
        #expect(metered.meter.budget.flood == .windowUpdate)
        #expect(metered.meter.budget.takeFlood() == .windowUpdate)
        #expect(metered.meter.budget.takeFlood() == nil)
    }
}
