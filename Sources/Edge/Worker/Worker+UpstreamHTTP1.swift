// HTTP/1.1 services.

import Synchronization

extension Worker {
    func receivedUpstreamHTTP1(_ upstream: Ref<UpstreamConnection>, _ bytes: Bytes) {
        if upstream[].input.isEmpty {
            let consumed = parseUpstream(upstream, bytes)
            guard upstream[].phase == .ready else { return }
            upstream[].input.append(bytes.dropFirst(consumed))
        } else {
            upstream[].input.append(bytes)
            continueUpstreamHTTP1(upstream)
        }
    }

    func continueUpstreamHTTP1(_ upstream: Ref<UpstreamConnection>) {
        var input = ByteQueue(pool: buffers)
        swap(&input, &upstream[].input)
        let consumed = parseUpstream(upstream, input.bytes)
        guard upstream[].phase == .ready else { return }
        upstream[].input.append(input.bytes.dropFirst(consumed))
    }

    /// Takes from `bytes` what can be worked on now and returns how many bytes that was.
    private func parseUpstream(_ upstream: Ref<UpstreamConnection>, _ bytes: Bytes) -> Int {
        var consumed = 0
        while upstream[].phase == .ready, !upstream[].isReadPaused {
            guard let exchange = exchanges[].resolve(upstream[].firstExchange) else {
                // Bytes that nobody asked for: never given to the next client.
                if consumed < bytes.count { closeUpstream(upstream) }
                return bytes.count
            }
            switch upstream[].reading {
            case .idle: return bytes.count
            case .head:
                let used = parseResponseHead(upstream, exchange, bytes.dropFirst(consumed))
                if used == 0 { return consumed }
                consumed += used
            case .body:
                guard parseResponseBody(upstream, exchange, bytes, &consumed) else {
                    return consumed
                }
            case .tunnel:
                guard consumed < bytes.count else { return consumed }
                tunnelFromUpstream(exchange, bytes.dropFirst(consumed))
                return bytes.count
            }
        }
        return consumed
    }

    private func parseResponseHead(
        _ upstream: Ref<UpstreamConnection>, _ exchange: Ref<Exchange>, _ bytes: Bytes
    ) -> Int {
        guard !bytes.isEmpty else { return 0 }
        // Nothing of the request has left: these bytes answer somebody else, if anybody.
        guard upstream[].transport.bytesOut != exchange[].bytesOutBefore else {
            upstreamLost(upstream, .protocolError)
            return bytes.count
        }
        exchange[].hasResponseBytes = true
        let head = heads[].take()
        defer { heads[].give(head) }
        do throws(MalformedMessage) {
            let used = try HTTP1ResponseParser.parse(
                bytes, scanned: &upstream[].scanned, into: &head[],
                requestMethod: exchange[].head[].method)
            guard let used else { return 0 }
            upstream[].scanned = 0
            if head[].status == 101 {
                switchProtocols(upstream, exchange, head)
            } else if head[].status < 200 {
                informationalHead(exchange, head)
            } else {
                upstream[].isPersistent = head[].isPersistent
                if head[].keepAliveSeconds != 0 {
                    noteAnnouncedRest(upstream, seconds: head[].keepAliveSeconds)
                }
                upstream[].decoder = HTTP1BodyDecoder(head[].framing)
                upstream[].reading = .body
                responseHead(exchange, head)
            }
            return used
        } catch {
            upstreamLost(upstream, error.status == 431 ? .responseHeadSize : .protocolError)
            return bytes.count
        }
    }

    /// False when nothing more can be done with the bytes there are.
    private func parseResponseBody(
        _ upstream: Ref<UpstreamConnection>, _ exchange: Ref<Exchange>, _ bytes: Bytes,
        _ consumed: inout Int
    ) -> Bool {
        do throws(MalformedMessage) {
            switch try upstream[].decoder.decode(bytes, consumed: &consumed) {
            case .needsMore: return false
            case .data(let data): responseContent(exchange, data)
            case .end(let section):
                let trailers = try parseTrailers(section, of: bytes)
                upstream[].reading = .idle
                // Extra bytes after the end make the connection unfit for anyone else.
                if consumed < bytes.count { upstream[].isPersistent = false }
                responseEnded(exchange, trailers: trailers)
            }
            return true
        } catch {
            upstreamLost(upstream, .protocolError)
            return false
        }
    }

    /// The host has ended its side.
    func upstreamEnded(_ upstream: Ref<UpstreamConnection>, isClean: Bool) {
        guard !upstream[].isHTTP2, let exchange = exchanges[].resolve(upstream[].firstExchange)
        else {
            return upstreamLost(upstream, .connectionTerminated)
        }
        switch upstream[].reading {
        case .tunnel: tunnelUpstreamEnded(exchange)
        case .body:
            // Content until the close is whole only if TLS says so too (RFC 9112 §9.8).
            let isWhole = (try? upstream[].decoder.inputEnded()) != nil
            if isWhole, isClean {
                upstream[].isPersistent = false
                upstream[].reading = .idle
                responseEnded(exchange, trailers: nil)
            } else {
                upstreamLost(upstream, .responseIncomplete)
            }
        case .head, .idle: upstreamLost(upstream, .connectionTerminated)
        }
    }

    // MARK: tunnels (RFC 9110 §7.8)

    private func switchProtocols(
        _ upstream: Ref<UpstreamConnection>, _ exchange: Ref<Exchange>, _ head: Ref<Head>
    ) {
        let offered = exchange[].head[].bytes(exchange[].head[].upgrade)
        guard exchange[].wantsUpgrade, exchange[].requestProgress == .received,
            UpgradeProtocols.contain(offered, head[].bytes(head[].upgrade)),
            let front = fronts[].resolve(exchange[].front), front[].spoken == .http1
        else {
            return upstreamLost(upstream, .protocolError)
        }
        if let pool = exchange[].pool { hostAnswered(exchange, pool, status: 101) }
        Forwarding.prepareResponse(&head[])
        exchange[].record.status = 101
        exchange[].record.response = loop[].now - exchange[].dispatched
        exchange[].responseProgress = .tunnel
        exchange[].requestProgress = .received
        upstream[].reading = .tunnel
        upstream[].isPersistent = false
        front[].reading = .tunnel
        front[].closesAfterOutput = false
        clearDeadline(front)
        HTTP1Writer.writeSwitchingProtocols(head[], into: &front[].output)
        refreshDeadline(exchange)
        markDirty(front)
        // What the client has sent behind its request waits here, and in the kernel, too.
        if !front[].isParsing { resumeHTTP1(front) }
    }

    func tunnelFromClient(_ front: Ref<FrontConnection>, _ bytes: Bytes) {
        guard let exchange = exchanges[].resolve(front[].firstExchange),
            let upstream = exchange[].upstream
        else { return closeFront(front) }
        exchange[].record.received &+= UInt64(bytes.count)
        refreshDeadline(exchange)
        upstream[].output.append(bytes)
        markDirty(upstream)
        if upstream[].buffered > state[].highWater {
            exchange[].requestPausedAt = loop[].now
            exchange[].isRequestPaused = true
            front[].isReadPaused = true
        }
    }

    func tunnelFromUpstream(_ exchange: Ref<Exchange>, _ bytes: Bytes) {
        guard let front = fronts[].resolve(exchange[].front) else { return }
        exchange[].record.sent &+= UInt64(bytes.count)
        refreshDeadline(exchange)
        front[].output.append(bytes)
        markDirty(front)
        if front[].buffered > state[].highWater, let upstream = exchange[].upstream {
            exchange[].isResponsePaused = true
            upstream[].isReadPaused = true
        }
    }

    /// The client has ended its side of a tunnel: the host gets what is left, then the end.
    func tunnelClientEnded(_ front: Ref<FrontConnection>) {
        guard let exchange = exchanges[].resolve(front[].firstExchange),
            let upstream = exchange[].upstream
        else { return closeFront(front) }
        if case .blocked = upstream[].flush() {
            // Come back by `flushUpstream` when the host has taken all of it.
            exchange[].isTunnelEnding = true
            return
        }
        exchange[].responseProgress = .complete
        _ = front[].flush()
        closeFront(front)
    }

    /// The host has ended its side of a tunnel: the client gets what is left, then the end.
    private func tunnelUpstreamEnded(_ exchange: Ref<Exchange>) {
        guard let front = fronts[].resolve(exchange[].front) else { return }
        exchange[].responseProgress = .complete
        dropUpstream(exchange)
        endExchange(exchange)
        front[].reading = .discarding
        front[].closesAfterOutput = true
        markDirty(front)
    }

    func cutTunnel(_ exchange: Ref<Exchange>) {
        guard let front = fronts[].resolve(exchange[].front) else { return }
        exchange[].responseProgress = .complete
        closeFront(front)
    }
}
