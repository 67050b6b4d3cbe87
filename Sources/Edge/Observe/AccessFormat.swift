// Access records as lines of text, written by hand into the log's buffer.

/// The form of a line.
enum AccessFormat: UInt8, CaseIterable, Sendable {
    case json, common
}

/// A place in a buffer with enough room ahead; `AccessFormat.mostBytes` is enough for a line.
@safe
struct LineCursor: ~Copyable {
    private(set) var place: UnsafeMutablePointer<UInt8>

    init(_ place: UnsafeMutablePointer<UInt8>) { unsafe self.place = place }

    @inline(__always)
    mutating func put(byte: UInt8) {
        unsafe place.pointee = byte
        unsafe place += 1
    }

    /// Text that is known to need no escape.
    @inline(__always)
    mutating func put(_ text: StaticString) {
        unsafe copyMemory(place, text.utf8Start, text.utf8CodeUnitCount)
        unsafe place += text.utf8CodeUnitCount
    }

    @inline(__always)
    mutating func put(number value: UInt64) {
        if value < 10 { return put(byte: 0x30 | UInt8(truncatingIfNeeded: value)) }
        let digits = unsafe writeDecimal(value, to: place)
        unsafe place += digits
    }

    @inline(__always)
    mutating func put<let count: Int>(_ text: borrowing [count of UInt8], first: Int) {
        for index in 0..<min(first, count) { unsafe place[index] = text[index] }
        unsafe place += first
    }

    /// Three digits.
    @inline(__always)
    mutating func put(thousandths value: Int) {
        put(byte: 0x30 &+ UInt8(truncatingIfNeeded: value / 100))
        put(byte: 0x30 &+ UInt8(truncatingIfNeeded: value / 10 % 10))
        put(byte: 0x30 &+ UInt8(truncatingIfNeeded: value % 10))
    }

    /// Bytes that may stand for themselves in both forms, and those that may not.
    ///
    /// Everything but printable ASCII is escaped: what a client sends need not be UTF-8.
    @inline(__always)
    private static func isPlain(_ byte: UInt8) -> Bool {
        byte >= 0x20 && byte < 0x7F && byte != 0x22 && byte != 0x5C
    }

    /// A bit at the top of each of 8 bytes that must be escaped, and perhaps of plain ones above.
    @inline(__always)
    private static func escapes(_ word: UInt64) -> UInt64 {
        let ones: UInt64 = 0x0101_0101_0101_0101
        let quote = word ^ (0x22 &* ones)
        let backslash = word ^ (0x5C &* ones)
        let delete = word ^ (0x7F &* ones)
        // A zero byte borrows from its top bit; bytes of 0x80 and more count by their own.
        let zeroes = (quote &- ones) | (backslash &- ones) | (delete &- ones)
        return (zeroes | (word &- (0x20 &* ones)) | word) & (0x80 &* ones)
    }

    /// Text from a peer, escaped as the form asks; up to 7 bytes beyond it are overwritten.
    @inline(__always)
    mutating func put(_ text: Bytes, as form: AccessFormat) {
        let raw = unsafe UnsafeRawPointer(text.base)
        let count = text.count
        var index = 0
        while index &+ 16 <= count {
            let first = unsafe raw.loadUnaligned(fromByteOffset: index, as: UInt64.self)
            let second = unsafe raw.loadUnaligned(fromByteOffset: index &+ 8, as: UInt64.self)
            if Self.escapes(first) | Self.escapes(second) == 0 {
                let target = unsafe UnsafeMutableRawPointer(place)
                unsafe target.storeBytes(of: first, as: UInt64.self)
                unsafe target.storeBytes(of: second, toByteOffset: 8, as: UInt64.self)
                unsafe place += 16
            } else {
                putRun(text, index, 16, as: form)
            }
            index &+= 16
        }
        if index &+ 8 <= count {
            let word = unsafe raw.loadUnaligned(fromByteOffset: index, as: UInt64.self)
            putWord(word, 8, text, index, as: form)
            index &+= 8
        }
        let rest = count &- index
        guard rest > 0 else { return }
        guard count >= 8 else { return putRun(text, index, rest, as: form) }
        // The last 8 bytes with those shifted out that have been written; plain letters above.
        let last = unsafe raw.loadUnaligned(fromByteOffset: count &- 8, as: UInt64.self)
        let filler: UInt64 = 0x6161_6161_6161_6161
        let word = last &>> UInt64(64 &- rest &* 8) | filler &<< UInt64(rest &* 8)
        putWord(word, rest, text, index, as: form)
    }

    @inline(__always)
    private mutating func putWord(
        _ word: UInt64, _ count: Int, _ text: Bytes, _ index: Int, as form: AccessFormat
    ) {
        guard Self.escapes(word) == 0 else { return putRun(text, index, count, as: form) }
        unsafe UnsafeMutableRawPointer(place).storeBytes(of: word.littleEndian, as: UInt64.self)
        unsafe place += count
    }

    private mutating func putRun(_ text: Bytes, _ start: Int, _ count: Int, as form: AccessFormat) {
        for index in start..<start + count { unsafe putOne(text.base[index], as: form) }
    }

    @inline(__always)
    private mutating func putOne(_ byte: UInt8, as form: AccessFormat) {
        if Self.isPlain(byte) { put(byte: byte) } else { putEscaped(byte, as: form) }
    }

    @inline(never)
    private mutating func putEscaped(_ byte: UInt8, as form: AccessFormat) {
        put(byte: 0x5C)
        if byte == 0x22 || byte == 0x5C { return put(byte: byte) }
        if form == .json { put("u00") } else { put(byte: UInt8(ascii: "x")) }
        put(byte: Self.hexDigit(byte >> 4))
        put(byte: Self.hexDigit(byte & 15))
    }

    private static func hexDigit(_ value: UInt8) -> UInt8 {
        value < 10 ? 0x30 + value : 0x57 + value
    }
}

extension AccessFormat {
    /// No line is longer: every byte of every text escaped, and the rest.
    static var mostBytes: Int { AccessTexts.mostBytes * 6 + 1024 }

    /// Writes one line with its line feed at `place`, where `mostBytes` are free; returns its end.
    func write(
        _ record: AccessRecord, _ texts: AccessTexts, _ clock: inout CivilClock,
        to place: UnsafeMutablePointer<UInt8>
    ) -> UnsafeMutablePointer<UInt8> {
        var line = unsafe LineCursor(place)
        let milliseconds = clock.turn(to: record.start)
        switch self {
        case .json:
            line.put("{\"time\":\"")
            line.put(clock.rfc3339, first: CivilClock.rfc3339Count)
            line.put(byte: UInt8(ascii: "."))
            line.put(thousandths: milliseconds)
            Self.putRequest(record, texts, &line)
            Self.putUpstream(record, texts, &line)
            Self.putOutcome(record, texts, &line)
        case .common:
            Self.putCommon(record, texts, clock, &line)
        }
        return unsafe line.place
    }

    @inline(__always)
    private static func putRequest(
        _ record: AccessRecord, _ texts: AccessTexts, _ line: inout LineCursor
    ) {
        line.put("Z\",\"client\":")
        putText(texts.client, &line)
        line.put(",\"method\":")
        putText(texts.method, &line)
        line.put(",\"host\":")
        putText(texts.host, &line)
        line.put(",\"target\":")
        putText(texts.target, &line)
        line.put(",\"protocol\":")
        putVersion(record.version, &line)
        switch record.tls {
        case .none: line.put(",\"tls\":null")
        case .tls12: line.put(",\"tls\":\"TLSv1.2\"")
        case .tls13: line.put(",\"tls\":\"TLSv1.3\"")
        }
        line.put(",\"status\":")
        if record.status == 0 { line.put("null") } else { line.put(number: UInt64(record.status)) }
        line.put(",\"id\":")
        putText(texts.id, &line)
    }

    @inline(__always)
    private static func putUpstream(
        _ record: AccessRecord, _ texts: AccessTexts, _ line: inout LineCursor
    ) {
        line.put(",\"upstream\":")
        putText(texts.upstream, &line)
        line.put(",\"upstream_address\":")
        putText(texts.upstreamAddress, &line)
        line.put(",\"upstream_protocol\":")
        if let version = record.upstreamVersion {
            putVersion(version, &line)
            if record.isReused {
                line.put(",\"reused\":true,\"attempts\":")
            } else {
                line.put(",\"reused\":false,\"attempts\":")
            }
        } else {
            line.put("null,\"reused\":null,\"attempts\":")
        }
        line.put(number: UInt64(record.attempts))
        line.put(",\"received\":")
        line.put(number: record.received)
        line.put(",\"sent\":")
        line.put(number: record.sent)
    }

    @inline(__always)
    private static func putOutcome(
        _ record: AccessRecord, _ texts: AccessTexts, _ line: inout LineCursor
    ) {
        line.put(",\"queue_ms\":")
        putMilliseconds(record.queue, &line)
        line.put(",\"dial_ms\":")
        putMilliseconds(record.dial, &line)
        line.put(",\"response_ms\":")
        putMilliseconds(record.response, &line)
        line.put(",\"total_ms\":")
        putMilliseconds(record.total, &line)
        line.put(",\"error\":")
        putName(record.error == .none ? nil : record.error.name, &line)
        line.put(",\"retry\":")
        putName(record.retry == .none ? nil : record.retry.name, &line)
        line.put(",\"user_agent\":")
        putText(texts.userAgent, &line)
        line.put("}\n")
    }

    private static func putText(_ text: Bytes, _ line: inout LineCursor) {
        guard text.count > 0 else { return line.put("null") }
        line.put(byte: 0x22)
        line.put(text, as: .json)
        line.put(byte: 0x22)
    }

    @inline(__always)
    private static func putVersion(_ version: Version, _ line: inout LineCursor) {
        switch version {
        case .http10: line.put("\"HTTP/1.0\"")
        case .http11: line.put("\"HTTP/1.1\"")
        case .http2: line.put("\"HTTP/2.0\"")
        }
    }

    @inline(__always)
    private static func putName(_ name: StaticString?, _ line: inout LineCursor) {
        guard let name else { return line.put("null") }
        line.put(byte: 0x22)
        line.put(name)
        line.put(byte: 0x22)
    }

    /// Milliseconds with up to three digits after the point and at least one.
    private static func putMilliseconds(_ duration: Duration?, _ line: inout LineCursor) {
        guard let duration else { return line.put("null") }
        let microseconds = UInt64(clamping: duration.nanoseconds) / 1000
        if microseconds == 0 { return line.put("0.0") }
        let (whole, rest) = microseconds.quotientAndRemainder(dividingBy: 1000)
        line.put(number: whole)
        line.put(byte: UInt8(ascii: "."))
        line.put(byte: 0x30 &+ UInt8(truncatingIfNeeded: rest / 100))
        guard rest % 100 != 0 else { return }
        line.put(byte: 0x30 &+ UInt8(truncatingIfNeeded: rest / 10 % 10))
        guard rest % 10 != 0 else { return }
        line.put(byte: 0x30 &+ UInt8(truncatingIfNeeded: rest % 10))
    }

    private static func putCommon(
        _ record: AccessRecord, _ texts: AccessTexts, _ clock: borrowing CivilClock,
        _ line: inout LineCursor
    ) {
        let client = address(of: texts.client)
        if client.isEmpty { line.put("-") } else { line.put(client, as: .common) }
        line.put(" - - [")
        line.put(clock.common, first: CivilClock.commonCount)
        line.put("] \"")
        if texts.method.isEmpty {
            line.put("-")
        } else {
            line.put(texts.method, as: .common)
            line.put(byte: 0x20)
            line.put(texts.target, as: .common)
            line.put(byte: 0x20)
            line.put(record.version.name)
        }
        line.put("\" ")
        if record.status == 0 { line.put("-") } else { line.put(number: UInt64(record.status)) }
        line.put(byte: 0x20)
        line.put(number: record.sent)
        line.put(byte: 0x0A)
    }

    /// `127.0.0.1:5000` without its port, `[::1]:5000` without port and brackets.
    private static func address(of client: Bytes) -> Bytes {
        var end = client.count
        while end > 0, ASCII.isDigit(client[end - 1]) { end -= 1 }
        guard end > 1, end < client.count, client[end - 1] == UInt8(ascii: ":") else {
            return client
        }
        let host = client.prefix(end - 1)
        guard host[0] == UInt8(ascii: "["), host[host.count - 1] == UInt8(ascii: "]"),
            host.count > 2
        else { return host }
        return host.slice(1, count: host.count - 2)
    }
}
