// The whole resource policy of the process: every bound, with its unit and its reason.

/// Bounds that are not configuration; those against floods stand in `FloodLimits.swift`.
///
/// What an operator tunes stands in `Config/Configuration.swift`.
enum Limits {
    /// Builds for address sanitizer keep no pools, so that it sees every use of a block that was
    /// given back.
    #if EDGE_UNPOOLED
        private static let pools = false
    #else
        private static let pools = true
    #endif

    /// 32 KiB: two TLS records; a larger message head is answered 431 (or 502 from upstream).
    static let headBytes = 32 * 1024
    /// 16 KiB of request target; 414 above; half of a head, so that fields still fit beside it.
    static let targetBytes = 16 * 1024
    /// 100 field lines in a head or trailer section; 431 above; about what HAProxy allows.
    static let headFields = 100
    /// 16 KiB of chunk-size line with its extensions never carry meaning; 256 bytes are plenty.
    static let chunkLineBytes = 256
    /// 253 octets of host name (RFC 1035 §2.3.4), without the trailing dot.
    static let hostBytes = 253
    /// One read from a socket: four TLS records, and the size from which larger reads stop paying.
    static let readBytes = 64 * 1024
    /// A read from which on what it led to is sent before the next one: data that goes through the
    /// proxy in pieces of this size stays in the second-level cache on its way.
    static let bulkBytes = 32 * 1024
    /// From a full TLS record on, content is written on from where it was read: a copy would cost
    /// more than a record or a frame of its own.
    static let directBytes = 16 * 1024 - 64
    /// Bytes queued towards one peer at which the other side's reading pauses.
    static let highWater = 128 * 1024
    /// Bytes queued towards one peer below which the other side's reading goes on.
    static let lowWater = 32 * 1024
    /// The same two while memory is short.
    static let shortHighWater = 16 * 1024
    static let shortLowWater = 4 * 1024
    /// What a client's connection costs besides its buffers: OpenSSL's session, nghttp2's tables
    /// and our own state, measured on idle TLS connections.
    static let connectionBytes = 24 * 1024
    /// How long a client says nothing before its connection gives TLS's buffers back: long enough
    /// that a busy one keeps them.
    static let rest = Duration.seconds(1)
    /// Change of a worker's memory that it tells the process.
    static let memoryStep = 64 * 1024
    /// How long a client that sends what nobody wants any more is listened to, so that no reset
    /// destroys the answer that it has yet to read.
    static let linger = Duration.seconds(2)
    /// Clients that one worker of a draining process tells to leave per second, unless
    /// `shutdown.spread` asks for more: a handshake each is no burden to the replica they go to.
    static let departuresPerSecond: Int64 = 100
    /// How often connections that came to rest are looked for while a lowered bound is exceeded.
    static let shedPause = Duration.milliseconds(250)
    /// From being told to leave until an idle client has to have gone: a request that crossed the
    /// notice is here by then.
    static let departurePause = Duration.seconds(1)
    /// Growth of a worker's buffers within an iteration after which it looks at the memory.
    static let memoryAlarm = 1024 * 1024
    /// How long one side of an exchange may be behind while memory is used up.
    static let relief = Duration.milliseconds(500)
    /// Free blocks that one worker keeps for reuse; above it memory returns to the system.
    static let pooledBytes = pools ? 32 * 1024 * 1024 : 0
    /// Events taken from the kernel in one call.
    static let eventsPerPoll = 512
    /// Connections accepted per wake-up, so that an accept storm does not starve live connections.
    static let acceptsPerWakeup = 64
    /// Streams assumed to be allowed before an HTTP/2 peer's SETTINGS arrive (RFC 9113 §6.5.2).
    static let presumedStreams = 100
    /// Octets serialised into one HTTP/2 output queue at most, whatever the caller asks for.
    static let http2WriteBytes = 512 * 1024
    /// Free blocks of nghttp2's that one worker keeps for reuse.
    static let http2PooledBytes = pools ? 8 * 1024 * 1024 : 0
    /// The same per size: eight of one for each of a thousand streams.
    static let http2PooledBlocks = pools ? 8192 : 0
    /// The same for rooms of one frame: sessions that end and begin again in one turn.
    static let pooledFrames = pools ? 64 : 0
    /// 4096 heads of 1.8 KiB that one worker keeps: as many as a busy one has in flight.
    static let pooledHeads = pools ? 4096 : 0
    /// 20 ms without a request make a host quiet: the next one may take over a connection that
    /// rests in another worker, which costs 15 µs of both; busier hosts get one in each worker.
    static let quietGap = Duration.milliseconds(20)
    /// How long a connection rests while others of its host do so in other workers, and the
    /// requests within that time (20 a second) that make it worth keeping.
    static let surplusRest = Duration.seconds(2)
    static let surplusRequests: UInt64 = 40
    /// How long a worker remembers what it has given away, for a census that is under way: 10 s, in
    /// which every worker has been counted even on a machine with 20 times as much to do as it can.
    static let lentMemory = Duration.seconds(10)
    /// Attempts to deliver one request that a peer may have seen, the first included.
    static let attempts = 3
    /// Informational responses forwarded per exchange; a flood of them ends it with 502.
    static let informationalResponses = 16
}
