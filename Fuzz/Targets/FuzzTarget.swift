// What is fuzzed: parsers of foreign bytes, each a function over one input.

@testable import Edge

/// A promise that an input broke.
struct FuzzFailure: Error {
    let what: String
}

/// Breaks off when a promise does not hold; traps of the product itself are found by dying.
func require(_ holds: Bool, _ what: @autoclosure () -> String) throws(FuzzFailure) {
    guard holds else { throw FuzzFailure(what: what()) }
}

/// One fuzz target: its name, and what it does with an input.
struct FuzzTarget: Sendable {
    let name: String
    let run: @Sendable ([UInt8]) throws(FuzzFailure) -> Void

    static let all: [FuzzTarget] = [
        FuzzTarget(name: "http1-request") { (input) throws(FuzzFailure) in
            try HTTP1RequestFuzz.run(input)
        },
        FuzzTarget(name: "http1-response") { (input) throws(FuzzFailure) in
            try HTTP1ResponseFuzz.run(input)
        },
        FuzzTarget(name: "chunks") { (input) throws(FuzzFailure) in try ChunksFuzz.run(input) },
        FuzzTarget(name: "http2-server") { (input) throws(FuzzFailure) in
            try HTTP2Fuzz.run(input, role: .server)
        },
        FuzzTarget(name: "http2-client") { (input) throws(FuzzFailure) in
            try HTTP2Fuzz.run(input, role: .client)
        },
        FuzzTarget(name: "front") { (input) throws(FuzzFailure) in try FrontFuzz.run(input) },
        FuzzTarget(name: "ids") { (input) throws(FuzzFailure) in try IDsFuzz.run(input) },
        FuzzTarget(name: "paths") { (input) throws(FuzzFailure) in try PathsFuzz.run(input) },
        FuzzTarget(name: "authority") { (input) throws(FuzzFailure) in
            try AuthorityFuzz.run(input)
        },
        FuzzTarget(name: "configuration") { (input) throws(FuzzFailure) in
            try ConfigurationFuzz.run(input)
        },
        FuzzTarget(name: "dns") { (input) throws(FuzzFailure) in try DNSFuzz.run(input) },
        FuzzTarget(name: "tls-names") { (input) throws(FuzzFailure) in
            try TLSNamesFuzz.run(input)
        },
    ]
}
