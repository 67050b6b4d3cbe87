// HTTP/1 clients.

extension Worker {
    func receivedHTTP1(_ front: Ref<FrontConnection>, _ bytes: Bytes) {
        if front[].input.isEmpty, !front[].isParsing {
            let consumed = parseHTTP1(front, bytes)
            guard front[].spoken != .closed else { return }
            front[].input.append(bytes.dropFirst(consumed))
        } else {
            front[].input.append(bytes)
            continueHTTP1(front)
        }
        if front[].spoken != .closed { holdPipeline(front) }
    }

    /// A client that pipelines without end waits in the kernel, not here.
    ///
    /// Asked whenever input is put back: a request that is taken off it makes no room by itself.
    @inline(__always)
    private func holdPipeline(_ front: Ref<FrontConnection>) {
        if front[].input.count > Limits.headBytes, front[].reading != .head {
            front[].isReadPaused = true
        }
    }

    /// Works on input that had to wait.
    func continueHTTP1(_ front: Ref<FrontConnection>) {
        guard !front[].isParsing, front[].spoken == .http1 else { return }
        if front[].reading == .head, front[].exchangeCount == 0, front[].input.isEmpty {
            return armIdle(front)
        }
        let input = front[].takeInput(pool: buffers)
        let consumed = parseHTTP1(front, input.bytes)
        guard front[].spoken != .closed else { return }
        let rest = input.bytes.dropFirst(consumed)
        guard !rest.isEmpty else { return }
        if front[].input.isEmpty {
            front[].input.append(rest)
            if front[].reading == .blocked { holdPipeline(front) }
        } else {
            // Nothing was read meanwhile: only the parser fills the input, and it was ours.
            preconditionFailure("input arrived while older input was being parsed")
        }
    }

    /// Takes from `bytes` what can be worked on now and returns how many bytes that was.
    private func parseHTTP1(_ front: Ref<FrontConnection>, _ bytes: Bytes) -> Int {
        front[].isParsing = true
        defer { front[].isParsing = false }
        var consumed = 0
        while front[].spoken == .http1 {
            switch front[].reading {
            case .head:
                guard consumed < bytes.count else {
                    if front[].exchangeCount == 0 { armIdle(front) }
                    return consumed
                }
                // A client that asks and asks without reading the answers waits for itself.
                if front[].buffered > state[].highWater {
                    endHead(front)
                    front[].isReadPaused = true
                    return consumed
                }
                let used = parseHead(front, bytes.dropFirst(consumed))
                if used == 0 { return consumed }
                consumed += used
            case .body:
                guard let exchange = exchanges[].resolve(front[].firstExchange),
                    !front[].isReadPaused
                else { return consumed }
                guard parseBody(front, exchange, bytes, &consumed) else { return consumed }
            case .blocked: return consumed
            case .tunnel:
                guard consumed < bytes.count, !front[].isReadPaused else { return consumed }
                tunnelFromClient(front, bytes.dropFirst(consumed))
                return bytes.count
            case .discarding:
                // It said that it would not send this, and may send more.
                if consumed < bytes.count { front[].hasAskedAll = false }
                return bytes.count
            }
        }
        return bytes.count
    }

    /// 0 when the head is not complete.
    private func parseHead(_ front: Ref<FrontConnection>, _ bytes: Bytes) -> Int {
        let head = heads[].take()
        do throws(MalformedMessage) {
            let used = try HTTP1RequestParser.parse(
                bytes, scanned: &front[].scanned, into: &head[], isSecure: front[].isSecure)
            guard let used else {
                heads[].give(head)
                if front[].headDue == .zero { beginHead(front) }
                return 0
            }
            front[].scanned = 0
            front[].requests += 1
            endHead(front)
            guard let exchange = beginExchange(front, stream: 0, head: head) else {
                closeFront(front)
                return used
            }
            front[].decoder = HTTP1BodyDecoder(head[].framing)
            if front[].decoder.isComplete {
                exchange[].requestProgress = .received
                front[].reading = .blocked
            } else {
                front[].reading = .body
            }
            startExchange(exchange, front)
            return used
        } catch {
            // What the parser understood before it gave up is not relied upon.
            head[].reset()
            refuseHead(front, head, error.status, .requestError, error.reason)
            return bytes.count
        }
    }

    /// Answers what is no request, and takes none after it.
    func refuseHead(
        _ front: Ref<FrontConnection>, _ head: Ref<Head>, _ status: UInt16, _ error: ErrorReason,
        _ reason: StaticString
    ) {
        endHead(front)
        guard let exchange = beginExchange(front, stream: 0, head: head) else {
            return closeFront(front)
        }
        front[].reading = .discarding
        front[].closesAfterOutput = true
        exchange[].requestProgress = .received
        refuse(exchange, status, error, reason)
    }

    /// False when nothing more can be done with the bytes there are.
    private func parseBody(
        _ front: Ref<FrontConnection>, _ exchange: Ref<Exchange>, _ bytes: Bytes,
        _ consumed: inout Int
    ) -> Bool {
        do throws(MalformedMessage) {
            switch try front[].decoder.decode(bytes, consumed: &consumed) {
            case .needsMore: return false
            case .data(let data):
                requestContent(exchange, data)
                return true
            case .end(let section):
                let trailers = try parseTrailers(section, of: bytes)
                front[].reading = .blocked
                requestEnded(exchange, trailers: trailers)
                return true
            }
        } catch {
            front[].reading = .discarding
            front[].closesAfterOutput = true
            exchange[].requestProgress = .received
            fail(exchange, error.status, .requestError, error.reason)
            return false
        }
    }

    /// The trailer section behind a chunked body, of either side; nil when there is none.
    func parseTrailers(
        _ section: TextRange?, of bytes: Bytes
    ) throws(MalformedMessage) -> Ref<Head>? {
        guard let section else { return nil }
        let head = heads[].take()
        do throws(MalformedMessage) {
            try HTTP1TrailerParser.parse(
                bytes.slice(Int(section.start), count: Int(section.count)), into: &head[])
            return head
        } catch {
            heads[].give(head)
            throw error
        }
    }

    /// The response of the current exchange was written: on to the next request, or to the end.
    func finishHTTP1(_ front: Ref<FrontConnection>, requestWasComplete: Bool) {
        guard front[].spoken == .http1 else { return }
        if front[].closesAfterOutput || !requestWasComplete {
            front[].reading = .discarding
            front[].closesAfterOutput = true
            markDirty(front)
            return
        }
        front[].reading = .head
        front[].isReadPaused = false
        guard !front[].isParsing else { return }
        if front[].input.isEmpty {
            armIdle(front)
            markReadyIfMore(front)
        } else {
            // Not here: the next request may be answered at once, and so on, each within the last.
            markReady(front)
        }
    }

    /// Goes on with what was left unread.
    func resumeHTTP1(_ front: Ref<FrontConnection>) {
        front[].isReadPaused = false
        continueHTTP1(front)
        if front[].spoken != .closed { markReadyIfMore(front) }
    }

    @inline(__always)
    func markReadyIfMore(_ front: Ref<FrontConnection>) {
        if front[].transport.mayHoldMore { markReady(front) }
    }
}
