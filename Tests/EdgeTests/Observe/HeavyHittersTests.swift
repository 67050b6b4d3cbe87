// The sketch against exact counts.

import Testing

@testable import Edge

@Suite("Heavy hitters") struct HeavyHittersTests {
    /// Ids under a Zipf distribution, by the inverse of its cumulative sums.
    private struct Zipf {
        let sums: [Double]

        init(_ count: Int, exponent: Double) {
            var sum = 0.0
            var sums: [Double] = []
            for rank in 1...count {
                // Exponents of whole and half numbers need no power function.
                var weight = 1.0
                for _ in 0..<Int(exponent) { weight /= Double(rank) }
                if exponent != exponent.rounded(.down) {
                    weight /= Double(rank).squareRoot()
                }
                sum += weight
                sums.append(sum)
            }
            self.sums = sums
        }

        func next(_ random: inout some RandomNumberGenerator) -> Int {
            let point = Double.random(in: 0..<(sums.last ?? 1), using: &random)
            var low = 0
            var high = sums.count - 1
            while low < high {
                let middle = (low + high) / 2
                if sums[middle] > point { high = middle } else { low = middle + 1 }
            }
            return low
        }
    }

    private func expectBounds(_ sketch: borrowing HeavyHitters, _ exact: [String: UInt64]) {
        let total = exact.values.reduce(0, &+)
        let bound = total / UInt64(HeavyHitters.capacity)
        let held = Dictionary(sketch.all.map { ($0.text, $0) }) { first, _ in first }
        #expect(held.count == min(exact.count, HeavyHitters.capacity), "no text twice")
        #expect(sketch.all.reduce(0) { $0 + $1.weight } == total, "the counters add up to all")
        #expect(sketch.mostError <= bound)
        for (text, weight) in exact where weight > bound {
            #expect(held[text] != nil, "\(text) has \(weight) of \(total)")
        }
        for (text, hitter) in held {
            let weight = exact[text] ?? 0
            #expect(hitter.weight >= weight, "\(text) is not told too small")
            #expect(hitter.weight - hitter.error <= weight, "the error is the most it may be")
            #expect(hitter.error <= bound)
        }
        for (text, weight) in exact where held[text] == nil {
            #expect(weight <= sketch.mostError, "nobody larger is missing")
        }
    }

    @Test(
        "the bounds hold under Zipf",
        arguments: [(0.5, UInt64(1)), (1.0, 2), (1.5, 3), (0.0, 4)])
    func zipf(_ exponent: Double, _ seed: UInt64) {
        let ids = Zipf(10_000, exponent: exponent)
        var random = SplitMix(state: seed)
        var sketch = HeavyHitters(seed: seed)
        var exact: [String: UInt64] = [:]
        for _ in 0..<40_000 {
            let text = "\(ids.next(&random))"
            exact[text, default: 0] += 1
            text.withBytes { sketch.add($0, 1) }
        }
        expectBounds(sketch, exact)
    }

    @Test("the bounds hold for weights in any order, large ones last")
    func weights() {
        let ids = Zipf(5_000, exponent: 1)
        var random = SplitMix(state: 9)
        var sketch = HeavyHitters(seed: 3)
        var exact: [String: UInt64] = [:]
        for step in 0..<30_000 {
            let text = "id-\(ids.next(&random))"
            let weight = UInt64.random(in: 0...1 << (step / 2_000), using: &random)
            if weight > 0 { exact[text, default: 0] += weight }
            text.withBytes { sketch.add($0, weight) }
        }
        expectBounds(sketch, exact)
    }

    @Test("a scan of new texts moves nobody who is large")
    func scan() {
        var sketch = HeavyHitters(seed: 1)
        var exact: [String: UInt64] = [:]
        func add(_ text: String, _ weight: UInt64) {
            exact[text, default: 0] += weight
            text.withBytes { sketch.add($0, weight) }
        }
        for hot in 0..<20 { add("hot-\(hot)", 10_000) }
        for new in 0..<50_000 { add("\(new)", 1) }
        expectBounds(sketch, exact)
        for hot in 0..<20 {
            #expect(sketch.all.contains { $0.text == "hot-\(hot)" && $0.error == 0 })
        }
    }

    @Test("what fits is exact, up to texts of 64 bytes")
    func small() {
        var sketch = HeavyHitters(seed: 1)
        let texts = (0..<HeavyHitters.capacity).map {
            String(repeating: "x", count: $0 % 61) + "\($0)"
        }
        for (number, text) in texts.enumerated() {
            for _ in 0..<3 { text.withBytes { sketch.add($0, UInt64(number + 1)) } }
        }
        #expect(sketch.mostError == 0)
        let held = Dictionary(sketch.all.map { ($0.text, $0.weight) }) { first, _ in first }
        for (number, text) in texts.enumerated() { #expect(held[text] == UInt64(3 * number + 3)) }
        "one more".withBytes { sketch.add($0, 1) }
        #expect(sketch.mostError > 0 && sketch.count == HeavyHitters.capacity)
    }
}

@Suite("Tallies of ids") struct IDTalliesTests {
    private func tally(_ requests: Int, bytes: UInt64, errors: Int = 0) -> Tally {
        var tally = Tally()
        for number in 0..<requests {
            tally.add(bytes: bytes, isError: number < errors, took: .milliseconds(2))
        }
        return tally
    }

    @Test("workers add up, and the rest makes the sum exact")
    func merged() {
        var sums = IDSums()
        for worker in 0..<2 {
            var tallies = IDTallies(seed: UInt64(worker))
            for id in 1...100 {
                "\(id)".withBytes { tallies.add(tally(id, bytes: UInt64(1000 / id)), of: $0) }
            }
            "7".withBytes { tallies.add(tally(3, bytes: 0, errors: 2), of: $0) }
            tallies.add(tally(5, bytes: 9), of: .empty)
            tallies.total.add(bytes: 1, isError: true, took: .zero)
            sums.merge(tallies.sums)
        }
        let requests = sums.top(3, by: .requests)
        #expect(requests.ids.map(\.0) == ["100", "99", "98"])
        #expect(requests.ids.map(\.1) == [200, 198, 196])
        #expect(requests.rest == 2 * (5050 + 3 + 5 + 1) - 594)
        #expect(sums.top(1, by: .errors).ids.map(\.0) == ["7"])
        #expect(sums.top(1, by: .errors).rest == 2)
        #expect(sums.top(100, by: .errors).ids.count == 1, "only who has any")
        #expect(sums.mostError(.requests) == 0)
        #expect(sums.top(0, by: .bytes).ids.isEmpty)
    }

    @Test("an id that is called 'other' is one of them")
    func other() {
        var tallies = IDTallies(seed: 1)
        for (id, count) in [("other", 9), ("a", 2)] {
            id.withBytes { tallies.add(tally(count, bytes: 1), of: $0) }
        }
        let top = tallies.sums.top(20, by: .requests)
        #expect(top.ids.map(\.0) == ["a"] && top.rest == 9)
    }

    @Test("the page names as many as it is told to")
    func page() {
        var tallies = IDTallies(seed: 1)
        for id in 1...30 {
            "\(id)".withBytes { tallies.add(tally(id, bytes: 10, errors: 1), of: $0) }
        }
        var view = MetricsView()
        view.ids.merge(tallies.sums)
        #expect(!String(decoding: MetricsPage.render(view), as: UTF8.self).contains("edge_id_"))
        view.topIDs = 2
        let lines = String(decoding: MetricsPage.render(view), as: UTF8.self).split(separator: "\n")
        #expect(
            lines.filter { $0.hasPrefix("edge_id_requests_total") } == [
                "edge_id_requests_total{id=\"30\"} 30", "edge_id_requests_total{id=\"29\"} 29",
                "edge_id_requests_total{id=\"other\"} 406",
            ])
        #expect(lines.contains("edge_id_request_seconds_total{id=\"30\"} 0.06"))
        #expect(lines.contains("edge_id_errors_total{id=\"other\"} 28"))
        #expect(lines.contains("edge_id_uncertainty{measure=\"bytes\"} 0"))
    }
}
