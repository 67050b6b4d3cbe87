import Testing

@testable import Edge

@Suite("A field name") struct FieldNameTests {
    static let known: [(String, FieldName)] = [
        ("connection", .connection), ("content-length", .contentLength), ("cookie", .cookie),
        ("date", .date), ("expect", .expect), ("forwarded", .forwarded), ("host", .host),
        ("http2-settings", .http2Settings), ("keep-alive", .keepAlive),
        ("proxy-connection", .proxyConnection), ("referer", .referer),
        ("strict-transport-security", .strictTransportSecurity), ("te", .te),
        ("trailer", .trailer), ("transfer-encoding", .transferEncoding), ("upgrade", .upgrade),
        ("user-agent", .userAgent), ("via", .via), ("x-forwarded-for", .xForwardedFor),
        ("x-forwarded-host", .xForwardedHost), ("x-forwarded-proto", .xForwardedProto),
    ]

    private func both(_ name: [UInt8]) -> [FieldName] {
        name.withBytes { bytes in
            unsafe [FieldName(bytes), FieldName(token: bytes.base, count: bytes.count)]
        }
    }

    @Test("is recognised in any case, and no other name is", arguments: known)
    func recognised(text: String, name: FieldName) {
        #expect(both(Array(text.utf8)) == [name, name])
        #expect(both(Array(text.uppercased().utf8)) == [name, name])
        for index in 0..<text.utf8.count {
            var other = Array(text.utf8)
            other[index] = other[index] == UInt8(ascii: "x") ? UInt8(ascii: "y") : UInt8(ascii: "x")
            #expect(both(other) == [.other, .other], "\(text) changed at \(index)")
        }
    }
}
