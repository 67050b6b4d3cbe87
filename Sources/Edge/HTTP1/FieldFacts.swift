// What a head's field lines say about the message and its connection, gathered while they are read.

/// The verdict on a head's Transfer-Encoding lines.
enum TransferCoding: UInt8 {
    case absent
    /// One line that says `chunked` and nothing else.
    case chunked
    /// A coding that the proxy does not implement.
    case unknown
    /// Several lines, an empty one, or `chunked` where it cannot be.
    case malformed
}

/// Framing, connection options and routing facts of one field section; decides nothing.
struct FieldFacts: BitwiseCopyable {
    var contentLength: UInt64 = 0
    var host = TextRange()
    var upgrade = TextRange()
    var hostLines: UInt8 = 0
    var lengthLines: UInt8 = 0
    var expectLines: UInt8 = 0
    var upgradeLines: UInt8 = 0
    /// How many options Connection lists, over all its lines.
    var connectionOptions = 0
    /// Seconds that Keep-Alive announces; 0: none.
    var keepAliveSeconds: UInt32 = 0
    var coding = TransferCoding.absent
    /// A Content-Length was no number, or two of them differ.
    var isLengthMalformed = false
    var expectsContinue = false
    var acceptsTrailers = false
    var closes = false
    var keepsAlive = false
    var upgrades = false
    var nominatesFields = false

    /// Takes in one line whose name is known.
    @inline(__always)
    mutating func note(_ name: FieldName, _ value: Bytes, _ range: TextRange) {
        switch name {
        case .host:
            // Field counts stay below `Limits.headFields`, far from the counters' ends.
            hostLines &+= 1
            host = range
        case .connection: noteConnection(value)
        case .contentLength: noteLength(value)
        case .transferEncoding: noteCoding(value)
        case .te: noteTE(value)
        case .keepAlive: noteKeepAlive(value)
        case .expect:
            expectLines &+= 1
            expectsContinue = value.equalsIgnoringCase("100-continue")
        case .upgrade:
            upgradeLines &+= 1
            if upgradeLines == 1 { upgrade = range }
        default: break
        }
    }

    /// Connection options (RFC 9110 §7.6.1).
    private mutating func noteConnection(_ value: Bytes) {
        if unsafe value.count == 10 && FieldName.matches(value.base, "keep-alive") {
            keepsAlive = true
            return
        }
        var closes = false
        var keepsAlive = false
        var upgrades = false
        var nominates = false
        var options = 0
        value.forEachListElement { option in
            options &+= 1
            switch option.count {
            case 2 where option.equalsIgnoringCase("te"): break
            case 5 where option.equalsIgnoringCase("close"): closes = true
            case 7 where option.equalsIgnoringCase("upgrade"): upgrades = true
            case 10 where option.equalsIgnoringCase("keep-alive"): keepsAlive = true
            default: nominates = true
            }
        }
        connectionOptions &+= options
        self.closes = self.closes || closes
        self.keepsAlive = self.keepsAlive || keepsAlive
        self.upgrades = self.upgrades || upgrades
        nominatesFields = nominatesFields || nominates
    }

    private mutating func noteLength(_ value: Bytes) {
        lengthLines &+= 1
        guard let length = value.decimal() else {
            isLengthMalformed = true
            return
        }
        if lengthLines > 1, length != contentLength { isLengthMalformed = true }
        contentLength = length
    }

    private mutating func noteCoding(_ value: Bytes) {
        if coding != .absent || value.isEmpty {
            coding = .malformed
        } else {
            coding = value.equalsIgnoringCase("chunked") ? .chunked : Self.otherCoding(value)
        }
    }

    /// `chunked` anywhere but once at the end is an error, whatever else is said (RFC 9112 §6.1).
    private static func otherCoding(_ value: Bytes) -> TransferCoding {
        var chunked = 0
        var endsChunked = false
        value.forEachListElement { coding in
            endsChunked = coding.equalsIgnoringCase("chunked")
            if endsChunked { chunked += 1 }
        }
        return chunked > 1 || chunked == 1 && !endsChunked ? .malformed : .unknown
    }

    /// `timeout=N` among the parameters of Keep-Alive (RFC 2068 §19.7.1); nonsense is ignored.
    @inline(never)
    private mutating func noteKeepAlive(_ value: Bytes) {
        var seconds: UInt64 = 0
        value.forEachListElement { parameter in
            guard parameter.count > 8, parameter.prefix(8).equalsIgnoringCase("timeout=") else {
                return
            }
            seconds = parameter.dropFirst(8).decimal() ?? 0
        }
        keepAliveSeconds = UInt32(truncatingIfNeeded: min(seconds, Limits.announcedRest))
    }

    private mutating func noteTE(_ value: Bytes) {
        var found = false
        value.forEachListElement { coding in
            if coding.equalsIgnoringCase("trailers") { found = true }
        }
        acceptsTrailers = acceptsTrailers || found
    }

    /// Whether the connection may be used again (RFC 9112 §9.3).
    func isPersistent(_ version: Version) -> Bool {
        !closes && (version != .http10 || keepsAlive)
    }
}
