// The field line that tells clients to come back by https only (RFC 6797 §6.1).

/// `strict-transport-security: max-age=…`, written once for a listener; nothing when it is off.
///
/// Held by value, so that a connection's line outlives a reload and costs no reference counting.
struct StrictTransportSecurity: BitwiseCopyable, Sendable {
    private static let name: StaticString = "strict-transport-security"
    private static let directive: StaticString = "max-age="

    // Name, ": ", directive, ten digits and CRLF are 47 bytes.
    private var text: [48 of UInt8] = .init(repeating: 0)
    private var count: UInt8 = 0

    /// None is sent.
    init() {}

    /// Clients remember it for `maxAge`, in whole seconds; less than one: none is sent.
    init(maxAge: Duration) {
        let seconds = maxAge.nanoseconds / 1_000_000_000
        guard seconds > 0 else { return }
        append(Bytes(Self.name))
        append(Bytes(": "))
        append(Bytes(Self.directive))
        append(digitsOf: seconds)
        append(Bytes("\r\n"))
    }

    private mutating func append(_ bytes: Bytes) {
        for index in 0..<bytes.count {
            text[Int(count)] = bytes[index]
            count += 1
        }
    }

    private mutating func append(digitsOf number: Int64) {
        if number > 9 { append(digitsOf: number / 10) }
        text[Int(count)] = UInt8(ascii: "0") + UInt8(number % 10)
        count += 1
    }

    /// Adds the line to a final response that does not carry one already.
    ///
    /// As it stands in HTTP/1.1, so that its writer copies it together with the lines before it.
    /// Mutating only to lend its bytes where they are.
    @inline(__always)
    mutating func append(to head: inout Head) {
        guard count > 0, !head.statesTransportSecurity else { return }
        let start = head.text.count
        unsafe withUnsafeBytes(of: &text) { raw in
            guard let base = raw.baseAddress else { return }
            unsafe head.text.append(
                Bytes(base.assumingMemoryBound(to: UInt8.self), count: Int(count)))
        }
        let nameCount = Self.name.utf8CodeUnitCount
        _ = head.fields.append(
            FieldLine(
                name: TextRange(start: start, count: nameCount),
                value: TextRange(
                    start: start &+ nameCount &+ 2, count: Int(count) &- nameCount &- 4),
                known: .strictTransportSecurity))
    }
}
