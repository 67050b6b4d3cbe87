// HTTP/1 heads: in one piece or many, and written out again.

@testable import Edge

/// Feeds a parser the pieces of an input.
enum HeadFeed {
    typealias Parser = (Bytes, inout Int, inout Head) throws(MalformedMessage) -> Int?

    /// What `parse` makes of `bytes` that arrive in pieces that end at `cuts`.
    static func outcome(
        _ bytes: [UInt8], cuts: [Int], into head: inout Head, _ parse: Parser
    ) -> ParseOutcome {
        var scanned = 0
        for end in cuts + [bytes.count] {
            do throws(MalformedMessage) {
                // A copy of its own for each piece lets the sanitizer see reads past the end.
                let used = try Array(bytes[..<end]).withBytes { (piece) throws(MalformedMessage) in
                    try parse(piece, &scanned, &head)
                }
                if let used { return .head(HeadImage(head), consumed: used) }
            } catch {
                return .refused(error.status)
            }
        }
        return .incomplete
    }

    /// Pieces may hide a fault until the head's end is there, but never change a verdict.
    static func compare(
        _ whole: ParseOutcome, _ pieces: ParseOutcome
    ) throws(FuzzFailure) {
        switch (whole, pieces) {
        case (.refused, .incomplete): return
        default:
            try require(whole == pieces, "whole: \(whole)\npieces: \(pieces)")
        }
    }
}

/// Requests: any split gives one verdict, and what is forwarded says what was received.
enum HTTP1RequestFuzz {
    static func run(_ bytes: [UInt8]) throws(FuzzFailure) {
        var input = FuzzInput(bytes)
        let options = input.byte()
        let choices = input.cuts(of: 256)
        let text = input.rest()
        let memory = FuzzMemory()
        try check(text, options, cuts: choices.map { $0 * text.count / 256 }, memory.buffers)
        try memory.finish()
    }

    private static func check(
        _ text: [UInt8], _ options: UInt8, cuts: [Int], _ pool: Ref<BufferPool>
    ) throws(FuzzFailure) {
        let isSecure = options & 1 == 1
        var head = Head(pool: pool)
        var other = Head(pool: pool)
        let parse: HeadFeed.Parser = { (bytes, scanned, head) throws(MalformedMessage) in
            try HTTP1RequestParser.parse(bytes, scanned: &scanned, into: &head, isSecure: isSecure)
        }
        let whole = HeadFeed.outcome(text, cuts: [], into: &head, parse)
        let pieces = HeadFeed.outcome(text, cuts: cuts, into: &other, parse)
        try HeadFeed.compare(whole, pieces)
        guard case .head(let image, let consumed) = whole else { return }
        try require(consumed > 0 && consumed <= text.count, "took \(consumed) bytes")
        try require(image.status == 0, "a request with a status")
        try forward(&head, image, options, pool)
    }

    /// What the proxy sends on must be one head that says the same.
    private static func forward(
        _ head: inout Head, _ image: HeadImage, _ options: UInt8, _ pool: Ref<BufferPool>
    ) throws(FuzzFailure) {
        let policies: [UnderscorePolicy] = [.drop, .pass, .reject, .pass]
        var cache = ForwardedFields()
        let client = options & 16 == 0 ? Bytes("192.0.2.1") : Bytes("2001:db8::1")
        let origin = Forwarding.Origin(client: client, isTrusted: options & 2 != 0)
        let policy = policies[Int(options >> 2 & 3)]
        guard
            Forwarding.prepareRequest(&head, origin: origin, underscores: policy, cache: &cache)
        else {
            return try require(policy == .reject, "refused fields that were to pass")
        }
        let prepared = HeadImage(head)
        var out = ByteQueue(pool: pool)
        // An HTTP/1.0 request may come without Host; the upstream's name is then sent.
        let authority = image.authority.isEmpty ? Array("example.com".utf8) : image.authority
        let keepsUpgrade = options & 32 != 0
        authority.withBytes {
            HTTP1Writer.writeRequest(
                head, authority: $0, framing: head.framing, keepsUpgrade: keepsUpgrade, into: &out)
        }
        let sent = out.bytes.array
        var read = Head(pool: pool)
        let outcome = HeadFeed.outcome(sent, cuts: [], into: &read) {
            (bytes, scanned, head) throws(MalformedMessage) in
            try HTTP1RequestParser.parse(
                bytes, scanned: &scanned, into: &head, isSecure: image.flags[0])
        }
        // The proxy's own fields may take a head that was nearly too large over the limit.
        if case .refused(431) = outcome, sent.count > Limits.headBytes || image.fields.count > 90 {
            return
        }
        guard case .head(let again, sent.count) = outcome else {
            throw FuzzFailure(
                what: "not one head: \(outcome)\n\(String(decoding: sent, as: UTF8.self))")
        }
        try require(
            again.method == image.method && again.target == image.target
                && again.authority == authority && again.framing == image.framing
                && again.version == .http11 && again.flags[2] == image.flags[2],
            "sent on as \(again)\ninstead of \(image)")
        if keepsUpgrade {
            try require(again.upgrade == image.upgrade, "another upgrade")
        } else {
            try require(again.upgrade.isEmpty, "an upgrade that was to be dropped")
        }
        let own: Set<FieldName> = [
            .host, .contentLength, .transferEncoding, .te, .connection, .upgrade,
        ]
        try require(
            again.forwarded(without: own) == prepared.forwarded(without: []),
            "fields: \(again)\ninstead of \(prepared)")
    }
}

/// Responses: any split gives one verdict, and what is forwarded says what was received.
enum HTTP1ResponseFuzz {
    private static let methods: [Edge.Method] = [.get, .head, .post, .other]

    static func run(_ bytes: [UInt8]) throws(FuzzFailure) {
        var input = FuzzInput(bytes)
        let options = input.byte()
        let choices = input.cuts(of: 256)
        let text = input.rest()
        let memory = FuzzMemory()
        try check(text, options, cuts: choices.map { $0 * text.count / 256 }, memory.buffers)
        try memory.finish()
    }

    private static func check(
        _ text: [UInt8], _ options: UInt8, cuts: [Int], _ pool: Ref<BufferPool>
    ) throws(FuzzFailure) {
        let method = methods[Int(options & 3)]
        var head = Head(pool: pool)
        var other = Head(pool: pool)
        let parse: HeadFeed.Parser = { (bytes, scanned, head) throws(MalformedMessage) in
            try HTTP1ResponseParser.parse(
                bytes, scanned: &scanned, into: &head, requestMethod: method)
        }
        let whole = HeadFeed.outcome(text, cuts: [], into: &head, parse)
        let pieces = HeadFeed.outcome(text, cuts: cuts, into: &other, parse)
        try HeadFeed.compare(whole, pieces)
        guard case .head(let image, let consumed) = whole else { return }
        try require(consumed > 0 && consumed <= text.count, "took \(consumed) bytes")
        try require((100...999).contains(image.status), "status \(image.status)")
        try forward(&head, image, method, options, pool)
    }

    private static func forward(
        _ head: inout Head, _ image: HeadImage, _ method: Edge.Method, _ options: UInt8,
        _ pool: Ref<BufferPool>
    ) throws(FuzzFailure) {
        Forwarding.prepareResponse(&head)
        let prepared = HeadImage(head)
        var framing = head.framing
        if framing == .untilClose, options & 4 != 0 { framing = .chunked }
        var out = ByteQueue(pool: pool)
        if head.status == 101 {
            HTTP1Writer.writeSwitchingProtocols(head, into: &out)
        } else if head.status < 200 {
            HTTP1Writer.writeInformational(head, into: &out)
        } else {
            HTTP1Writer.writeResponse(
                head, framing: framing,
                persistence: options & 8 == 0 ? .implied : options & 16 == 0 ? .keepAlive : .close,
                contentLength: framing == .none ? head.announcedLength : nil, into: &out)
        }
        let sent = out.bytes.array
        var read = Head(pool: pool)
        let outcome = HeadFeed.outcome(sent, cuts: [], into: &read) {
            (bytes, scanned, head) throws(MalformedMessage) in
            try HTTP1ResponseParser.parse(
                bytes, scanned: &scanned, into: &head, requestMethod: method)
        }
        if case .refused(431) = outcome, sent.count > Limits.headBytes || image.fields.count > 90 {
            return
        }
        guard case .head(let again, sent.count) = outcome else {
            throw FuzzFailure(
                what: "not one head: \(outcome)\n\(String(decoding: sent, as: UTF8.self))")
        }
        try require(
            again.status == image.status && again.framing == framing
                && again.announcedLength == image.announcedLength
                && (image.status != 101 || again.upgrade == image.upgrade),
            "sent on as \(again)\ninstead of \(image)")
        let own: Set<FieldName> = [.contentLength, .transferEncoding, .connection, .upgrade]
        try require(
            again.forwarded(without: own) == prepared.forwarded(without: []),
            "fields: \(again)\ninstead of \(prepared)")
    }
}
