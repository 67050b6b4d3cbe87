// What waits to be sent on one stream.

/// Body bytes, end and trailers on their way to one HTTP/2 stream.
///
///     exchange appends ─► queue ─► DATA frames, as windows allow ─► trailers or END_STREAM
///
/// Lives at a fixed address inside its exchange; that address is nghttp2's stream user data from
/// `attach` or a submit until `.closed` or `detach`. An outlet must be detached before it ends.
struct StreamOutlet: ~Copyable {
    /// Bytes that nghttp2 has not yet taken.
    var queue: ByteQueue
    /// Bytes behind those of the queue that lie elsewhere, for as long as `write` runs.
    var lent = Bytes.empty
    /// No more bytes will be appended.
    var hasEnded = false
    /// Sent after the last byte; set before or together with `hasEnded`, owned by whoever set it,
    /// and to be kept until `.closed` or `detach`.
    var trailers: Ref<Head>?
    /// Handed back in this stream's events.
    var owner: Token
    /// The stream it is attached to; 0 while there is none.
    var stream: Int32 = 0
    /// nghttp2 asked for bytes, found none, and waits for `resume`.
    var isDeferred = false

    init(pool: Ref<BufferPool>, owner: Token) {
        queue = ByteQueue(pool: pool)
        trailers = nil
        self.owner = owner
    }

    /// Bytes that may be sent.
    @inline(__always)
    var count: Int { queue.count &+ lent.count }

    /// Moves the next `count` bytes, as many as there are at most, to the end of `out`.
    mutating func move(_ count: Int, to out: inout ByteQueue) {
        let queued = min(count, queue.count)
        if queued > 0 {
            out.append(queue.bytes.prefix(queued))
            queue.consume(queued)
        }
        guard queued < count else { return }
        out.append(lent.prefix(count - queued))
        lent = lent.dropFirst(count - queued)
    }

    /// Ready for another stream; only while detached.
    mutating func reset(owner: Token) {
        queue.removeAll()
        hasEnded = false
        trailers = nil
        self.owner = owner
        stream = 0
        isDeferred = false
    }
}
