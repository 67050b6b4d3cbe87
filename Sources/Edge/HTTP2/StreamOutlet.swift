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
