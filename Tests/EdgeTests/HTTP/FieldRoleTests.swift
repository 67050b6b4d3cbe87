import Testing

@testable import Edge

@Suite("The role of a field") struct FieldRoleTests {
    private func isControl(_ name: String) -> Bool {
        name.withBytes { FieldRole.isControl($0, known: FieldName($0)) }
    }

    private func isAdmitted(_ name: String) -> Bool {
        name.withBytes { FieldRole.isAdmittedInTrailers($0, known: FieldName($0)) }
    }

    @Test(
        "what steers a message is not for trailers or Connection",
        arguments: [
            "Content-Length", "Transfer-Encoding", "Host", "Cookie", "Via", "X-Forwarded-For",
            "Authorization", "Set-Cookie", "Content-Type", "Content-Encoding", "Content-Range",
            "Cache-Control", "Age", "Vary", "Range", "Pragma", "Expires", "Location", "If-Match",
            "If-Range", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since",
            "Max-Forwards", "Retry-After", "WWW-Authenticate",
        ])
    func control(name: String) {
        #expect(isControl(name))
        #expect(isControl(name.lowercased()))
        #expect(!isAdmitted(name.uppercased()))
    }

    @Test("what belongs to two neighbours may be named in Connection but not come in trailers")
    func neighbours() {
        for name in ["Proxy-Authenticate", "Proxy-Authorization"] {
            #expect(!isControl(name))
            #expect(!isAdmitted(name))
        }
    }

    @Test("anything else may", arguments: ["X-Checksum", "grpc-status", "ETag", "Digest", "ages"])
    func other(name: String) {
        #expect(!isControl(name))
        #expect(isAdmitted(name))
    }
}
