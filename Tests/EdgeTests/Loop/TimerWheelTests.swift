import Testing

@testable import Edge

@Suite("A timer wheel") struct TimerWheelTests {
    @Test("fires every deadline once, never early and at most two slots late", arguments: 1...8)
    func firesInTime(seed: Int) {
        var random = SplitMix(state: UInt64(seed))
        var now = Instant(nanoseconds: Int64(random.next() >> 20))
        var wheel = TimerWheel(now: now)
        var deadlines: [Deadline] = []
        var due: [Instant] = []
        for index in 0..<500 {
            var deadline = Deadline()
            let at = now + .milliseconds(Int64(random.next() % 200_000))
            wheel.set(&deadline, Token(.front, slot: UInt32(index)), at: at)
            deadlines.append(deadline)
            due.append(at)
        }
        for index in stride(from: 0, to: 500, by: 5) {
            let at = now + .milliseconds(Int64(random.next() % 200_000))
            wheel.set(&deadlines[index], Token(.front, slot: UInt32(index)), at: at)
            due[index] = at
        }
        for index in stride(from: 3, to: 500, by: 7) {
            wheel.cancel(&deadlines[index])
            due[index] = .never
        }
        var fired = Set<Int>()
        while wheel.count > 0 {
            let wait = wheel.millisecondsToNext(now: now)
            #expect(wait >= 0)
            now = now + .milliseconds(max(1, Int64(wait)))
            while let token = wheel.nextExpired(now: now) {
                let index = Int(token.slot)
                guard wheel.confirm(&deadlines[index], token, now: now) else { continue }
                #expect(fired.insert(index).inserted)
                #expect(due[index] <= now)
                #expect((now - due[index]) < .milliseconds(40))
            }
        }
        #expect(fired.count == due.count { $0 != .never })
    }

    @Test("a walk finds every deadline that it holds, near and far, and no other")
    func walk() {
        let now = Instant(nanoseconds: 1_000_000_000)
        var wheel = TimerWheel(now: now)
        var deadlines = [Deadline](repeating: Deadline(), count: 300)
        for slot in deadlines.indices {
            // Up to 5 minutes, four times round; some share a slot of the wheel.
            wheel.set(
                &deadlines[slot], Token(.front, slot: UInt32(slot)),
                at: now + .seconds(Int64(slot / 2 * 2)))
        }
        for slot in stride(from: 0, to: 300, by: 3) { wheel.cancel(&deadlines[slot]) }
        var found: [UInt32] = []
        wheel.forEach { found.append($0.slot) }
        #expect(found.count == wheel.count)
        #expect(Set(found) == Set((0..<300).filter { $0 % 3 != 0 }.map(UInt32.init)))
    }
}
