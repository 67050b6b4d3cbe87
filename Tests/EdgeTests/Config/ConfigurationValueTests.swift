import Testing

@testable import Edge

@Suite("An address range") struct AddressRangeTests {
    @Test(
        "holds the addresses that share its prefix",
        arguments: [
            ("10.0.0.0/8", [10, 255, 0, 1], true), ("10.0.0.0/8", [11, 0, 0, 1], false),
            ("0.0.0.0/0", [1, 2, 3, 4], true), ("192.168.1.7", [192, 168, 1, 7], true),
            ("192.168.1.7", [192, 168, 1, 6], false), ("10.0.0.0/8", [10], false),
            ("10.0.0.0/8", [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 1], true),
            ("fd00::/8", [0xFD, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], true),
            ("fd00::/8", [0xFE, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], false),
            ("::1", [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], true),
            ("::/0", [10, 0, 0, 1], false),
            ("::/64", [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1], false),
        ] as [(String, [UInt8], Bool)])
    func contains(range: String, address: [UInt8], isInside: Bool) throws {
        let range = try #require(AddressRange(range))
        #expect(address.withBytes { range.contains($0) } == isInside)
    }

    @Test(
        "is refused otherwise",
        arguments: [
            "", "/", "10.0.0.0/33", "10.0.0.1/8", "::/129", "a/8", "10.0.0.0/8/8", "10.0.0.0/",
            "10.0.0.0/+8", "fd00::1/8",
        ])
    func mistakes(text: String) { #expect(AddressRange(text) == nil) }
}

@Suite("A duration") struct DurationTextTests {
    @Test(
        "is written as it is read",
        arguments: ["250ms", "3s", "5m", "12h", "1h30m", "1s500ms", "730d", "0s"])
    func reading(text: String) { #expect(Duration(text: text)?.text == text) }

    @Test(
        "is refused without a unit or out of order",
        arguments: [
            "", "3", "s", "3 s", "-3s", "1.5s", "3w", "1h1d", "1m1h", "1s1s", "9999999999999s",
            "999999999999h", "３s",
        ])
    func mistakes(text: String) { #expect(Duration(text: text) == nil) }

    @Test(
        "sizes are digits and one unit",
        arguments: [
            ("1KiB", 1024), ("64MiB", 64 << 20), ("2GiB", 2 << 30), ("1TiB", 1 << 40),
            ("1024KiB", 1 << 20), ("0MiB", 0),
        ])
    func sizes(_ text: String, _ bytes: Int) {
        #expect(ByteCount(text: text)?.bytes == bytes)
        let written = ByteCount(bytes: bytes).text
        #expect(bytes == 0 || ByteCount(text: written)?.bytes == bytes)
    }

    @Test(
        "other texts are no sizes",
        arguments: [
            "", "1", "MiB", "1MB", "1 MiB", "-1MiB", "1.5GiB", "1GiB1MiB", "999999999999TiB",
            "1mib",
        ])
    func malformedSizes(_ text: String) { #expect(ByteCount(text: text) == nil) }
}
