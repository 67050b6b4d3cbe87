// Reads response heads (RFC 9112 §4) and trailer sections (§7.1.2).

/// Responses of an upstream connection become heads, as strictly as requests do.
enum HTTP1ResponseParser {
    /// Reads the head at the start of `input`, all unconsumed bytes of the connection.
    ///
    /// Returns how many bytes it takes, or nil when more is needed; `scanned` as for requests.
    /// `requestMethod` decides whether content follows. `head.framing` says how it ends;
    /// `head.announcedLength` keeps the Content-Length of responses to HEAD and of 304.
    static func parse(
        _ input: Bytes, scanned: inout Int, into head: inout Head, requestMethod: Method
    ) throws(MalformedMessage) -> Int? {
        if scanned > 0, !HeadEnd.isDue(input, scanned: &scanned) { return nil }
        scanned = input.count
        head.reset()
        // Nothing is read beyond the limit: what comes first decides, however much has come.
        var scanner = HeadScanner(input.prefix(Limits.headBytes))
        var facts = FieldFacts()
        guard try readStatusLine(&scanner, into: &head),
            try scanner.readFields(into: &head.fields, facts: &facts)
        else {
            guard scanner.available < Limits.headBytes else {
                throw MalformedMessage(431, "head too large")
            }
            return nil
        }
        let length = scanner.offset
        unsafe copyMemory(head.text.reserve(length), scanner.start, length)
        head.text.commit(length)
        head.isPersistent = facts.isPersistent(head.version)
        head.nominatesFields = facts.nominatesFields
        head.keepAliveSeconds = facts.keepAliveSeconds
        head.announcedLength = facts.lengthLines > 0 ? facts.contentLength : nil
        guard facts.connectionOptions <= Limits.headFields else {
            throw MalformedMessage(400, "too many connection options")
        }
        try settleFraming(facts, requestMethod, into: &head)
        return length
    }

    /// Reads `version SP status [SP [reason]] CRLF`; false when its end is missing.
    @inline(__always)
    private static func readStatusLine(
        _ scanner: inout HeadScanner, into head: inout Head
    ) throws(MalformedMessage) -> Bool {
        let line = unsafe scanner.start
        guard scanner.available >= 14 else {
            try unsafe checkStart(Bytes(line, count: scanner.available))
            return false
        }
        switch unsafe UnsafeRawPointer(line).loadUnaligned(as: UInt64.self) {
        case UInt64(littleEndian: 0x312E_312F_5054_5448): head.version = .http11
        case UInt64(littleEndian: 0x302E_312F_5054_5448): head.version = .http10
        default: throw MalformedMessage(505, "invalid protocol version")
        }
        var status: UInt16 = 0
        for index in 9..<12 {
            let digit = unsafe line[index] &- UInt8(ascii: "0")
            guard digit <= 9 else { throw MalformedMessage(400, "invalid status code") }
            status = status &* 10 &+ UInt16(digit)
        }
        guard unsafe line[8] == ASCII.space, status >= 100 else {
            throw MalformedMessage(400, "invalid status code")
        }
        head.status = status
        // Many servers leave out the space before an empty reason; nothing can be misread by it.
        let reason = unsafe line + 12
        guard unsafe reason.pointee == ASCII.space || reason.pointee == ASCII.carriageReturn else {
            throw MalformedMessage(400, "invalid status line")
        }
        let stop = unsafe ByteScan.endOfValue(reason, scanner.end)
        guard unsafe scanner.end - stop >= 2 else { return false }
        guard unsafe scanner.isLineEnd(stop) else {
            throw MalformedMessage(400, "invalid status line")
        }
        unsafe scanner.place = stop + 2
        return true
    }

    /// Refuses at once what cannot become a status line.
    @inline(never)
    private static func checkStart(_ text: Bytes) throws(MalformedMessage) {
        let count = min(text.count, 7)
        guard text.prefix(count).equals(Bytes("HTTP/1.").prefix(count)) else {
            throw MalformedMessage(505, "invalid protocol version")
        }
    }

    /// RFC 9112 §6.3, with everything that two readers could differ on refused.
    @inline(__always)
    private static func settleFraming(
        _ facts: FieldFacts, _ requestMethod: Method, into head: inout Head
    ) throws(MalformedMessage) {
        guard facts.coding == .absent || facts.lengthLines == 0 else {
            throw MalformedMessage(400, "both Content-Length and Transfer-Encoding")
        }
        guard !facts.isLengthMalformed else {
            throw MalformedMessage(400, "invalid Content-Length")
        }
        if facts.coding != .absent {
            guard facts.coding == .chunked, head.version == .http11 else {
                throw MalformedMessage(501, "unknown transfer coding")
            }
        }
        if requestMethod == .head || head.status < 200 || head.status == 204 || head.status == 304 {
            return try settleEmpty(facts, into: &head)
        }
        if facts.coding == .chunked {
            head.framing = .chunked
        } else if facts.lengthLines > 0 {
            head.framing = .length(facts.contentLength)
        } else {
            head.framing = .untilClose
            head.isPersistent = false
        }
    }

    /// Responses without content; 1xx and 204 that announce some all the same are not believed.
    private static func settleEmpty(
        _ facts: FieldFacts, into head: inout Head
    ) throws(MalformedMessage) {
        head.framing = .none
        if head.status < 200 || head.status == 204 {
            guard facts.coding == .absent, facts.contentLength == 0 else {
                throw MalformedMessage(400, "content in a response that has none")
            }
            head.announcedLength = nil
        }
        if head.status == 101 {
            guard facts.upgrades, !facts.upgrade.isEmpty else {
                throw MalformedMessage(400, "101 without Upgrade")
            }
            head.upgrade = facts.upgrade
        }
    }
}

/// Trailer sections become field tables.
enum HTTP1TrailerParser {
    /// Reads the field lines of `section`, each with its CRLF, without the final empty line.
    ///
    /// Lines that must not come in trailers (RFC 9110 §6.5.1) are marked as dropped: framing,
    /// routing, connection options, authentication, and how the content is to be read.
    static func parse(_ section: Bytes, into head: inout Head) throws(MalformedMessage) {
        head.reset()
        guard section.count <= Limits.headBytes else {
            throw MalformedMessage(431, "trailer section too large")
        }
        head.text.append(section)
        head.text.append("\r\n")
        // The text is whole and stays where it is while it is read.
        var scanner = HeadScanner(head.text.bytes)
        var facts = FieldFacts()
        guard try scanner.readFields(into: &head.fields, facts: &facts),
            scanner.offset == head.text.count
        else { throw MalformedMessage(400, "invalid trailer section") }
        for index in 0..<head.fields.count {
            let line = head.fields[index]
            head.fields[index].isDropped =
                !FieldRole.isAdmittedInTrailers(head.name(line), known: line.name)
        }
    }
}
