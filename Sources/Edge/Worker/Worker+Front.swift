// Reading from and writing to clients, whatever they speak.

extension Worker {
    @inline(__always)
    func setDeadline(_ front: Ref<FrontConnection>, _ kind: FrontDeadline, _ after: Duration) {
        front[].deadlineKind = kind
        loop[].timers.set(&front[].deadline, front[].token, at: loop[].now + after)
    }

    @inline(__always)
    func clearDeadline(_ front: Ref<FrontConnection>) {
        front[].deadlineKind = .none
        loop[].timers.clear(&front[].deadline)
    }

    /// The client has begun, or may now begin, what has a time to be complete in.
    ///
    /// A deadline for writing stands before it.
    func beginHead(_ front: Ref<FrontConnection>) {
        front[].headDue = loop[].now + state[].snapshot.front.head
        if front[].deadlineKind != .write { awaitHead(front) }
    }

    /// The head is complete, or nobody waits for it any more.
    func endHead(_ front: Ref<FrontConnection>) {
        front[].headDue = .zero
        if front[].deadlineKind == .head { clearDeadline(front) }
    }

    private func awaitHead(_ front: Ref<FrontConnection>) {
        front[].deadlineKind = .head
        loop[].timers.set(&front[].deadline, front[].token, at: front[].headDue)
    }

    func frontEvent(_ front: Ref<FrontConnection>, _ readiness: Readiness) {
        if !readiness.isDisjoint(with: .writable) {
            front[].transport.noteWritable()
            if front[].buffered > 0 || front[].session != nil { markDirty(front) }
        }
        let hangsUp = !readiness.isDisjoint(with: .hangUp)
        if !readiness.isDisjoint(with: .readable) || hangsUp {
            front[].transport.noteReadable(endsSoon: hangsUp)
            readFront(front)
        }
    }

    /// Reads what there is, up to a share that leaves time for the others.
    func readFront(_ front: Ref<FrontConnection>) {
        if front[].spoken == .handshaking {
            guard continueHandshake(front) else { return }
        }
        if front[].spoken == .http1, !front[].input.isEmpty, !front[].isReadPaused {
            continueHTTP1(front)
        }
        var reads = 4
        while reads > 0, front[].transport.mayHoldMore, front[].spoken != .closed {
            if front[].isReadPaused { return }
            switch unsafe front[].transport.read(into: scratch[].place, capacity: Scratch.capacity)
            {
            case .bytes(let count):
                if count >= Limits.bulkBytes {
                    state[].hasBulk = true
                    reads = 1
                }
                received(front, scratch[].bytes(count))
            case .wouldBlock: break
            case .ended: return frontEnded(front)
            case .failed(let failure):
                if failure.kind == .flood { counters.flood(.tlsMessage) }
                return closeFront(front)
            }
            reads -= 1
        }
        if front[].spoken != .closed, front[].transport.mayHoldMore, !front[].isReadPaused {
            markReady(front)
        }
        // Reading may have made TLS write: alerts, key updates.
        if front[].spoken != .closed, front[].transport.pending > 0 { markDirty(front) }
    }

    private func received(_ front: Ref<FrontConnection>, _ bytes: Bytes) {
        counters.add(.frontBytesIn, UInt64(bytes.count))
        switch front[].spoken {
        case .http1: receivedHTTP1(front, bytes)
        case .http2: receivedHTTP2(front, bytes)
        case .unknown: receivedFirst(front, bytes)
        case .handshaking, .closed: break
        }
    }

    /// On cleartext, an HTTP/2 client announces itself with its preface (RFC 9113 §3.3).
    private func receivedFirst(_ front: Ref<FrontConnection>, _ bytes: Bytes) {
        let preface = Bytes("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        front[].input.append(bytes)
        let seen = front[].input.bytes
        let common = min(seen.count, preface.count)
        if seen.prefix(common).equals(preface.prefix(common)) {
            guard common == preface.count else { return }
            beginHTTP2(front)
            let input = front[].takeInput(pool: buffers)
            return receivedHTTP2(front, input.bytes)
        }
        front[].spoken = .http1
        continueHTTP1(front)
    }

    /// False while the handshake is unfinished or has failed.
    private func continueHandshake(_ front: Ref<FrontConnection>) -> Bool {
        switch front[].transport.tls?.handshake() {
        case .done: break
        case .wantsRead:
            if front[].transport.pending > 0 { markDirty(front) }
            return false
        case .failed, nil:
            counters.add(.handshakesFailed)
            // The alert that says why.
            _ = front[].flush()
            closeFront(front)
            return false
        }
        let isResumed = front[].transport.tls?.isResumed ?? false
        counters.add(isResumed ? .handshakesResumed : .handshakesFull)
        front[].tlsLabel =
            Bytes(front[].transport.tls?.versionName ?? "").equals("TLSv1.3") ? .tls13 : .tls12
        if front[].transport.pending > 0 { markDirty(front) }
        if front[].transport.tls?.negotiated == .http2 {
            beginHTTP2(front)
            markDirty(front)
        } else {
            front[].spoken = .http1
            front[].holdsTicket = front[].tlsLabel == .tls13
            beginHead(front)
        }
        return true
    }

    /// The client has ended its side, or the connection is broken.
    private func frontEnded(_ front: Ref<FrontConnection>) {
        guard front[].spoken == .http1 else { return closeFront(front) }
        if front[].reading == .tunnel { return tunnelClientEnded(front) }
        // It asks nothing more, but may well read what it has been answered (RFC 9112 §9.6); of an
        // answer that has only begun the rest would not come.
        let progress = exchanges[].resolve(front[].firstExchange)?[].responseProgress ?? .none
        guard front[].buffered > 0, progress == .none else { return closeFront(front) }
        cutExchanges(of: front, reason: .clientGone)
        front[].input.removeAll()
        front[].hasAskedAll = true
        front[].reading = .discarding
        front[].closesAfterOutput = true
        endHead(front)
        markDirty(front)
    }

    // MARK: writing

    func flushFront(_ front: Ref<FrontConnection>) {
        guard front[].spoken != .closed else { return }
        if front[].session != nil { return flushHTTP2(front) }
        if front[].mayHoldTicket() { return }
        let outcome = front[].flush()
        frontFlushed(front, outcome)
        guard front[].spoken == .http1, front[].buffered < state[].lowWater else { return }
        if front[].exchangeCount == 0, front[].isReadPaused, front[].reading == .head {
            return resumeHTTP1(front)
        }
        guard let exchange = exchanges[].resolve(front[].firstExchange),
            exchange[].isResponsePaused
        else { return }
        resumeResponse(exchange)
    }

    /// What follows from a flush for the connection itself.
    func frontFlushed(_ front: Ref<FrontConnection>, _ outcome: TransportFlush) {
        switch outcome {
        case .failed: closeFront(front)
        case .blocked:
            // A handshake has its own time, in which its few bytes have to be taken as well.
            if front[].deadlineKind != .write, front[].spoken != .handshaking { armWrite(front) }
        case .done:
            if front[].closesAfterOutput, front[].exchangeCount == 0 {
                return finishClosing(front)
            }
            if front[].deadlineKind == .write {
                clearDeadline(front)
                armIdle(front)
                if front[].headDue != .zero { awaitHead(front) }
            }
            if front[].requests < 2 { releaseAtFirstRest(front) }
        }
    }

    /// A client that has asked once at most is not taken for a busy one: its record buffers go as
    /// soon as it rests, lest malloc puts what comes next between them.
    private func releaseAtFirstRest(_ front: Ref<FrontConnection>) {
        guard front[].exchangeCount == 0, front[].spoken != .handshaking else { return }
        front[].transport.tls?.releaseBuffers()
    }

    /// What waits for the client has to move on.
    private func armWrite(_ front: Ref<FrontConnection>) {
        // It was answered just now, and the answer waits: its time begins when that is sent.
        if front[].idleSince == loop[].now { front[].idleSince = .zero }
        front[].takenAtDeadline = front[].taken
        setDeadline(front, .write, state[].snapshot.front.write)
    }

    /// A client has not emptied what waits for it; it may be fast enough all the same.
    private func writeTimedOut(_ front: Ref<FrontConnection>) {
        let policy = state[].snapshot.front
        let moved = front[].taken &- front[].takenAtDeadline
        if moved >= Self.leastBytes(policy.minRate, in: policy.write) { return armWrite(front) }
        counters.timeout(.write)
        abandonFront(front, reason: .clientTimeout)
    }

    /// Gives up on a client that does not take what waits for it, here and in the kernel.
    func abandonFront(_ front: Ref<FrontConnection>, reason: ErrorReason) {
        cutExchanges(of: front, reason: reason)
        front[].closesAbruptly = true
        Socket.resetOnClose(front[].transport.descriptor)
        closeFront(front)
    }

    /// What has to move within a time: at least a byte.
    @inline(__always)
    static func leastBytes(_ perSecond: Int, in time: Duration) -> UInt64 {
        max(1, UInt64(Double(perSecond) * time.seconds))
    }

    /// All output is sent and the connection shall end.
    ///
    /// A client that is still sending would meet a reset that destroys the answer in its buffer, so
    /// its bytes are read for a moment longer (RFC 9112 §9.6).
    func finishClosing(_ front: Ref<FrontConnection>) {
        // TLS's farewell is output too, for which there may be no room at once.
        if !front[].closesAbruptly, front[].transport.sayFarewell() {
            return frontFlushed(front, front[].flush())
        }
        if front[].closesAbruptly || !mayStillSend(front) { return closeFront(front) }
        guard front[].deadlineKind != .linger else { return }
        Socket.shutdownWriting(front[].transport.descriptor)
        setDeadline(front, .linger, Limits.linger)
        front[].isReadPaused = false
        markReady(front)
    }

    /// The client does not know yet that what it sends is of no use.
    private func mayStillSend(_ front: Ref<FrontConnection>) -> Bool {
        guard let isExpected = front[].session?.peerMayStillSend else {
            guard front[].reading == .discarding else { return false }
            return !front[].hasAskedAll || front[].transport.mayHoldMore
        }
        return isExpected && !front[].isLeaving
    }

    /// With nothing under way, the client may stay silent for so long.
    func armIdle(_ front: Ref<FrontConnection>) {
        let kind = front[].deadlineKind
        guard front[].exchangeCount == 0, kind != .linger, kind != .write else { return }
        if front[].idleSince == .zero { front[].idleSince = loop[].now }
        // What has begun has its own deadline, and after it this.
        if front[].headDue == .zero { goOnIdling(front) }
    }

    /// Waits for the rest of the idle time, in two steps: after the first its buffers go.
    func goOnIdling(_ front: Ref<FrontConnection>) {
        let left = front[].idleSince + state[].snapshot.front.idle - loop[].now
        setDeadline(front, .idle, min(left, Limits.rest))
    }

    private func idlePassed(_ front: Ref<FrontConnection>) {
        let left = front[].idleSince + state[].snapshot.front.idle - loop[].now
        if left > .zero {
            if front[].buffered == 0 { front[].transport.tls?.releaseBuffers() }
            return setDeadline(front, .idle, left)
        }
        counters.timeout(.idle)
        endIdle(front)
    }

    func frontDeadlinePassed(_ front: Ref<FrontConnection>) {
        let kind = front[].deadlineKind
        front[].deadlineKind = .none
        switch kind {
        case .none: break
        case .handshake:
            counters.timeout(.handshake)
            closeFront(front)
        case .head:
            front[].headDue = .zero
            headTimedOut(front)
        case .idle: idlePassed(front)
        case .write: writeTimedOut(front)
        case .linger: closeFront(front)
        }
    }

    /// Part of a request head came, the rest did not: 408 (RFC 9110 §15.5.9).
    private func headTimedOut(_ front: Ref<FrontConnection>) {
        counters.timeout(.head)
        guard front[].spoken == .http1, !front[].input.isEmpty else { return endIdle(front) }
        refuseHead(
            front, heads[].take(), 408, .requestTimeout,
            "the request head was not received in time")
    }

    /// Ends a connection on which nothing is under way, with the farewell its protocol knows.
    func endIdle(_ front: Ref<FrontConnection>) {
        if front[].session != nil {
            front[].session?.goAway(code: HTTP2Code.noError)
            counters.add(.goawaysSent)
            front[].closesAfterOutput = true
            markDirty(front)
        } else {
            closeFront(front)
        }
    }

    /// Closes a front connection now; whatever is under way on it is over for its client.
    func closeFront(_ front: Ref<FrontConnection>) {
        guard front[].spoken != .closed else { return }
        let wasHTTP2 = front[].session != nil
        let hadTLS = front[].transport.tls != nil
        front[].spoken = .closed
        cutExchanges(of: front, reason: .clientGone)
        loop[].timers.cancel(&front[].deadline)
        if !front[].closesAbruptly, front[].output.isEmpty, front[].transport.sayFarewell() {
            _ = front[].flush()
        }
        countOddities(of: &front[].session)
        front[].session = nil
        counters.add(.frontBytesOut, front[].transport.bytesOut)
        front[].transport.close()
        fronts[].retire(front[].token)
        counters.add(.frontClosed)
        if front[].purpose != .admin {
            counters.close(.frontSocket)
            state[].clients -= 1
            if release(front[].client), state[].isDraining { tellDrained() }
            front[].client = nil
        }
        if hadTLS { counters.close(.frontTLS) }
        if wasHTTP2 { counters.close(.frontHTTP2) }
    }

    // MARK: the list of exchanges

    func link(_ exchange: Ref<Exchange>, to front: Ref<FrontConnection>) {
        exchange[].nextOnFront = front[].firstExchange
        exchange[].previousOnFront = .none
        if let next = exchanges[].resolve(front[].firstExchange) {
            next[].previousOnFront = exchange[].token
        }
        front[].firstExchange = exchange[].token
        front[].exchangeCount += 1
        // The time without a request is over.
        front[].idleSince = .zero
        if front[].deadlineKind == .idle { clearDeadline(front) }
    }

    func unlink(_ exchange: Ref<Exchange>, from front: Ref<FrontConnection>) {
        let next = exchange[].nextOnFront
        let previous = exchange[].previousOnFront
        if let next = exchanges[].resolve(next) { next[].previousOnFront = previous }
        if let previous = exchanges[].resolve(previous) {
            previous[].nextOnFront = next
        } else {
            front[].firstExchange = next
        }
        front[].exchangeCount -= 1
    }

    /// Ends every exchange of a connection whose client cannot be answered any more.
    func cutExchanges(of front: Ref<FrontConnection>, reason: ErrorReason) {
        while let exchange = exchanges[].resolve(front[].firstExchange) {
            if exchange[].responseProgress != .complete {
                // A farewell would make of what was sent a whole message (RFC 9112 §9.8).
                if exchange[].responseProgress != .none { front[].closesAbruptly = true }
                exchange[].record.error = reason
                if exchange[].record.status == 0 { exchange[].record.status = 499 }
            }
            front[].session?.detach(exchange[].stream)
            dropUpstream(exchange)
            endExchange(exchange)
        }
    }
}
