// SRV answers as c-ares hands them over: bytes, from which it reads the records but not their TTL.

import CCares

/// Reads an answer to a question for SRV records (RFC 2782).
enum ServiceAnswer {
    /// The records whose targets are host names, and the least TTL of the answer.
    ///
    /// Empty when the service says by the target `.` that it is not there. Nil: not an answer.
    @safe
    static func read(
        _ message: UnsafePointer<UInt8>, count: Int
    ) -> (records: [ServiceRecord], ttl: Duration)? {
        var reply: UnsafeMutablePointer<ares_srv_reply>?
        let status = unsafe ares_parse_srv_reply(message, Int32(clamping: count), &reply)
        defer { unsafe ares_free_data(reply) }
        guard status == ARES_SUCCESS, let ttl = unsafe leastTTL(message, count) else { return nil }
        var records: [ServiceRecord] = []
        var next = unsafe reply
        while let record = unsafe next {
            unsafe next = record.pointee.next
            let host = unsafe record.pointee.host.map { unsafe String(cString: $0) } ?? ""
            guard case .name(let target, _) = HostName(host), unsafe record.pointee.port != 0 else {
                continue
            }
            records.append(
                unsafe ServiceRecord(
                    priority: record.pointee.priority, weight: record.pointee.weight,
                    port: record.pointee.port, target: target))
        }
        let sorted = records.sorted { $0.priority < $1.priority }
        return (Array(sorted.prefix(Limits.addressesPerName)), ttl)
    }

    /// The least TTL of the answer section, aliases included (RFC 1035 §4.1).
    private static func leastTTL(_ message: UnsafePointer<UInt8>, _ count: Int) -> Duration? {
        let bytes = unsafe Bytes(message, count: count)
        guard count >= 12 else { return nil }
        func number(_ place: Int) -> Int { Int(bytes[place]) << 8 | Int(bytes[place + 1]) }
        var place = 12
        for _ in 0..<number(4) {
            guard let name = unsafe nameBytes(message, count, place) else { return nil }
            place += name + 4
        }
        var least = Int64(Int32.max)
        for _ in 0..<number(6) {
            guard let name = unsafe nameBytes(message, count, place), place + name + 10 <= count
            else { return nil }
            place += name
            let ttl = Int64(number(place + 4)) << 16 | Int64(number(place + 6))
            // RFC 2181 §8: a TTL with the highest bit set counts as 0.
            least = min(least, ttl > Int64(Int32.max) ? 0 : ttl)
            place += 10 + number(place + 8)
        }
        return .seconds(least)
    }

    /// How many bytes the name at `place` takes there; nil when it is not one.
    private static func nameBytes(
        _ message: UnsafePointer<UInt8>, _ count: Int, _ place: Int
    ) -> Int? {
        guard place < count else { return nil }
        var text: UnsafeMutablePointer<CChar>?
        var length = 0
        let status = unsafe ares_expand_name(
            message + place, message, Int32(clamping: count), &text, &length)
        guard status == ARES_SUCCESS else { return nil }
        unsafe ares_free_string(text)
        return length
    }
}
