// From the upstream's answer, or from the proxy's own, to the client.

import Synchronization

extension Worker {
    // MARK: the upstream's answer

    /// An informational response (RFC 9110 §15.2) goes on, except to HTTP/1.0.
    func informationalHead(_ exchange: Ref<Exchange>, _ head: Ref<Head>) {
        exchange[].hasResponseBytes = true
        exchange[].informational += 1
        // Whoever was told to continue begins only now.
        exchange[].measureRate(from: loop[].now)
        refreshDeadline(exchange)
        guard exchange[].informational <= Limits.informationalResponses else {
            return fail(exchange, 502, .protocolError, "too many informational responses")
        }
        guard let front = fronts[].resolve(exchange[].front), head[].status != 101 else { return }
        // 100 is for those who asked for it, and of no use once the request is complete.
        if head[].status == 100 {
            exchange[].wasContinued = true
            if !exchange[].head[].expectsContinue { return }
        }
        Forwarding.prepareResponse(&head[])
        if exchange[].stream != 0 {
            front[].session?.submitInformational(exchange[].stream, head[])
        } else if exchange[].head[].version != .http10 {
            HTTP1Writer.writeInformational(head[], into: &front[].output)
        } else {
            return
        }
        markDirty(front)
    }

    /// The final response's head.
    func responseHead(_ exchange: Ref<Exchange>, _ head: Ref<Head>) {
        exchange[].hasResponseBytes = true
        exchange[].record.response = loop[].now - exchange[].dispatched
        if let pool = exchange[].pool {
            hostAnswered(exchange, pool, status: head[].status)
            if !pool[].hasAnswered {
                pool[].hasAnswered = true
                pool[].record[].hasAnswered.store(true, ordering: .relaxed)
                if !pool[].isInTable { adopt(pool) }
            }
        }
        Forwarding.prepareResponse(&head[])
        if exchange[].record.retry != .none { addRetryStatus(exchange, to: head) }
        writeHead(exchange, head)
    }

    /// Writes a final head, of whatever origin, to the client.
    func writeHead(_ exchange: Ref<Exchange>, _ head: Ref<Head>) {
        guard let front = fronts[].resolve(exchange[].front) else { return }
        front[].transportSecurity.append(to: &head[])
        exchange[].record.status = head[].status
        exchange[].responseProgress = .body
        refreshDeadline(exchange)
        if exchange[].stream != 0 {
            exchange[].responseFraming = head[].framing
            let hasContent = head[].framing != .none && head[].framing != .length(0)
            _ = front[].session?.submitResponse(
                exchange[].stream, head[], outlet: hasContent ? exchange.responseOutlet : nil)
            exchange[].hasOutlet = hasContent
        } else {
            writeHTTP1Head(exchange, head, front)
        }
        markDirty(front)
    }

    private func writeHTTP1Head(
        _ exchange: Ref<Exchange>, _ head: Ref<Head>, _ front: Ref<FrontConnection>
    ) {
        let isOld = exchange[].head[].version == .http10
        var framing = head[].framing
        if framing == .chunked || framing == .untilClose {
            framing = isOld ? .untilClose : .chunked
        }
        let keepsOpen =
            exchange[].head[].isPersistent && framing != .untilClose && !front[].isLeaving
            && !front[].closesAfterOutput
        if !keepsOpen { front[].closesAfterOutput = true }
        exchange[].responseFraming = framing
        var persistence = HTTP1Writer.Persistence.implied
        if !keepsOpen {
            persistence = .close
        } else if isOld {
            persistence = .keepAlive
        }
        HTTP1Writer.writeResponse(
            head[], framing: framing, persistence: persistence,
            contentLength: framing == .none ? head[].announcedLength : nil,
            into: &front[].output)
    }

    /// Content of the response came from the upstream.
    func responseContent(_ exchange: Ref<Exchange>, _ bytes: Bytes) {
        guard let front = fronts[].resolve(exchange[].front) else { return }
        exchange[].record.sent &+= UInt64(bytes.count)
        refreshDeadline(exchange)
        if exchange[].stream != 0 {
            guard exchange[].hasOutlet else { return }
            front[].write(bytes, to: exchange.responseOutlet, upTo: state[].highWater)
            if exchange[].response.queue.count > state[].highWater { pauseResponse(exchange) }
        } else {
            if exchange[].responseFraming == .chunked {
                HTTP1Writer.writeChunk(bytes, into: &front[].output)
            } else if exchange[].responseFraming != .none {
                front[].write(bytes)
            }
            if front[].buffered > state[].highWater { pauseResponse(exchange) }
        }
        markDirty(front)
    }

    private func pauseResponse(_ exchange: Ref<Exchange>) {
        guard !exchange[].isResponsePaused else { return }
        exchange[].isResponsePaused = true
        refreshDeadline(exchange)
        _ = hasProgressed(exchange)
        if let upstream = exchange[].upstream, !upstream[].isHTTP2 {
            upstream[].isReadPaused = true
        }
    }

    /// The client has taken enough: the upstream may go on sending.
    func resumeResponse(_ exchange: Ref<Exchange>) {
        exchange[].isResponsePaused = false
        refreshDeadline(exchange)
        guard let upstream = exchange[].upstream else { return }
        if upstream[].isHTTP2 {
            if exchange[].unconsumedResponse > 0 {
                upstream[].session?.consume(
                    exchange[].upstreamStream, exchange[].unconsumedResponse)
                exchange[].unconsumedResponse = 0
                markDirty(upstream)
            }
        } else {
            upstream[].isReadPaused = false
            markReady(upstream)
        }
    }

    /// The response is complete; `trailers` are the exchange's from now on.
    func responseEnded(_ exchange: Ref<Exchange>, trailers: Ref<Head>?) {
        guard exchange[].responseProgress != .complete else {
            if let trailers { heads[].give(trailers) }
            return
        }
        exchange[].responseProgress = .complete
        if exchange[].stream != 0 {
            refreshDeadline(exchange)
            _ = hasProgressed(exchange)
        }
        let requestWasComplete = exchange[].requestProgress == .received
        guard let front = fronts[].resolve(exchange[].front) else {
            if let trailers { heads[].give(trailers) }
            return
        }
        markDirty(front)
        if exchange[].stream != 0 {
            exchange[].response.trailers = trailers
            exchange[].response.hasEnded = true
            if exchange[].hasOutlet { front[].session?.resume(exchange.responseOutlet) }
            if !requestWasComplete { linger(exchange) }
            releaseUpstream(exchange)
            // The request's rest is not wanted: its window is given back as it comes.
            if exchange[].unconsumedRequest > 0 {
                front[].session?.consume(exchange[].stream, exchange[].unconsumedRequest)
                exchange[].unconsumedRequest = 0
            }
            exchange[].isRequestPaused = false
            return
        }
        if exchange[].responseFraming == .chunked {
            HTTP1Writer.writeLastChunk(trailers: trailers, into: &front[].output)
        }
        if let trailers { heads[].give(trailers) }
        releaseUpstream(exchange)
        front[].hasAskedAll =
            !exchange[].head[].isPersistent && front[].reading == .blocked && front[].input.isEmpty
        endExchange(exchange)
        finishHTTP1(front, requestWasComplete: requestWasComplete)
    }

    // MARK: answers of the proxy's own

    /// Answers a request that goes nowhere; with 503 and 429, `wait` is how long to stay away.
    func refuse(
        _ exchange: Ref<Exchange>, _ status: UInt16, _ error: ErrorReason, _ details: StaticString,
        retryAfter wait: Duration = .seconds(1)
    ) {
        exchange[].record.error = error
        if exchange[].stream == 0, exchange[].requestProgress != .received {
            // The rest of the request is not wanted.
            fronts[].resolve(exchange[].front)?[].closesAfterOutput = true
        }
        let body = heads[].take()
        defer { heads[].give(body) }
        body[].text.append(decimal: UInt64(status))
        body[].text.append(UInt8(ascii: " "))
        body[].text.append(Status.reasonPhrase(status))
        body[].text.append(": ")
        body[].text.append(details)
        body[].text.append("\n")
        let head = heads[].take()
        defer { heads[].give(head) }
        head[].status = status
        addProxyStatus(exchange, error, details, to: head)
        if status == 503 || status == 429 {
            let name = head[].append(Bytes("retry-after"))
            let start = head[].text.count
            head[].text.append(decimal: wait.wholeSeconds)
            let value = TextRange(start: start, count: head[].text.count - start)
            _ = head[].fields.append(FieldLine(name: name, value: value, known: .other))
        }
        answer(exchange, head, Bytes("text/plain; charset=utf-8"), body[].text.bytes)
    }

    /// Sends a whole response at once; `head` carries its status and any further fields.
    func answer(
        _ exchange: Ref<Exchange>, _ head: Ref<Head>, _ contentType: Bytes, _ content: Bytes
    ) {
        if !contentType.isEmpty {
            _ = head[].appendField(Bytes("content-type"), contentType, known: .other)
        }
        let isHead = exchange[].head[].method == .head
        head[].announcedLength = UInt64(content.count)
        head[].framing = isHead ? .none : .length(UInt64(content.count))
        writeHead(exchange, head)
        if !isHead, !content.isEmpty { responseContent(exchange, content) }
        responseEnded(exchange, trailers: nil)
    }

    /// 308 to the same place on https (RFC 9110 §15.4.9).
    func redirect(_ exchange: Ref<Exchange>, port: UInt16) {
        let request = exchange[].head
        let authority = request[].bytes(request[].authority)
        guard !authority.isEmpty else {
            return refuse(exchange, 400, .requestError, "the request names no host")
        }
        let head = heads[].take()
        defer { heads[].give(head) }
        head[].status = 308
        let name = head[].append(Bytes("location"))
        let start = head[].text.count
        head[].text.append("https://")
        head[].text.append(authority.withoutPort)
        if port != 443 {
            head[].text.append(":")
            head[].text.append(decimal: UInt64(port))
        }
        let target = request[].bytes(request[].target)
        head[].text.append(target.equals("*") ? Bytes("/") : target)
        let value = TextRange(start: start, count: head[].text.count - start)
        _ = head[].fields.append(FieldLine(name: name, value: value, known: .other))
        answer(exchange, head, .empty, .empty)
    }

    // MARK: failure

    /// Ends an exchange that cannot go on: with an answer if none was begun, else by a visible cut.
    func fail(
        _ exchange: Ref<Exchange>, _ status: UInt16, _ error: ErrorReason, _ details: StaticString,
        retryAfter wait: Duration = .seconds(1)
    ) {
        dropUpstream(exchange)
        if exchange[].responseProgress == .none {
            return refuse(exchange, status, error, details, retryAfter: wait)
        }
        exchange[].record.error = error
        cutResponse(exchange)
    }

    /// Makes a client see that the response it is receiving will not be whole (RFC 9112 §8).
    func cutResponse(_ exchange: Ref<Exchange>) {
        guard let front = fronts[].resolve(exchange[].front) else { return }
        dropUpstream(exchange)
        if exchange[].stream != 0 {
            counters.add(.streamResetsSent)
            // nghttp2 forgets what waits for a stream that is reset, its head too: that goes first.
            if front[].buffered < Limits.highWater {
                _ = try? front[].writeFrames(upTo: Limits.highWater)
            }
            // `.closed` follows and ends the exchange, perhaps much later: what waits for a client
            // that does not read is given up now. Nothing of it may look like the end.
            exchange[].response.queue.removeAll()
            exchange[].response.hasEnded = false
            front[].session?.reset(exchange[].stream, code: HTTP2Code.internalError)
            markDirty(front)
        } else {
            front[].closesAfterOutput = true
            front[].closesAbruptly = true
            front[].reading = .discarding
            // Where the close is the content's end, and no TLS tells one close from another, only a
            // reset says that something is missing.
            if exchange[].responseFraming == .untilClose, front[].transport.tls == nil {
                Socket.resetOnClose(front[].transport.descriptor)
            }
            endExchange(exchange)
            markDirty(front)
        }
    }
}

extension Bytes {
    /// A host without its port; brackets of an IPv6 literal stay.
    var withoutPort: Bytes {
        var index = count - 1
        while index >= 0 {
            if self[index] == UInt8(ascii: ":") { return prefix(index) }
            guard ASCII.isDigit(self[index]) else { return self }
            index -= 1
        }
        return self
    }
}
