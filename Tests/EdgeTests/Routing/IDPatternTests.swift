import Testing

@testable import Edge

@Suite("An id pattern") struct IDPatternTests {
    @Test(
        "matches whole ids only",
        arguments: [
            ("abc", ["abc"], ["ab", "abcd", "xabc", ""]),
            (
                "[a-z0-9]{1,20}", ["a", "0", "a1b2c3", "aaaaaaaaaaaaaaaaaaaa"],
                ["aaaaaaaaaaaaaaaaaaaaa", "A", "a-b"]
            ),
            ("[a-c]+[0-9]?", ["a", "cab", "cab7"], ["7", "cab77", "d"]),
            ("(dev|prod)-[0-9]{3}", ["dev-123", "prod-000"], ["dev-12", "test-123", "dev-1234"]),
            ("a(b|c)*d", ["ad", "abd", "abcbcd"], ["a", "abc", "bd"]),
            ("(ab){2}", ["abab"], ["ab", "ababab"]),
            ("a{2,}", ["aa", "aaaa"], ["a"]),
            ("[a-]b", ["ab"], ["b"]),
            ("[a-z0-9]([a-z0-9-]*[a-z0-9])?", ["a", "a-b", "a--b"], ["-a", "a-"]),
            ("x{0,2}y", ["y", "xy", "xxy"], ["xxxy"]),
        ])
    func matching(pattern: String, good: [String], bad: [String]) throws {
        guard pattern != "[a-]b" else {
            #expect(throws: IDPatternError.self) { try IDPattern(pattern) }
            return
        }
        let compiled = try IDPattern(pattern)
        for id in good { #expect(id.withBytes { compiled.matches($0) }, "\(id)") }
        for id in bad { #expect(!id.withBytes { compiled.matches($0) }, "\(id)") }
    }

    @Test("ends at 63 bytes whatever the pattern admits")
    func length() throws {
        let pattern = try IDPattern("a+")
        #expect(String(repeating: "a", count: 63).withBytes { pattern.matches($0) })
        #expect(!String(repeating: "a", count: 64).withBytes { pattern.matches($0) })
    }

    @Test(
        "is refused with the place of the mistake",
        arguments: [
            ("", 0, "something to match is missing"), ("a||b", 2, "something to match is missing"),
            ("()", 1, "something to match is missing"), ("(a", 2, "')' is missing"),
            ("a)", 1, "')' without '('"), ("[a", 2, "']' is missing"),
            ("[]", 2, "the class is empty"),
            ("[z-a]", 3, "a range needs two letters or two digits in order"),
            ("[0-z]", 3, "a range needs two letters or two digits in order"),
            ("A", 0, "only a-z, 0-9 and '-' can be part of an id"),
            ("a.b", 1, "only a-z, 0-9 and '-' can be part of an id"),
            ("[^a]", 1, "only a-z, 0-9 and '-' can be part of an id"),
            ("^a$", 0, "only a-z, 0-9 and '-' can be part of an id"),
            ("a**", 2, "two repetitions in a row"),
            ("*a", 0, "only a-z, 0-9 and '-' can be part of an id"),
            ("a{", 2, "a count is missing"), ("a{2,1}", 6, "the counts are not in order"),
            ("a{0}", 4, "the counts are not in order"), ("a{64}", 3, "a count is at most 63"),
            ("a{1", 3, "'}' is missing"), ("a*", 0, "the pattern admits an empty id"),
            ("-?a", 0, "the pattern admits an id that starts with '-'"),
            ("a-?", 0, "the pattern admits an id that ends with '-'"),
            ("((a{63}){63}){63}", 0, "the pattern is too large"),
        ])
    func mistakes(pattern: String, offset: Int, message: String) {
        #expect(throws: IDPatternError(offset: offset, message: message)) {
            try IDPattern(pattern)
        }
    }

    @Test("stays bounded where subsets explode")
    func explosion() {
        #expect(throws: IDPatternError(offset: 0, message: "the pattern has too many states")) {
            try IDPattern("[ab]*a[ab]{20}")
        }
    }

    @Test("random patterns are compiled or refused", arguments: 0..<6 as Range<UInt64>)
    func random(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        let alphabet = Array("ab0-[](){}|?*+,12")
        for _ in 0..<150 {
            let text = String(
                (0..<Int.random(in: 0...14, using: &random)).map { _ in
                    alphabet.randomElement(using: &random) ?? "a"
                })
            guard let pattern = try? IDPattern(text) else { continue }
            #expect(!"".withBytes { pattern.matches($0) })
            #expect(!"-a".withBytes { pattern.matches($0) })
        }
    }
}
