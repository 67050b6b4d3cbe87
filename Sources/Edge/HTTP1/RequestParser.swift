// Reads request heads (RFC 9112 §3), strictly and in one pass.

/// Requests as bytes of a connection become heads.
///
/// The head may arrive in pieces: an incomplete one is remembered only as the number of bytes that
/// were searched for its end, and is read once more when the end is there.
enum HTTP1RequestParser {
    private typealias Pointer = UnsafePointer<UInt8>

    /// Empty lines that are skipped before a request line (RFC 9112 §2.2).
    private static let emptyLines = 2
    /// The longest request line, with its CRLF.
    private static let lineBytes = Limits.targetBytes + 2

    /// Reads the head at the start of `input`, all unconsumed bytes of the connection.
    ///
    /// Returns how many bytes it takes, skipped empty lines included, or nil when more is needed.
    /// `scanned` is 0 for a fresh head and belongs to this function until the head is complete.
    /// `head` is meaningful only after a complete head; `isSecure` tells that TLS is in use. Throws
    /// 400, 414, 417, 421, 431, 501 or 505, after which the connection has to be closed.
    static func parse(
        _ input: Bytes, scanned: inout Int, into head: inout Head, isSecure: Bool
    ) throws(MalformedMessage) -> Int? {
        if scanned > 0, input.count < Limits.headBytes, !HeadEnd.isDue(input, scanned: &scanned) {
            return nil
        }
        scanned = input.count
        guard let skipped = try skipEmptyLines(input) else { return nil }
        head.reset()
        head.isSecure = isSecure
        // Nothing is read beyond the limits: what comes first decides, however much has come.
        let most = min(input.count &- skipped, Limits.headBytes)
        var scanner = unsafe HeadScanner(Bytes(input.base + skipped, count: most))
        guard try readRequestLine(&scanner, into: &head) else {
            guard scanner.available < lineBytes else {
                throw MalformedMessage(414, "request line too long")
            }
            return nil
        }
        var facts = FieldFacts()
        guard try scanner.readFields(into: &head.fields, facts: &facts) else {
            guard scanner.available < Limits.headBytes else {
                throw MalformedMessage(431, "head too large")
            }
            return nil
        }
        let length = scanner.offset
        unsafe copyMemory(head.text.reserve(length), scanner.start, length)
        head.text.commit(length)
        try settle(facts, into: &head)
        return skipped &+ length
    }

    /// How many bytes of empty lines stand before the request line; nil when that is not yet known.
    @inline(__always)
    private static func skipEmptyLines(_ input: Bytes) throws(MalformedMessage) -> Int? {
        guard input.count > 0 else { return nil }
        if unsafe input.base.pointee > ASCII.space { return 0 }
        return try countEmptyLines(input)
    }

    @inline(never)
    private static func countEmptyLines(_ input: Bytes) throws(MalformedMessage) -> Int? {
        var index = 0
        while index < input.count, input[index] == ASCII.carriageReturn {
            guard index < emptyLines * 2 else {
                throw MalformedMessage(400, "empty lines before a request")
            }
            guard index + 1 < input.count else { return nil }
            guard input[index + 1] == ASCII.lineFeed else {
                throw MalformedMessage(400, "CR without LF")
            }
            index += 2
        }
        return index < input.count ? index : nil
    }

    /// Reads `method SP target SP version CRLF`; false when its end is missing.
    @inline(__always)
    private static func readRequestLine(
        _ scanner: inout HeadScanner, into head: inout Head
    ) throws(MalformedMessage) -> Bool {
        let method = unsafe scanner.place
        let end = unsafe method + min(scanner.available, lineBytes)
        var methodEnd = unsafe method
        // Most requests are GET; their method is seen in one comparison.
        if unsafe end - method >= 4
            && UnsafeRawPointer(method).loadUnaligned(as: UInt32.self)
                == UInt32(littleEndian: 0x2054_4547)
        {
            unsafe methodEnd += 3
            head.method = .get
        } else {
            while unsafe methodEnd < end && ASCII.isToken(methodEnd.pointee) {
                unsafe methodEnd += 1
            }
            head.method = unsafe Method(Bytes(method, count: methodEnd - method))
        }
        guard unsafe methodEnd < end else { return false }
        guard unsafe methodEnd > method && methodEnd.pointee == ASCII.space else {
            throw MalformedMessage(400, "invalid method")
        }
        let target = unsafe methodEnd + 1
        let targetEnd = unsafe ByteScan.endOfTarget(target, end)
        guard unsafe targetEnd < end else { return false }
        guard unsafe targetEnd > target && targetEnd.pointee == ASCII.space else {
            throw MalformedMessage(400, "invalid request target")
        }
        // SP, eight bytes of version, CR LF.
        guard unsafe end - targetEnd >= 11 else {
            try unsafe checkVersionStart(targetEnd + 1, end)
            return false
        }
        head.version = try unsafe version(targetEnd + 1)
        guard unsafe scanner.isLineEnd(targetEnd + 9) else {
            throw MalformedMessage(400, "invalid request line end")
        }
        head.methodText = unsafe scanner.range(method, methodEnd)
        head.target = unsafe scanner.range(target, targetEnd)
        unsafe scanner.place = targetEnd + 11
        return true
    }

    /// Eight bytes of version; only HTTP/1.1 and HTTP/1.0 in exactly this spelling (RFC 9112 §2.3).
    @inline(__always)
    private static func version(_ text: Pointer) throws(MalformedMessage) -> Version {
        let word = unsafe UnsafeRawPointer(text).loadUnaligned(as: UInt64.self)
        if word == UInt64(littleEndian: 0x312E_312F_5054_5448) { return .http11 }
        if word == UInt64(littleEndian: 0x302E_312F_5054_5448) { return .http10 }
        throw unsafe versionFault(Bytes(text, count: 8))
    }

    @inline(never)
    private static func versionFault(_ text: Bytes) -> MalformedMessage {
        guard text.hasPrefix(Bytes("HTTP/")), ASCII.isDigit(text[5]), text[5] != UInt8(ascii: "1"),
            text[6] == UInt8(ascii: "."), ASCII.isDigit(text[7])
        else { return MalformedMessage(400, "invalid protocol version") }
        return MalformedMessage(505, "unsupported protocol version")
    }

    /// Refuses at once what cannot become a version, so that a short line is not waited on.
    @inline(never)
    private static func checkVersionStart(
        _ start: Pointer, _ end: Pointer
    ) throws(MalformedMessage) {
        let text = unsafe Bytes(start, count: end - start)
        // The verdict must not depend on how much of the line has come.
        if text.count >= 8 { _ = try unsafe version(start) }
        for index in 0..<text.count {
            let isFitting =
                index < 8 ? text[index] > ASCII.space : text[index] == ASCII.carriageReturn
            guard isFitting else { throw MalformedMessage(400, "invalid request line end") }
        }
    }

    // MARK: What the lines mean together

    /// Derives target, authority, framing and connection use once the text stands in the head.
    @inline(__always)
    private static func settle(
        _ facts: FieldFacts, into head: inout Head
    ) throws(MalformedMessage) {
        guard facts.hostLines <= 1, facts.hostLines == 1 || head.version == .http10 else {
            throw MalformedMessage(400, "exactly one Host field is needed")
        }
        if facts.hostLines == 1 {
            head.authority = facts.host
            guard AuthorityGrammar.isValid(head.bytes(facts.host)) else {
                throw MalformedMessage(400, "invalid Host field")
            }
        }
        let first = head.text.bytes[Int(head.target.start)]
        if first != UInt8(ascii: "/") || head.method == .connect {
            try settleTarget(into: &head)
        }
        head.framing = try framing(facts, head.version)
        head.announcedLength = facts.lengthLines > 0 ? facts.contentLength : nil
        head.isPersistent = facts.isPersistent(head.version)
        head.acceptsTrailers = facts.acceptsTrailers
        head.nominatesFields = facts.nominatesFields
        // As many as there can be fields; each is compared with every one of them.
        guard facts.connectionOptions <= Limits.headFields else {
            throw MalformedMessage(400, "too many connection options")
        }
        if facts.expectLines > 0 { try settleExpectation(facts, into: &head) }
        if facts.upgrades { settleUpgrade(facts, into: &head) }
    }

    /// Takes note of an Upgrade that may be passed on; any other is ignored (RFC 9110 §7.8).
    ///
    /// HTTP/1.0 cannot ask for one. Content and a second line leave open where the new protocol
    /// begins, and which.
    @inline(never)
    private static func settleUpgrade(_ facts: FieldFacts, into head: inout Head) {
        guard head.version == .http11, facts.upgradeLines == 1,
            head.framing == .none || head.framing == .length(0),
            UpgradeProtocols.areAdmitted(head.bytes(facts.upgrade))
        else { return }
        head.upgrade = facts.upgrade
    }

    /// How long the content is (RFC 9112 §6.3); refuses all that two readers could differ on.
    @inline(__always)
    private static func framing(
        _ facts: FieldFacts, _ version: Version
    ) throws(MalformedMessage) -> Framing {
        if facts.lengthLines == 0, facts.coding == .absent { return .none }
        guard facts.coding == .absent || facts.lengthLines == 0 else {
            throw MalformedMessage(400, "both Content-Length and Transfer-Encoding")
        }
        guard facts.lengthLines <= 1, !facts.isLengthMalformed else {
            throw MalformedMessage(400, "invalid Content-Length")
        }
        guard facts.coding == .absent || version != .http10 else {
            throw MalformedMessage(400, "Transfer-Encoding in HTTP/1.0")
        }
        switch facts.coding {
        case .absent: return .length(facts.contentLength)
        case .chunked: return .chunked
        case .unknown: throw MalformedMessage(501, "unknown transfer coding")
        case .malformed: throw MalformedMessage(400, "invalid Transfer-Encoding")
        }
    }

    @inline(never)
    private static func settleExpectation(
        _ facts: FieldFacts, into head: inout Head
    ) throws(MalformedMessage) {
        guard facts.expectLines == 1 else { throw MalformedMessage(400, "several Expect fields") }
        guard facts.expectsContinue else { throw MalformedMessage(417, "unknown expectation") }
        head.expectsContinue = head.version == .http11
        guard !head.expectsContinue else { return }
        // RFC 9110 §10.1.1: an HTTP/1.0 client does not understand the interim response; its
        // expectation is ignored, and the next hop must not learn of it either.
        for index in 0..<head.fields.count where head.fields[index].name == .expect {
            head.fields[index].isDropped = true
        }
    }

    /// Targets other than origin-form (RFC 9112 §3.2.2 to §3.2.4).
    @inline(never)
    private static func settleTarget(into head: inout Head) throws(MalformedMessage) {
        guard head.method != .connect else { throw MalformedMessage(501, "CONNECT is not offered") }
        let target = head.bytes(head.target)
        if target.equals("*") {
            guard head.method == .options else {
                throw MalformedMessage(400, "asterisk target without OPTIONS")
            }
            return
        }
        var start = 0
        if target.prefix(7).equalsIgnoringCase("http://") {
            start = 7
        } else if target.prefix(8).equalsIgnoringCase("https://") {
            // RFC 9110 §7.4: nobody may claim https over a connection that is not secured.
            guard head.isSecure else { throw MalformedMessage(421, "https target without TLS") }
            start = 8
        } else {
            throw MalformedMessage(400, "invalid request target")
        }
        var end = start
        while end < target.count, target[end] != UInt8(ascii: "/"), target[end] != UInt8(ascii: "?")
        { end += 1 }
        let authority = target.slice(start, count: end - start)
        guard AuthorityGrammar.isValid(authority) else {
            throw MalformedMessage(400, "invalid authority in the request target")
        }
        if !head.authority.isEmpty {
            guard authority.equalsIgnoringASCIICase(head.bytes(head.authority)) else {
                throw MalformedMessage(400, "Host differs from the request target")
            }
        }
        let targetStart = Int(head.target.start)
        head.authority = TextRange(start: targetStart + start, count: end - start)
        if end < target.count, target[end] == UInt8(ascii: "/") {
            head.target = TextRange(start: targetStart + end, count: target.count - end)
        } else {
            appendPath(queryStart: targetStart + end, count: target.count - end, into: &head)
        }
    }

    /// Gives an absolute target without a path the one it stands for (RFC 9112 §3.2.1, §3.2.4).
    private static func appendPath(queryStart: Int, count: Int, into head: inout Head) {
        let start = head.text.count
        if count == 0, head.method == .options {
            head.text.append(UInt8(ascii: "*"))
        } else {
            head.text.append(UInt8(ascii: "/"))
        }
        if count > 0 {
            // Room first: appending a slice of the text itself must not move it meanwhile.
            _ = unsafe head.text.reserve(count)
            head.text.append(head.text.bytes.slice(queryStart, count: count))
        }
        head.target = TextRange(start: start, count: 1 + count)
    }
}
