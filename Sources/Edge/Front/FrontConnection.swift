// One connection from a client.

/// What a front connection speaks.
enum FrontProtocol: UInt8 {
    /// TLS is being negotiated.
    case handshaking
    /// Cleartext whose first bytes are awaited: an HTTP/2 preface or an HTTP/1 request.
    case unknown
    case http1, http2
    case closed
}

/// What an HTTP/1 connection expects to read.
enum FrontReading: UInt8 {
    case head, body
    /// The request is complete; the next one waits until its response is.
    case blocked
    case tunnel
    /// No further request is taken: what still arrives is thrown away until the client closes.
    case discarding
}

/// The deadline that a front connection's timer stands for.
enum FrontDeadline: UInt8 {
    case none, handshake, head, idle, write, linger
}

/// State of one front connection; lives in its worker's slab.
///
///     accept ─► handshaking ─► http1 | http2 ─► closed
///                   └ (cleartext) unknown ┘
struct FrontConnection: ~Copyable {
    let token: Token
    let purpose: ListenerPurpose
    let peer: SocketAddress
    /// Its client's counts and rates; nil where no limits per address apply.
    var client: Ref<ClientRecord>?
    var transport: Transport
    /// Plaintext from the client that could not be worked on yet.
    var input: ByteQueue
    /// Plaintext towards the client.
    var output: ByteQueue
    var deadline = Deadline()
    var deadlineKind = FrontDeadline.none

    var spoken = FrontProtocol.handshaking
    var session: HTTP2Session?
    /// Exchanges on this connection: of HTTP/1 the only one, of HTTP/2 the first of a list.
    var firstExchange = Token.none
    var exchangeCount = 0

    // HTTP/1
    var reading = FrontReading.head
    var decoder = HTTP1BodyDecoder(.none)
    var scanned = 0
    /// The process drains and it is this client's turn: the next answer is the last.
    var isLeaving = false
    /// Close once the output is sent.
    var closesAfterOutput = false
    /// The end of the output is not the end of the message: close without TLS's farewell.
    var closesAbruptly = false
    /// All that has been written since TLS 1.3's handshake is the ticket.
    var holdsTicket = false
    /// The client has said that it asks nothing more (RFC 9112 §9.6), and was read to the end.
    var hasAskedAll = false

    /// Until when the rest of what the client has begun has to come; zero when it owes none.
    var headDue = Instant.zero
    /// HTTP/2: what had begun when that was set.
    var begunAtDeadline: UInt64 = 0
    /// What the client had taken when the deadline for writing was last set.
    var takenAtDeadline: UInt64 = 0
    /// The same when memory was last used up.
    var takenAtRelief = UInt64.max
    /// When the time without a request began; zero while there is one, or its answer waits.
    var idleSince = Instant.zero
    /// The loop over `input` is running: whoever completes an exchange must not start it again.
    var isParsing = false

    /// The peer may extend forwarding fields.
    var isTrusted = false
    var isSecure = false
    /// What the listener adds to final responses.
    var transportSecurity = StrictTransportSecurity()
    var tlsLabel = TLSLabel.none
    var isReadPaused = false
    var isDirty = false
    var isReady = false
    var requests: UInt64 = 0
    /// What the last request was given in forwarding fields.
    var forwarded = ForwardedFields()
    /// The peer's address as text.
    fileprivate var peerText: AddressText

    init(
        token: Token, purpose: ListenerPurpose, peer: SocketAddress, descriptor: Int32,
        buffers: Ref<BufferPool>
    ) {
        self.token = token
        self.purpose = purpose
        self.peer = peer
        client = nil
        transport = Transport(descriptor: descriptor, pool: buffers)
        input = ByteQueue(pool: buffers)
        output = ByteQueue(pool: buffers)
        session = nil
        peerText = AddressText(peer)
    }

    /// Hands the unread input to the caller and starts afresh.
    mutating func takeInput(pool: Ref<BufferPool>) -> ByteQueue {
        var taken = ByteQueue(pool: pool)
        swap(&taken, &input)
        return taken
    }

    /// Bytes towards the client that the kernel has not taken.
    @inline(__always)
    var buffered: Int { output.count + transport.pending }

    /// Bytes that the client's system has acknowledged; costs a system call.
    var taken: UInt64 {
        transport.bytesOut &- UInt64(Socket.unacknowledged(transport.descriptor))
    }

    /// Queues content of an HTTP/1 response.
    @inline(__always)
    mutating func write(_ content: Bytes) {
        // It may pass the output by: an empty one does not tell that the ticket is alone.
        holdsTicket = false
        transport.write(content, behind: &output)
    }

    /// Queues content of an HTTP/2 response; much at once goes into frames from where it lies,
    /// while less than `limit` waits to be sent.
    mutating func write(_ content: Bytes, to outlet: Ref<StreamOutlet>, upTo limit: Int) {
        if content.count >= Limits.directBytes, buffered < limit {
            outlet[].lent = content
            session?.resume(outlet)
            // A session that has failed is found out by the flush.
            _ = try? writeFrames(upTo: limit)
            outlet[].queue.append(outlet[].lent)
            outlet[].lent = .empty
        } else {
            outlet[].queue.append(content)
            session?.resume(outlet)
        }
    }

    /// Sends what waits.
    @inline(__always)
    mutating func flush() -> TransportFlush {
        let isLast =
            closesAfterOutput && exchangeCount == 0 && !closesAbruptly && session == nil
        return transport.flush(&output, isLast: isLast)
    }

    /// Whether TLS's ticket may wait on: the first request is under way and nothing else to send.
    ///
    /// It goes with the answer: a segment of its own would cost both sides more than its worth.
    mutating func mayHoldTicket() -> Bool {
        if holdsTicket { holdsTicket = exchangeCount > 0 && output.isEmpty }
        return holdsTicket
    }

    /// Has HTTP/2 write its frames behind the output, up to `limit` bytes; true when more waits.
    mutating func writeFrames(upTo limit: Int) throws(HTTP2Failure) -> Bool {
        try session?.write(into: &output, upTo: limit) ?? false
    }
}

extension Ref<FrontConnection> {
    /// The client's address with its port; valid as long as the connection.
    var peerBytes: Bytes { text.bytes }
    /// The client's address alone.
    var peerHost: Bytes { text.host }

    // Pinned in its slab slot, and so is the text.
    private var text: Ref<AddressText> {
        unsafe withUnsafeMutablePointer(to: &pointer.pointee.peerText) {
            unsafe Ref<AddressText>($0)
        }
    }
}
