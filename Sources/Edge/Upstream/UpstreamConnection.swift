// One connection to an upstream host.

/// Where a connection stands in its life.
enum UpstreamPhase: UInt8 {
    /// `settling`: HTTP/2 until the peer's first SETTINGS says how many streams it takes.
    case dialling, handshaking, settling, ready, closed
}

/// How long a connection lives, and when an HTTP/2 one is asked whether it does.
struct ConnectionUpkeep: BitwiseCopyable {
    /// Zero: as long as it is of use.
    var maxAge = Duration.seconds(600)
    /// Silence after which a PING is sent; zero: none ever.
    var pingAfter = Duration.seconds(15)
    var pingTimeout = Duration.seconds(5)
}

/// What an HTTP/1 connection expects to read.
enum UpstreamReading: UInt8 {
    /// Nothing: no exchange; whatever comes ends the connection.
    case idle
    case head
    case body
    /// Bytes pass unread in both directions (after 101).
    case tunnel
}

/// What a connection takes along when it goes from one worker to another.
struct UpstreamHistory: BitwiseCopyable {
    let dialledAt: Instant
    /// When it could carry its first exchange: connected, TLS done, HTTP/2 settings known.
    var readyAt: Instant
    /// How long it may rest.
    var keepalive = Duration.seconds(60)
    /// From here on it takes no new exchange; what it carries it finishes.
    var retiresAt = Instant.never
    var upkeep = ConnectionUpkeep()
    /// Exchanges begun on it so far.
    var served: UInt64 = 0

    // HTTP/2: when the peer was heard last, and when it acknowledged a PING last.
    var heardAt = Instant.zero
    var acknowledgedAt = Instant.zero
    /// When a PING was sent of which nothing was heard yet; zero: none.
    var pingedAt = Instant.zero
}

/// For whom a connection is dialled.
enum DialPurpose: UInt8 {
    case waiters
    /// For those for whom the next address is dialled beside it meanwhile.
    case overtaken
    /// For nobody, so that its address has a connection.
    case spare
}

/// State of one upstream connection; lives in its worker's slab.
///
///     dialling ─► handshaking (https) ─► settling (h2) ─► ready ─► closed
///                                         │ h1: one exchange at a time, LIFO idle list of its pool
///                                         └ h2: any number of exchanges up to the peer's limit
struct UpstreamConnection: ~Copyable {
    let token: Token
    let pool: Ref<HostPool>
    /// What it was opened for, from the client that it was dialled for.
    let key: ConnectionKey
    let address: SocketAddress
    /// `address` as text, written once for all exchanges.
    let addressText: AddressText
    var transport: Transport
    /// Plaintext towards the host.
    var output: ByteQueue
    /// Plaintext from the host that could not be worked on yet: a partial head or chunk line.
    var input: ByteQueue
    var deadline = Deadline()
    var history: UpstreamHistory

    var phase = UpstreamPhase.dialling
    var isHTTP2 = false
    var session: HTTP2Session?
    /// Exchanges on this connection: of HTTP/1 the only one, of HTTP/2 the first of a list.
    var firstExchange = Token.none
    var exchangeCount = 0

    // HTTP/1
    var reading = UpstreamReading.idle
    var decoder = HTTP1BodyDecoder(.none)
    var scanned = 0
    /// The response's side lets the connection serve again.
    var isPersistent = false

    var idleSince = Instant.zero
    /// When to look whether it is one too many that rests, and how many requests the host had had
    /// when that was settled.
    var surplusAt = Instant.never
    var requestsAtRest: UInt64 = 0
    /// The peer's GOAWAY, its age or a drain: finish what runs, take nothing new.
    var isDraining = false
    /// The response's readers are behind; nothing is read until they catch up.
    var isReadPaused = false
    /// In the worker's list of those to flush, of those to read again.
    var isDirty = false
    var isReady = false

    var handshakeTimeout = Duration.seconds(5)
    var dialUntil = Instant.never
    /// Offers nothing but HTTP/1.1: an Upgrade waits for it.
    var forcesHTTP1 = false

    // Happy eyeballs (RFC 8305): the wave of addresses this dial belongs to.
    /// In the pool's spread; -1 when its address is no longer in it.
    var addressIndex = 0
    /// Bit per address that the wave has tried.
    var addressesTried: UInt32 = 0
    var purpose = DialPurpose.waiters

    // Lists: idle connections of the pool, idle connections of the worker, HTTP/2 of the pool.
    var nextIdle: Ref<UpstreamConnection>?
    var previousIdle: Ref<UpstreamConnection>?
    var nextUsed: Ref<UpstreamConnection>?
    var previousUsed: Ref<UpstreamConnection>?
    var isIdle = false
    /// In the worker's list of resting connections.
    var isListed = false

    init(
        token: Token, pool: Ref<HostPool>, address: SocketAddress, descriptor: Int32,
        buffers: Ref<BufferPool>, now: Instant
    ) {
        self.token = token
        self.pool = pool
        key = pool[].key
        self.address = address
        addressText = AddressText(address)
        transport = Transport(descriptor: descriptor, pool: buffers)
        output = ByteQueue(pool: buffers)
        input = ByteQueue(pool: buffers)
        history = UpstreamHistory(dialledAt: now, readyAt: now)
        session = nil
        nextIdle = nil
        previousIdle = nil
        nextUsed = nil
        previousUsed = nil
    }

    /// Bytes towards the host that the kernel has not taken.
    @inline(__always)
    var buffered: Int { output.count + transport.pending }

    /// Queues content of an HTTP/1 request.
    @inline(__always)
    mutating func write(_ content: Bytes) { transport.write(content, behind: &output) }

    /// Sends what waits.
    @inline(__always)
    mutating func flush() -> TransportFlush { transport.flush(&output) }

    /// Has HTTP/2 write its frames behind the output, up to `limit` bytes; true when more waits.
    mutating func writeFrames(upTo limit: Int) throws(HTTP2Failure) -> Bool {
        try session?.write(into: &output, upTo: limit) ?? false
    }

    /// Bytes may be read and written.
    @inline(__always)
    var isOpen: Bool { phase == .ready || phase == .settling }

    /// Whether another stream may begin on it.
    @inline(__always)
    var hasStreamCapacity: Bool {
        guard phase == .ready, isHTTP2, !isDraining else { return false }
        switch session {
        case .some(let session): return session.openStreams < session.streamCapacity
        case nil: return false
        }
    }
}
