// The part of a head that requests, responses and trailer sections share: field lines.

/// A position in a head that is being read, over bytes that stay put meanwhile.
///
/// `start` is where the head begins: ranges are counted from there. Running out of bytes is not an
/// error: the reading functions return false, and the head is read again when more has come.
@safe
struct HeadScanner {
    let start: UnsafePointer<UInt8>
    let end: UnsafePointer<UInt8>
    var place: UnsafePointer<UInt8>

    @inline(__always)
    init(_ bytes: Bytes) {
        unsafe start = bytes.base
        unsafe end = bytes.base + bytes.count
        unsafe place = bytes.base
    }

    /// Bytes read so far.
    @inline(__always)
    var offset: Int { unsafe place - start }

    /// Bytes from `start` on, read or not.
    @inline(__always)
    var available: Int { unsafe end - start }

    @inline(__always)
    func range(_ from: UnsafePointer<UInt8>, _ to: UnsafePointer<UInt8>) -> TextRange {
        unsafe TextRange(start: from - start, count: to - from)
    }

    /// Whether CR LF stands at `line`, whose two bytes must be there.
    @inline(__always)
    func isLineEnd(_ line: UnsafePointer<UInt8>) -> Bool {
        unsafe UnsafeRawPointer(line).loadUnaligned(as: UInt16.self) == UInt16(littleEndian: 0x0A0D)
    }

    /// Reads field lines, the empty line included (RFC 9112 §5); false when that is missing.
    @inline(__always)
    mutating func readFields(
        into fields: inout FieldTable, facts: inout FieldFacts
    ) throws(MalformedMessage) -> Bool {
        while true {
            guard unsafe end - place >= 2 else {
                if unsafe place < end { try checkLoneByte() }
                return false
            }
            if unsafe isLineEnd(place) {
                unsafe place += 2
                return true
            }
            guard fields.count < Limits.headFields else {
                throw MalformedMessage(431, "too many field lines")
            }
            guard try readLine(into: &fields, facts: &facts) else { return false }
        }
    }

    /// Reads one field line; false when its end is missing.
    @inline(__always)
    private mutating func readLine(
        into fields: inout FieldTable, facts: inout FieldFacts
    ) throws(MalformedMessage) -> Bool {
        let colon = unsafe ByteScan.endOfToken(place, end)
        guard unsafe colon < end else { return false }
        guard unsafe colon.pointee == UInt8(ascii: ":") && colon > place else {
            throw unsafe nameFault(colon)
        }
        var value = unsafe colon + 1
        // Nearly always one space and then the value.
        if unsafe end - value >= 2 && value[0] == ASCII.space && value[1] > ASCII.space {
            unsafe value += 1
        } else {
            while unsafe value < end && ASCII.isBlank(value.pointee) { unsafe value += 1 }
        }
        let stop = unsafe ByteScan.endOfValue(value, end)
        guard unsafe end - stop >= 2 else {
            if unsafe stop < end && stop.pointee != ASCII.carriageReturn {
                throw unsafe valueFault(stop)
            }
            return false
        }
        guard unsafe isLineEnd(stop) else { throw unsafe valueFault(stop) }
        var valueEnd = unsafe stop
        while unsafe valueEnd > value && ASCII.isBlank(valueEnd[-1]) { unsafe valueEnd -= 1 }

        let nameCount = unsafe colon - place
        let known = unsafe FieldName(token: place, count: nameCount)
        let valueRange = unsafe range(value, valueEnd)
        // The table has room: it is larger than `Limits.headFields`.
        _ = unsafe fields.append(
            FieldLine(name: range(place, colon), value: valueRange, known: known))
        if known != .other {
            unsafe facts.note(known, Bytes(value, count: valueEnd - value), valueRange)
        }
        unsafe place = stop + 2
        return true
    }

    /// The single byte at the end may be the CR of an empty line or a name's first byte.
    @inline(never)
    private func checkLoneByte() throws(MalformedMessage) {
        let byte = unsafe place.pointee
        guard byte == ASCII.carriageReturn || ASCII.isToken(byte) else {
            throw unsafe nameFault(place)
        }
    }

    @inline(never)
    private func nameFault(_ stop: UnsafePointer<UInt8>) -> MalformedMessage {
        let byte = unsafe stop.pointee
        if unsafe stop == place {
            if ASCII.isBlank(byte) { return MalformedMessage(400, "folded field line") }
            if byte == UInt8(ascii: ":") { return MalformedMessage(400, "field without a name") }
        }
        if ASCII.isBlank(byte) { return MalformedMessage(400, "space in a field name") }
        if byte == ASCII.lineFeed { return MalformedMessage(400, "line end without CR") }
        return MalformedMessage(400, "invalid byte in a field name")
    }

    @inline(never)
    private func valueFault(_ stop: UnsafePointer<UInt8>) -> MalformedMessage {
        switch unsafe stop.pointee {
        case ASCII.lineFeed: MalformedMessage(400, "line end without CR")
        case ASCII.carriageReturn: MalformedMessage(400, "CR without LF")
        default: MalformedMessage(400, "control byte in a field value")
        }
    }
}

extension FieldName {
    /// Recognises a name of valid token bytes in whole words, without regard to case.
    ///
    /// Setting bit 5 makes no two visible bytes equal but the cases of a letter, as far as letters,
    /// digits and hyphens go, so a folded word equals a known one only by right.
    @inline(__always)
    init(token name: UnsafePointer<UInt8>, count: Int) {
        let first = unsafe name.pointee | 0x20
        self = .other
        switch count {
        case 2: if unsafe Self.matches(name, "te") { self = .te }
        case 3: if unsafe Self.matches(name, "via") { self = .via }
        case 4:
            if unsafe Self.matches(name, "host") { self = .host }
            if unsafe Self.matches(name, "date") { self = .date }
        case 6:
            if unsafe Self.matches(name, "cookie") { self = .cookie }
            if unsafe Self.matches(name, "expect") { self = .expect }
        case 7:
            if unsafe Self.matches(name, "upgrade") { self = .upgrade }
            if unsafe Self.matches(name, "referer") { self = .referer }
            if unsafe Self.matches(name, "trailer") { self = .trailer }
        case 9: if unsafe Self.matches(name, "forwarded") { self = .forwarded }
        case 10:
            if unsafe Self.matches(name, "connection") { self = .connection }
            if unsafe Self.matches(name, "user-agent") { self = .userAgent }
            if unsafe Self.matches(name, "keep-alive") { self = .keepAlive }
        case 14:
            if unsafe Self.matches(name, "content-length") { self = .contentLength }
            if unsafe Self.matches(name, "http2-settings") { self = .http2Settings }
        case 15: if unsafe Self.matches(name, "x-forwarded-for") { self = .xForwardedFor }
        case 16 where first == UInt8(ascii: "p"):
            if unsafe Self.matches(name, "proxy-connection") { self = .proxyConnection }
        case 16:
            if unsafe Self.matches(name, "x-forwarded-host") { self = .xForwardedHost }
        case 17 where first == UInt8(ascii: "t"):
            if unsafe Self.matches(name, "transfer-encoding") { self = .transferEncoding }
        case 17:
            if unsafe Self.matches(name, "x-forwarded-proto") { self = .xForwardedProto }
        case 25:
            if unsafe Self.matches(name, "strict-transport-security") {
                self = .strictTransportSecurity
            }
        default: break
        }
    }

    /// Compares as many bytes as `known` has, in overlapping words that the compiler has folded.
    @inline(__always)
    static func matches(_ name: UnsafePointer<UInt8>, _ known: StaticString) -> Bool {
        let count = known.utf8CodeUnitCount
        let left = unsafe UnsafeRawPointer(name)
        let right = unsafe UnsafeRawPointer(known.utf8Start)
        if count >= 8 {
            var difference = unsafe fold8(left, 0) ^ fold8(right, 0)
            if count > 16 { unsafe difference |= fold8(left, 8) ^ fold8(right, 8) }
            if count > 24 { unsafe difference |= fold8(left, 16) ^ fold8(right, 16) }
            unsafe difference |= fold8(left, count - 8) ^ fold8(right, count - 8)
            return difference == 0
        }
        if count >= 4 {
            let head = unsafe fold4(left, 0) ^ fold4(right, 0)
            let tail = unsafe fold4(left, count - 4) ^ fold4(right, count - 4)
            return head | tail == 0
        }
        for index in 0..<count where unsafe name[index] | 0x20 != known.utf8Start[index] {
            return false
        }
        return true
    }

    @inline(__always)
    private static func fold8(_ base: UnsafeRawPointer, _ offset: Int) -> UInt64 {
        let word = unsafe base.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
        return word | 0x2020_2020_2020_2020
    }

    @inline(__always)
    private static func fold4(_ base: UnsafeRawPointer, _ offset: Int) -> UInt32 {
        unsafe base.loadUnaligned(fromByteOffset: offset, as: UInt32.self) | 0x2020_2020
    }
}
