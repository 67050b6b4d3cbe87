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
    /// Compares what is in use with the budget; once per iteration.
    ///
    /// Workers tell each other in steps: the sum may be off by a step for each of them.
    @inline(__always)
    func settleMemory() {
        let used =
            buffers[].bytesInUse &+ http2[].bytesInUse
            &+ state[].clients &* Limits.connectionBytes
        let change = used &- state[].memoryTold
        if change.magnitude >= UInt(Limits.memoryStep) {
            state[].memoryTold = used
            _ = control.addMemory(change)
        }
        let total = control.memoryInUse
        if total > state[].memoryLimit &- state[].memoryLimit / 4 || state[].pressure != .none {
            adaptToPressure(total)
        }
    }

    @inline(never)
    private func adaptToPressure(_ total: Int) {
        let limit = state[].memoryLimit
        let pressure: MemoryPressure =
            total >= limit ? .full : total > limit - limit / 4 ? .tight : .none
        if pressure != state[].pressure {
            state[].pressure = pressure
            let isShort = pressure != .none
            state[].highWater = isShort ? Limits.shortHighWater : Limits.highWater
            state[].lowWater = isShort ? Limits.shortLowWater : Limits.lowWater
        }
        // Services go on filling the windows they were given: far above the bound, nobody waits.
        let patience = total > limit + limit / 4 ? Duration.zero : Limits.relief
        guard pressure == .full, loop[].now - state[].relievedAt > patience else { return }
        state[].relievedAt = loop[].now
        cutStalled(patience)
    }

    /// Cuts the exchanges that hold memory without moving: one of their sides has been behind for
    /// longer than a moment.
    private func cutStalled(_ patience: Duration) {
        exchanges[].forEach { exchange in
            guard exchange[].isResponsePaused || exchange[].isRequestPaused,
                loop[].now - exchange[].pausedAt > patience
            else { return }
            counters.add(.memoryCuts)
            fail(exchange, 503, .outOfMemory, "the proxy has no memory to wait any longer")
        }
    }
}
