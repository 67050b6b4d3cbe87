// What one turn of a worker makes of things that come together.

import Glibc
import Testing

@testable import Edge

@Suite("A turn") struct TurnTests {
    /// A deadline that passes with a request is not the request's: a malformed one neither.
    @Test(
        "answers a head that comes with the end of a rest",
        arguments: [("Host: a", "404"), ("Host : a", "400")])
    func answersAHeadAtADeadline(line: String, status: String) throws {
        let rig = try FrontRig()
        let client = try #require(rig.connect(0))
        try #require(Self.ask(client, "Host: a"))
        #expect(Self.turn(rig, client)?.contains("HTTP/1.1 404 ") == true)
        // The first step of the time without a request.
        usleep(useconds_t((Limits.rest.seconds + 0.2) * 1_000_000))
        try #require(Self.ask(client, line))
        rig.worker.turn(mayWait: false)
        let answer = FrontRig.drain(client).map { String(decoding: $0, as: UTF8.self) }
        #expect(answer?.contains("HTTP/1.1 \(status) ") == true)
        Socket.close(client)
        _ = Self.turn(rig, nil)
        try rig.checkIsEmpty()
    }

    private static func ask(_ client: Int32, _ line: String) -> Bool {
        let request = Array("GET /none HTTP/1.1\r\n\(line)\r\n\r\n".utf8)
        return unsafe request.withUnsafeBytes { unsafe write(client, $0.baseAddress, $0.count) }
            == request.count
    }

    /// Turns until there is an answer, or until nobody is connected.
    private static func turn(_ rig: FrontRig, _ client: Int32?) -> String? {
        let patience = ContinuousClock.now + .seconds(5)
        while ContinuousClock.now < patience {
            rig.worker.turn(mayWait: false)
            guard let client else {
                if rig.isAtRest { return nil }
                continue
            }
            guard let bytes = FrontRig.drain(client) else { return nil }
            if !bytes.isEmpty { return String(decoding: bytes, as: UTF8.self) }
        }
        return nil
    }
}
