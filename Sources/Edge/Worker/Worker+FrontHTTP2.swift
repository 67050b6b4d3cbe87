// HTTP/2 clients.

extension Worker {
    func beginHTTP2(_ front: Ref<FrontConnection>) {
        front[].spoken = .http2
        var settings = HTTP2Settings()
        settings.maxStreams = state[].snapshot.front.maxStreams
        settings.enableConnectProtocol = false
        front[].session = HTTP2Session(
            role: .server, settings: settings, pool: buffers, heads: heads, memory: http2)
        guard front[].session != nil else { return closeFront(front) }
        counters.open(.frontHTTP2)
        markDirty(front)
        front[].idleSince = loop[].now
        beginHead(front)
        if front[].isLeaving { front[].session?.shutdownNotice() }
    }

    func receivedHTTP2(_ front: Ref<FrontConnection>, _ bytes: Bytes) {
        // What comes after the end is taken so that the client can read why, and for nothing else.
        guard front[].deadlineKind != .linger else { return }
        do throws(HTTP2Failure) {
            try front[].session?.receive(bytes, now: loop[].now)
        } catch {
            // Whatever nghttp2 has to say, a GOAWAY most of all, is sent before the end.
            front[].closesAfterOutput = true
        }
        handleEvents(front)
        guard front[].spoken != .closed else { return }
        countOddities(of: &front[].session)
        watchRest(front)
        markDirty(front)
    }

    /// A preface, a head or any frame but DATA that has begun has to be complete in time.
    ///
    /// What is idle meanwhile stays idle: dripping frames wins a client no time. While an exchange
    /// is under way each has its own, since reads may end within one after the other.
    @inline(__always)
    private func watchRest(_ front: Ref<FrontConnection>) {
        let awaitsRest = front[].session?.awaitsRest ?? false
        guard awaitsRest || front[].headDue != .zero else { return }
        if awaitsRest {
            let begun = front[].session?.begunFrames ?? 0
            let isNext = begun != front[].begunAtDeadline && front[].exchangeCount > 0
            guard front[].headDue == .zero || isNext else { return }
            front[].begunAtDeadline = begun
            return beginHead(front)
        }
        endHead(front)
        armIdle(front)
    }

    /// Adds what a peer did to the metrics, and once that it became a flood.
    @inline(__always)
    func countOddities(of session: inout HTTP2Session?) {
        guard session?.oddities.hasCounts ?? false else { return }
        session?.oddities.takeCounts { counters.oddity($0, $1) }
        if let kind = session?.oddities.takeFlood() { counters.flood(kind) }
    }

    private func handleEvents(_ front: Ref<FrontConnection>) {
        while front[].spoken != .closed, let event = front[].session?.nextEvent() {
            switch event {
            case .head(let stream, _, let head, let endsStream):
                beginStream(front, stream, head, endsStream: endsStream)
            case .data(let stream, let owner, let bytes):
                guard let exchange = exchanges[].resolve(owner),
                    exchange[].responseProgress != .complete
                else {
                    front[].session?.consume(stream, bytes.count)
                    continue
                }
                requestContent(exchange, bytes)
                if exchange[].isRequestPaused {
                    exchange[].unconsumedRequest += bytes.count
                    if state[].pressure == .full { front[].isReadPaused = true }
                } else {
                    front[].session?.consume(stream, bytes.count)
                }
            case .end(_, let owner):
                guard let exchange = exchanges[].resolve(owner) else { continue }
                requestEnded(exchange, trailers: nil)
            case .trailers(_, let owner, let head):
                guard let exchange = exchanges[].resolve(owner) else {
                    heads[].give(head)
                    continue
                }
                requestEnded(exchange, trailers: head)
            case .closed(_, let owner, let code):
                guard let exchange = exchanges[].resolve(owner) else { continue }
                streamClosed(front, exchange, code)
            case .drained(_, let owner):
                guard let exchange = exchanges[].resolve(owner), exchange[].isResponsePaused else {
                    continue
                }
                resumeResponse(exchange)
            case .goAway, .settings, .pingAcknowledged: break
            }
        }
    }

    private func beginStream(
        _ front: Ref<FrontConnection>, _ stream: Int32, _ head: Ref<Head>, endsStream: Bool
    ) {
        front[].requests += 1
        guard let exchange = beginExchange(front, stream: stream, head: head) else {
            front[].session?.detach(stream)
            front[].session?.reset(stream, code: HTTP2Code.refusedStream)
            return
        }
        head[].isSecure = front[].isSecure
        exchange[].requestProgress = endsStream ? .received : .receiving
        front[].session?.attach(stream, outlet: exchange.responseOutlet)
        let status = head[].status
        if status != 0 {
            head[].status = 0
            let isTooLarge = status == 431 || status == 414
            refuse(
                exchange, status, isTooLarge ? .requestHeadSize : .requestError,
                isTooLarge ? "the request head is too large" : "the request is not acceptable")
        } else {
            startExchange(exchange, front)
        }
    }

    /// The stream is gone: the response was sent whole, or the client or we have reset it.
    private func streamClosed(
        _ front: Ref<FrontConnection>, _ exchange: Ref<Exchange>, _ code: UInt32
    ) {
        let isWhole =
            exchange[].responseProgress == .complete && exchange[].response.queue.isEmpty
        if !isWhole, exchange[].record.error == .none {
            exchange[].record.error = .clientGone
            if exchange[].record.status == 0 { exchange[].record.status = 499 }
            counters.add(.streamResetsReceived)
        }
        dropUpstream(exchange)
        endExchange(exchange)
        if front[].exchangeCount == 0, front[].spoken == .http2 { armIdle(front) }
    }

    func flushHTTP2(_ front: Ref<FrontConnection>) {
        var outcome = TransportFlush.done
        while front[].spoken != .closed {
            var wantsMore = false
            if front[].buffered < state[].highWater {
                do throws(HTTP2Failure) {
                    wantsMore =
                        try front[].writeFrames(upTo: state[].highWater)
                } catch {
                    return closeFront(front)
                }
            } else {
                wantsMore = true
            }
            outcome = front[].flush()
            handleEvents(front)
            guard front[].spoken != .closed else { return }
            if case .done = outcome, wantsMore { continue }
            break
        }
        // Resumed sides may have appended while events were handled; they marked it dirty again.
        frontFlushed(front, outcome)
        if front[].spoken != .closed, front[].session?.isFinished ?? false, front[].buffered == 0 {
            cutExchanges(of: front, reason: .clientGone)
            front[].closesAfterOutput = true
            finishClosing(front)
        }
    }
}
