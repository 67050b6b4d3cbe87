import Testing

@testable import Edge

@Suite("Strict-Transport-Security") struct StrictTransportSecurityTests {
    private func lines(_ maxAge: Duration, isStated: Bool = false) -> [String] {
        let pool = Ref.allocate(BufferPool())
        defer { pool.destroy() }
        var head = Head(pool: pool)
        head.statesTransportSecurity = isStated
        var line = StrictTransportSecurity(maxAge: maxAge)
        line.append(to: &head)
        #expect(head.text.bytes.string.hasSuffix(head.fields.count == 0 ? "" : "\r\n"))
        return (0..<head.fields.count).map { index in
            "\(head.name(head.fields[index]).string): \(head.value(head.fields[index]).string)"
        }
    }

    @Test(
        "says whole seconds",
        arguments: [
            (Duration.seconds(1), "1"), (.milliseconds(1999), "1"), (.seconds(600), "600"),
            (.seconds(63_072_000), "63072000"), (.seconds(315_360_000), "315360000"),
            (.seconds(9_000_000_000), "9000000000"),
        ])
    func written(maxAge: Duration, digits: String) {
        #expect(lines(maxAge) == ["strict-transport-security: max-age=\(digits)"])
    }

    @Test("is not said for less than a second, or twice")
    func absent() {
        #expect(lines(.zero).isEmpty)
        #expect(lines(.milliseconds(999)).isEmpty)
        #expect(lines(.seconds(60), isStated: true).isEmpty)
    }
}
