import Testing

@testable import Edge

@Suite("What is remembered of a host") struct HostMemoryTests {
    private let start = Instant(nanoseconds: 5_000_000_000)

    private func after(_ duration: Edge.Duration) -> Instant { start + duration }

    @Test("its protocol, for an hour from the last dial on")
    func protocolMemory() {
        let memory = HostMemory()
        #expect(memory.learned(start) == .unknown)
        memory.learn(.http1, start)
        #expect(memory.learned(after(.seconds(3599))) == .http1)
        #expect(memory.learned(after(.seconds(3600))) == .unknown)
        memory.learn(.http2, after(.seconds(3600)))
        #expect(memory.learned(after(.seconds(7199))) == .http2)
        memory.forgetProtocol()
        #expect(memory.learned(after(.seconds(7199))) == .unknown)
    }

    @Test("how long it lets connections rest, once two closes agree")
    func rest() {
        let memory = HostMemory()
        memory.noteClose(after: .milliseconds(5000), start)
        #expect(memory.rest(start) == nil, "one close may have any reason")
        memory.noteClose(after: .milliseconds(5100), start)
        #expect(memory.rest(start) == .milliseconds(4000), "four fifths of the shorter one")
        #expect(memory.rest(after(.seconds(599))) == .milliseconds(4000))
        #expect(memory.rest(after(.seconds(600))) == nil, "it is not held against it for ever")
        // The next close at that age is enough to know it again.
        memory.noteClose(after: .milliseconds(5000), after(.seconds(700)))
        #expect(memory.rest(after(.seconds(700))) == .milliseconds(4000))
    }

    static let disagreeing: [[Int64]] = [
        [1000, 1400], [1400, 1000], [60_000, 900, 30_000, 2000], [499, 499, 100, 0], [5000, 499],
    ]

    @Test("nothing, when its closes do not agree or come too soon", arguments: disagreeing)
    func odd(ages: [Int64]) {
        let memory = HostMemory()
        for age in ages { memory.noteClose(after: .milliseconds(age), start) }
        #expect(memory.rest(start) == nil)
    }

    @Test("a limit of hours, which is cut to what the record holds")
    func long() {
        let memory = HostMemory()
        for _ in 0..<2 { memory.noteClose(after: .seconds(86_400), start) }
        #expect(memory.rest(start) == .milliseconds(1 << 24 - 1))
    }
}
