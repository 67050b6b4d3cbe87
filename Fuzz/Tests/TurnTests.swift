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
        Self.ask(client, "Host: a")
        #expect(Self.turns(rig) { Self.hasAnswer("404", at: client) })
        // The first step of the time without a request.
        usleep(useconds_t((Limits.rest.seconds + 0.2) * 1_000_000))
        Self.ask(client, line)
        rig.worker.turn(mayWait: false)
        #expect(Self.hasAnswer(status, at: client))
        Socket.close(client)
        #expect(Self.turns(rig) { rig.isAtRest })
        try rig.checkIsEmpty()
    }

    private static func ask(_ client: Int32, _ line: String) {
        Array("GET /none HTTP/1.1\r\n\(line)\r\n\r\n".utf8).withBytes {
            _ = Socket.send(client, $0)
        }
    }

    private static func hasAnswer(_ status: String, at client: Int32) -> Bool {
        let answer = FrontRig.drain(client) ?? []
        return String(decoding: answer, as: UTF8.self).contains("HTTP/1.1 \(status) ")
    }

    /// Turns until something holds; false when it does not in time.
    private static func turns(_ rig: FrontRig, until holds: () -> Bool) -> Bool {
        let patience = ContinuousClock.now + .seconds(5)
        while ContinuousClock.now < patience {
            rig.worker.turn(mayWait: false)
            if holds() { return true }
        }
        return false
    }
}
