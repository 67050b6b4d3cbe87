// One request with its response, from the first byte of the one to the last of the other.

/// How far the request has come.
enum RequestProgress: UInt8 {
    /// Content is still expected from the client.
    case receiving
    /// All of it is here (it may still wait for the upstream).
    case received
}

/// How far the response has come.
enum ResponseProgress: UInt8 {
    /// Nothing of a final response was sent to the client.
    case none
    /// Its head was, content follows.
    case body
    /// All of it was handed to the front connection.
    case complete
    /// After 101: bytes in both directions until either side ends.
    case tunnel
}

/// What of a route an exchange needs after it was chosen; copied, so that a reload changes nothing
/// under way.
struct ExchangePolicy: BitwiseCopyable {
    var responseTimeout = Duration.seconds(60)
    var idleTimeout = Duration.seconds(60)
    var queueTimeout = Duration.seconds(10)
    var dialTimeout = Duration.seconds(3)
    var handshakeTimeout = Duration.seconds(5)
    var keepalive = Duration.seconds(60)
    var upkeep = ConnectionUpkeep()
    /// The client may be silent for so long within a request, or not reading within a response.
    var bodyTimeout = Duration.seconds(60)
    var writeTimeout = Duration.seconds(60)
    /// Bytes per second that the client has to send or take on average over these; 0: any rate.
    var minRate = 0
    var maxConnections = 256
    var maxInFlight = 1024
    var maxQueue = 1024
    var health = HealthPolicy()
    var retries = RetryPolicy()
    /// Send the upstream's own name as Host instead of the client's.
    var usesUpstreamHost = false
}

/// State of one exchange; lives in its worker's slab.
///
/// It knows its upstream connection and, by token, its front connection; neither side knows the
/// other. The heads and bodies it holds are what a retry needs and what the slower side has not
/// taken.
struct Exchange: ~Copyable {
    let token: Token
    /// The front connection and, on HTTP/2, the stream there (0 on HTTP/1).
    let front: Token
    let stream: Int32
    /// The request's head; owned.
    let head: Ref<Head>
    /// Content on its way to an HTTP/2 upstream, or waiting for any upstream.
    var request: StreamOutlet
    /// Content on its way to an HTTP/2 client.
    var response: StreamOutlet
    /// The first bytes of the request's content, as sent: what a retry sends again.
    var replay: ByteQueue
    var replayIsWhole = true
    /// The request's trailer section, if one came; owned.
    var requestTrailers: Ref<Head>?
    var policy = ExchangePolicy()
    var deadline = Deadline()

    var pool: Ref<HostPool>?
    /// What its connection has to have been opened for; from the request itself.
    var key = ConnectionKey.none
    var upstream: Ref<UpstreamConnection>?
    /// The stream there when that is HTTP/2.
    var upstreamStream: Int32 = 0
    /// nghttp2 has said that the stream is gone: nothing is left to reset.
    var isUpstreamStreamClosed = false
    /// Neighbours in the front's and the upstream's list of exchanges.
    var nextOnFront = Token.none
    var previousOnFront = Token.none
    var nextOnUpstream = Token.none
    var previousOnUpstream = Token.none

    var requestProgress = RequestProgress.receiving
    var responseProgress = ResponseProgress.none
    /// How the response's content is delimited towards an HTTP/1 client.
    var responseFraming = Framing.none
    var isWaiting = false
    /// Part of the ledger.
    var isCounted = true
    /// Counted in the pool's and the host's in-flight figures.
    var isInFlight = false
    /// The one request that finds out whether a host is well again.
    var isProbe = false
    /// The request asked for another protocol and may become a tunnel.
    var wantsUpgrade = false
    /// Some byte of a response arrived on the current attempt.
    var hasResponseBytes = false
    var informational = 0
    /// The upstream has asked for the content that the client announced by Expect.
    var wasContinued = false
    /// The response's content goes through `response` (HTTP/2 clients, and only if there is any).
    var hasOutlet = false
    /// Reading from the client, or from the upstream, waits for the other side.
    var isRequestPaused = false
    var isResponsePaused = false
    /// The answer came before the request's end, which a client of HTTP/2 may still send.
    var isLingering = false
    /// When the request was paused last.
    var requestPausedAt = Instant.zero
    /// The client has ended its side of a tunnel before the host has taken all that it sent.
    var isTunnelEnding = false
    /// Bytes of the response that the client had taken when the deadline was last looked at.
    var taken: UInt64 = 0
    /// The same when memory was last used up.
    var takenAtRelief = UInt64.max
    /// Bytes of the request that had come when its rate was last looked at, and when that was.
    var receivedBefore: UInt64 = 0
    var rateSince: Instant
    /// Content received from the client's stream that its window was not yet given back for.
    var unconsumedRequest = 0
    var unconsumedResponse = 0
    /// When its connection was lost: only one that has become ready since will do, unless `.zero`.
    var freshSince = Instant.zero
    /// Attempts that the peer has not begun: never sent, or beyond a GOAWAY.
    var unseen = 0
    /// It was sent again although a new connection had carried it: once is enough.
    var wasRepeated = false
    /// An answer of the proxy's own after a delay (demonstration upstreams).
    var delayedAnswer = false

    // For the log.
    let began: Instant
    var record = AccessRecord()
    /// The id's place in the head's text; the upstream's host is the pool's.
    var id = TextRange()
    /// What the client asked for, for the log, where `head.target` has been replaced.
    var receivedTarget = TextRange()
    /// When it joined the queue for a connection.
    var waitBegan = Instant.zero
    /// When the current attempt was handed to its connection.
    var dispatched = Instant.zero
    var sentAt = Instant.zero
    /// What the connection had sent before; more means that bytes of this request have left.
    var bytesOutBefore: UInt64 = 0
    var upstreamAddress = AddressText()
    var attempts = 0

    /// Bytes of request content kept for a retry.
    static let replayBytes = 16 * 1024

    init(
        token: Token, front: Token, stream: Int32, head: Ref<Head>, buffers: Ref<BufferPool>,
        now: Instant
    ) {
        self.token = token
        self.front = front
        self.stream = stream
        self.head = head
        request = StreamOutlet(pool: buffers, owner: token)
        response = StreamOutlet(pool: buffers, owner: token)
        replay = ByteQueue(pool: buffers)
        requestTrailers = nil
        pool = nil
        upstream = nil
        began = now
        rateSince = now
    }

    /// Bytes of the response that the client's stream has taken (HTTP/2).
    var takenByStream: UInt64 { record.sent &- UInt64(response.queue.count) }

    /// The rate at which the request comes is measured from now on.
    mutating func measureRate(from now: Instant) {
        receivedBefore = record.received
        rateSince = now
    }

    /// Keeps content that is about to be sent, as long as all of it fits.
    @inline(__always)
    mutating func keepForReplay(_ bytes: Bytes) {
        guard replayIsWhole else { return }
        if replay.count + bytes.count > Self.replayBytes {
            replayIsWhole = false
            replay.removeAll()
        } else {
            replay.append(bytes)
        }
    }

    /// Why the request may be sent once more after its connection failed; `.none` when it may not.
    ///
    /// - `unsent`: no byte of it left this process.
    /// - `reusedAndNoBytesAndIdempotent`: the host closed a kept connection, as it may at any time,
    ///   said nothing, and doing it twice is doing it once (RFC 9110 §9.2.2, RFC 9112 §9.3.1).
    /// - `noBytesAndIdempotent`: a new connection ended or fell silent in the same way, as happens
    ///   when a service is restarted; once only, since the request itself may be what ends it.
    func retryVerdict(
        wasSent: Bool, connectionWasReused: Bool, reason: ErrorReason
    ) -> RetryVerdict {
        guard canResend else { return .none }
        if !wasSent { return .unsent }
        guard head[].method.isIdempotent, attempts - unseen < Limits.attempts else {
            return .none
        }
        if connectionWasReused { return .reusedAndNoBytesAndIdempotent }
        let isLost = reason == .connectionTerminated || reason == .connectionReadTimeout
        return isLost && !wasRepeated ? .noBytesAndIdempotent : .none
    }

    /// Whether losing its connection leaves a way to send it again, whatever the peer has done.
    @inline(__always)
    var isRepeatable: Bool {
        guard head[].method.isIdempotent else { return false }
        switch head[].framing {
        case .none: return true
        case .length(let length): return length <= UInt64(Self.replayBytes)
        case .chunked, .untilClose: return false
        }
    }

    /// Whether a request that the peer is known not to have processed can be sent again.
    var canResend: Bool {
        responseProgress == .none && !hasResponseBytes && attempts < Limits.attemptsInAll
            && replayIsWhole
    }
}

extension Ref<Exchange> {
    /// The outlets' addresses: exchanges are pinned, so are their parts.
    var requestOutlet: Ref<StreamOutlet> {
        unsafe withUnsafeMutablePointer(to: &pointer.pointee.request) {
            unsafe Ref<StreamOutlet>($0)
        }
    }

    var responseOutlet: Ref<StreamOutlet> {
        unsafe withUnsafeMutablePointer(to: &pointer.pointee.response) {
            unsafe Ref<StreamOutlet>($0)
        }
    }

    /// The address the last attempt went to, as text.
    var upstreamAddressBytes: Bytes {
        unsafe withUnsafeMutablePointer(to: &pointer.pointee.upstreamAddress) {
            unsafe Ref<AddressText>($0).bytes
        }
    }
}
