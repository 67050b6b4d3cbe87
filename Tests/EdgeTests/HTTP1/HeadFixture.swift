// Runs the HTTP/1 parsers over scripted bytes and shows what they made of them.

@testable import Edge

/// A head as plain values, so that expectations can compare it.
struct ParsedHead: Equatable {
    var consumed: Int
    var method: Edge.Method
    var methodText: String
    var target: String
    var authority: String
    var version: Version
    var framing: Framing
    var announcedLength: UInt64?
    var keepAliveSeconds: UInt32
    var status: UInt16
    var upgrade: String
    var flags: [Bool]
    var fields: [String]
    var known: [FieldName]
    var dropped: [Bool]

    init(_ head: borrowing Head, consumed: Int) {
        self.consumed = consumed
        method = head.method
        methodText = head.bytes(head.methodText).string
        target = head.bytes(head.target).string
        authority = head.bytes(head.authority).string
        version = head.version
        framing = head.framing
        announcedLength = head.announcedLength
        keepAliveSeconds = head.keepAliveSeconds
        status = head.status
        upgrade = head.bytes(head.upgrade).string
        flags = [
            head.isSecure, head.expectsContinue, head.acceptsTrailers, head.isPersistent,
            head.nominatesFields,
        ]
        fields = []
        known = []
        dropped = []
        for index in 0..<head.fields.count {
            let line = head.fields[index]
            fields.append("\(head.name(line).string)=\(head.value(line).string)")
            known.append(line.name)
            dropped.append(line.isDropped)
        }
    }
}

/// What became of an input.
enum ParseOutcome: Equatable {
    case head(ParsedHead)
    case incomplete
    case refused(UInt16)

    var status: UInt16? {
        if case .refused(let status) = self { return status }
        return nil
    }

    var head: ParsedHead? {
        if case .head(let head) = self { return head }
        return nil
    }
}

/// A parser under test: requests with or without TLS, or responses to a method.
enum ParserKind {
    case request(isSecure: Bool)
    case response(to: Edge.Method)

    func parse(
        _ input: Bytes, scanned: inout Int, into head: inout Head
    ) throws(MalformedMessage) -> Int? {
        switch self {
        case .request(let isSecure):
            try HTTP1RequestParser.parse(input, scanned: &scanned, into: &head, isSecure: isSecure)
        case .response(let method):
            try HTTP1ResponseParser.parse(
                input, scanned: &scanned, into: &head, requestMethod: method)
        }
    }
}

/// Feeds `input` whole, or in pieces of `step` bytes, until a verdict.
func outcome(
    of input: [UInt8], _ kind: ParserKind = .request(isSecure: true), step: Int? = nil
) -> ParseOutcome {
    let pool = Ref.allocate(BufferPool())
    defer { pool.destroy() }
    var head = Head(pool: pool)
    var scanned = 0
    var fed = min(step ?? input.count, input.count)
    while true {
        do {
            // A copy of its own for each piece lets the address sanitizer see reads past the end.
            let length = try Array(input[..<fed]).withBytes { (bytes) throws(MalformedMessage) in
                try kind.parse(bytes, scanned: &scanned, into: &head)
            }
            if let length { return .head(ParsedHead(head, consumed: length)) }
        } catch {
            return .refused(error.status)
        }
        guard fed < input.count else { return .incomplete }
        fed = min(fed + (step ?? input.count), input.count)
    }
}

func outcome(
    of text: String, _ kind: ParserKind = .request(isSecure: true), step: Int? = nil
) -> ParseOutcome {
    outcome(of: Array(text.utf8), kind, step: step)
}

/// Numbers that look random and are the same in every run.
struct SeededNumbers: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ mixed >> 30) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
        return mixed ^ mixed >> 31
    }
}

/// Changes, removes or inserts a few bytes that mean something to HTTP.
func mutated(_ input: [UInt8], _ numbers: inout SeededNumbers) -> [UInt8] {
    let telling = Array("\r\n\t :,;=[]@#%*/?\0\u{7F}0Ff5GHx\"\\".utf8) + [0x80, 0xFF]
    var bytes = input
    for _ in 0..<Int.random(in: 1...4, using: &numbers) {
        let index = Int.random(in: 0..<max(bytes.count, 1), using: &numbers)
        let byte = telling.randomElement(using: &numbers) ?? 0
        switch Int.random(in: 0..<4, using: &numbers) {
        case 0 where !bytes.isEmpty: bytes.remove(at: index)
        case 1: bytes.insert(byte, at: min(index, bytes.count))
        case 2: bytes = Array(bytes.prefix(index))
        default: if !bytes.isEmpty { bytes[index] = byte }
        }
    }
    return bytes
}
