// The names of the demonstration: id-0.demo to id-999.demo, all on 127.0.0.1.

/// What the demonstration's name server says; bytes in, bytes out.
enum DemonstrationZone {
    static let suffix: StaticString = "demo"
    static let largestID: UInt64 = 999

    private static let typeA: UInt16 = 1
    private static let noSuchName: UInt8 = 3
    /// Owner by reference to the question, type A, class IN, 60 s, 127.0.0.1 (RFC 1035 §4.1.3).
    private static let record: [UInt8] = [0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]

    /// The reply to a datagram; nil when it is no standard query with one question.
    static func reply(to query: Bytes) -> [UInt8]? {
        guard query.count > 12, query[2] & 0xF8 == 0, query[4] == 0, query[5] == 1 else {
            return nil
        }
        var labels: [Bytes] = []
        var offset = 12
        while offset < query.count, query[offset] != 0 {
            let length = Int(query[offset])
            // 64 and more would be a reference, and a question refers to nothing.
            guard length < 64, offset + length < query.count else { return nil }
            labels.append(query.slice(offset + 1, count: length))
            offset += 1 + length
        }
        let end = offset + 5
        guard end <= query.count else { return nil }
        let type = UInt16(query[offset + 1]) << 8 | UInt16(query[offset + 2])
        let exists = exists(labels)
        let answers: [UInt8] = exists && type == typeA ? record : []
        // Authoritative, recursion available and desired as it was asked for (§4.1.1).
        let head: [UInt8] = [
            query[0], query[1], 0x84 | query[2] & 1, 0x80 | (exists ? 0 : noSuchName), 0, 1, 0,
            answers.isEmpty ? 0 : 1, 0, 0, 0, 0,
        ]
        return head + query.slice(12, count: end - 12).array + answers
    }

    private static func exists(_ labels: [Bytes]) -> Bool {
        guard labels.count == 2, labels[1].equalsIgnoringCase(suffix), labels[0].count > 3,
            labels[0].prefix(3).equalsIgnoringCase("id-")
        else { return false }
        let digits = labels[0].dropFirst(3)
        guard let id = digits.decimal(), id <= largestID else { return false }
        return digits.count == 1 || digits[0] != UInt8(ascii: "0")
    }
}

/// Serves the zone over UDP on 127.0.0.1, on one thread.
struct DemonstrationDNS {
    let address: SocketAddress
    private let descriptor: Int32
    private let wakeUp: WakeUp
    private let thread: Thread

    init() throws(SystemFailure) {
        let descriptor = try LoopbackSocket.datagram()
        let wakeUp = try WakeUp()
        self.descriptor = descriptor
        self.wakeUp = wakeUp
        address = try Socket.localAddress(descriptor)
        thread = try Thread(name: "demo-dns") {
            // The longest query without extensions (RFC 1035 §2.3.4).
            var buffer = [UInt8](repeating: 0, count: 512)
            while LoopbackSocket.waitReadable(descriptor, or: wakeUp) {
                LoopbackSocket.answer(descriptor, &buffer, DemonstrationZone.reply)
            }
        }
    }

    func stop() {
        wakeUp.signal()
        thread.join()
        wakeUp.close()
        Socket.close(descriptor)
    }
}
