import Testing

@testable import Edge

@Suite("Departures of a drain") struct DeparturesTests {
    private func clients(_ count: Int) -> [Token] {
        (0..<count).map { Token(.front, slot: UInt32($0)) }
    }

    private func departures(_ count: Int, spread: Duration) -> Departures {
        Departures(clients(count), from: .zero, over: spread, pause: .seconds(1))
    }

    /// How many were told in each of ten parts of a time.
    private func tenths(_ departures: inout Departures, of whole: Duration) -> [Int] {
        (1...10).map { tenth in
            let now = Instant(nanoseconds: whole.nanoseconds / 10 * Int64(tenth))
            var count = 0
            while departures.nextToTell(now) != nil { count += 1 }
            return count
        }
    }

    @Test("many are told evenly over the whole spread")
    func even() {
        var many = departures(5000, spread: .seconds(5))
        let told = tenths(&many, of: .seconds(5))
        #expect(told.allSatisfy { (499...501).contains($0) }, "\(told)")
        #expect(many.hasToldAll)
    }

    @Test("few are told at the pace that nobody notices, whatever the spread is")
    func few() {
        var few = departures(20, spread: .seconds(3600))
        let told = tenths(&few, of: .milliseconds(200))
        #expect(told.reduce(0, +) == 20, "\(told)")
    }

    @Test("without a spread all are told at once")
    func atOnce() {
        var all = departures(300, spread: .zero)
        while all.nextToTell(.zero) != nil {}
        #expect(all.hasToldAll)
        #expect(!all.isOver)
        #expect(all.nextToGo(Instant(nanoseconds: 999_999_999)) == nil)
        #expect(all.next == Instant(nanoseconds: 1_000_000_000))
    }

    @Test("everyone is told once and goes a pause later, in another order than they came")
    func each() {
        var some = departures(100, spread: .seconds(1))
        var told: [Token] = [], gone: [Token] = []
        var now = Instant.zero
        while let next = some.next {
            #expect(next > now || now == .zero)
            now = next
            while let client = some.nextToTell(now) { told.append(client) }
            while let client = some.nextToGo(now) { gone.append(client) }
            #expect(gone.count < told.count || some.isOver)
        }
        #expect(told == gone)
        #expect(Set(told.map(\.slot)) == Set(0..<100))
        #expect(told != clients(100))
        #expect(now.nanoseconds <= 2_000_000_000)
    }

    @Test("nobody there: it is over before it began")
    func nobody() {
        let none = departures(0, spread: .seconds(5))
        #expect(none.hasToldAll)
        #expect(none.isOver)
        #expect(none.next == nil)
    }
}
