// The budget of memory: told, watched, and kept.

/// How much of `max_memory` is in use.
enum MemoryPressure: UInt8, BitwiseCopyable {
    case none
    /// Three quarters: buffers are kept short, so that what runs already can go on.
    case tight
    /// All of it: no new work, and what does not move is cut.
    case full
}

extension Worker {
    /// Marks the deadline for looking at the memory again.
    static var reliefSlot: UInt32 { 1 }

    /// Whether there is no memory for anything new; a worker that has slept looks again.
    @inline(__always)
    var isOutOfMemory: Bool {
        state[].pressure == .full && control.memoryInUse >= state[].memoryLimit
    }

    /// Compares what is in use with the budget, once per iteration; true when it has cut something.
    ///
    /// Workers tell each other in steps: the sum may be off by a step for each of them.
    @inline(__always)
    func settleMemory() -> Bool {
        let total = tellMemory()
        guard total > state[].memoryTight || state[].pressure != .none
        else { return false }
        return adaptToPressure(total)
    }

    /// Looks within an iteration already when buffers grow: hundreds of services may have much to
    /// say at the same time, and from here on each is stopped sooner.
    @inline(__always)
    func noticeGrowth() {
        if buffers[].bytesInUse > state[].memoryAlarm { grown() }
    }

    @inline(never)
    private func grown() { notePressure(tellMemory()) }

    /// Tells the process what this worker uses; returns what all do.
    @inline(__always)
    private func tellMemory() -> Int {
        state[].memoryAlarm = buffers[].bytesInUse &+ Limits.memoryAlarm
        let used =
            buffers[].bytesInUse &+ http2[].bytesInUse
            &+ state[].clients &* Limits.connectionBytes
        let change = used &- state[].memoryTold
        if change.magnitude >= UInt(Limits.memoryStep) {
            state[].memoryTold = used
            _ = control.addMemory(change)
        }
        return control.memoryInUse
    }

    @inline(never)
    private func adaptToPressure(_ total: Int) -> Bool {
        notePressure(total)
        guard state[].pressure == .full else { return false }
        guard loop[].now - state[].relievedAt > Limits.relief else {
            // Nobody may come by who would make this worker look again.
            loop[].timers.set(
                &state[].reliefDeadline, Token(.control, slot: Self.reliefSlot),
                at: state[].relievedAt + Limits.relief + .milliseconds(1))
            return false
        }
        state[].relievedAt = loop[].now
        relieveFronts(total - state[].memoryTight)
        relieveExchanges()
        resumeHTTP2()
        return true
    }

    private func notePressure(_ total: Int) {
        let pressure: MemoryPressure =
            total >= state[].memoryLimit ? .full : total > state[].memoryTight ? .tight : .none
        guard pressure != state[].pressure else { return }
        if state[].pressure == .full { resumeHTTP2() }
        state[].pressure = pressure
        let isShort = pressure != .none
        state[].highWater = isShort ? Limits.shortHighWater : Limits.highWater
        state[].lowWater = isShort ? Limits.shortLowWater : Limits.lowWater
        guard pressure == .full else { return }
        // Those that sleep may be the ones who hold it.
        for other in mailboxes.indices where other != index { mailboxes[other].post(.memory) }
    }

    /// Reads on from HTTP/2 connections that brought content for somebody who was behind while
    /// there was no memory for it; as long as that is so, a little at a time.
    private func resumeHTTP2() {
        upstreams[].forEach { upstream in
            guard upstream[].isHTTP2, upstream[].isReadPaused else { return }
            upstream[].isReadPaused = false
            markReady(upstream)
        }
        fronts[].forEach { front in
            guard front[].spoken == .http2, front[].isReadPaused else { return }
            front[].isReadPaused = false
            markReady(front)
        }
    }

    /// Closes connections whose client has taken nothing of what waits for it since this was last
    /// asked, and of those that rest as many as it takes.
    private func relieveFronts(_ excess: Int) {
        var excess = excess
        fronts[].forEach { front in
            guard front[].spoken != .closed, front[].purpose != .admin else { return }
            if front[].deadlineKind == .write {
                let taken = front[].taken
                if front[].takenAtRelief == taken {
                    counters.add(.memoryCuts, UInt64(max(1, front[].exchangeCount)))
                    abandonFront(front, reason: .outOfMemory)
                }
                front[].takenAtRelief = taken
            } else if front[].deadlineKind == .idle, front[].exchangeCount == 0, excess > 0,
                loop[].now - front[].idleSince > Limits.relief
            {
                excess -= Limits.connectionBytes
                endIdle(front)
            }
        }
    }

    /// Cuts exchanges that hold memory without moving: the client's window lets nothing through, or
    /// the upstream does not take the request.
    private func relieveExchanges() {
        exchanges[].forEach { exchange in
            guard exchange[].record.error != .outOfMemory, isStalled(exchange) else { return }
            counters.add(.memoryCuts)
            dropUpstream(exchange)
            exchange[].request.queue.removeAll()
            fail(exchange, 503, .outOfMemory, "the proxy has no memory to wait any longer")
        }
    }

    private func isStalled(_ exchange: Ref<Exchange>) -> Bool {
        if exchange[].isRequestPaused, loop[].now - exchange[].requestPausedAt > Limits.relief {
            return true
        }
        // Of HTTP/1 clients the connection tells.
        guard exchange[].stream != 0, !exchange[].response.queue.isEmpty else { return false }
        let taken = exchange[].takenByStream
        defer { exchange[].takenAtRelief = taken }
        return exchange[].takenAtRelief == taken
    }
}
