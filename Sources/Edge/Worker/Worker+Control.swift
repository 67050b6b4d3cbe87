// What the control plane asks of a worker: new configurations, counts, and the end.

import DequeModule

extension Worker {
    func receive(_ message: WorkerMessage) {
        switch message {
        case .reload(let snapshot, let listening): adopt(snapshot, listening)
        case .drain(let until, let spread): beginDrain(until, spread)
        case .resolved: resolver[].delivered()
        case .retired(let client): hostRetired(client)
        case .capacity(let client): capacityFreed(client)
        case .lend(let client, let borrower, let unable):
            lend(client, to: borrower, unable: unable)
        case .lent(let handover, let pool): takeOver(handover, pool)
        case .notLent(let pool): borrowFailed(pool)
        case .yield(let client): yieldConnection(client)
        case .reclaim(let worker): reclaim(for: worker)
        case .room: serveStarved()
        case .drained, .memory: break
        case .census(let census): state[].censuses.append(census)
        case .counted(let census): answerCensus(census)
        case .inquiry(let inquiry): answer(inquiry)
        case .inquired(let inquiry): answerInquiry(inquiry)
        }
    }

    /// Uses a new configuration from the next connection and request on.
    ///
    /// What is under way keeps what it began with; pools whose key did not change live on.
    private func adopt(
        _ snapshot: Snapshot, _ listening: [(listener: Int, descriptor: Int32)]
    ) {
        let old = state[].snapshot
        state[].snapshot = snapshot
        state[].memoryLimit = snapshot.front.maxMemory
        state[].requestRate = snapshot.front.client.requests
        for place in state[].listening.indices where state[].listening[place].descriptor >= 0 {
            let name = old.listeners[state[].listening[place].listener].name
            if let now = snapshot.listeners.firstIndex(where: { $0.name == name }) {
                state[].listening[place].listener = now
            } else {
                stopListening(place)
            }
        }
        for socket in listening {
            listen(ListeningSocket(listener: socket.listener, descriptor: socket.descriptor))
        }
        shed()
    }

    // MARK: the drain

    /// Accepts no more, says so to every client in its turn, and lets finish what runs.
    ///
    /// HTTP/1 clients are told with the next response; those that are idle get a moment to ask once
    /// more, since a request may be on its way already. HTTP/2 clients get a first GOAWAY that
    /// refuses nothing and, when they had time to see it, the final one (RFC 9113 §6.8).
    private func beginDrain(_ until: Instant, _ spread: Duration) {
        guard !state[].isDraining else { return }
        // Probes and whoever watches the drain are answered to the end.
        for place in state[].listening.indices
        where state[].listening[place].descriptor >= 0 && purpose(of: place) != .admin {
            stopListening(place)
        }
        state[].isDraining = true
        state[].drainUntil = until
        var clients: [Token] = []
        fronts[].forEach { front in
            if front[].purpose == .admin {
                tellToLeave(front)
            } else {
                clients.append(front[].token)
            }
        }
        let left = until - loop[].now
        let half = Duration(nanoseconds: max(0, left.nanoseconds / 2))
        state[].departures = Departures(
            clients, from: loop[].now, over: min(spread, half),
            pause: min(Limits.departurePause, half))
        loop[].timers.set(
            &state[].drainDeadline, Token(.control), at: state[].departures.next ?? loop[].now)
    }

    /// Clients whose turn has come are told, those told a moment ago go; later the grace period is
    /// over.
    func drainTicked() {
        let now = loop[].now
        if now >= state[].drainUntil { return cutAll() }
        while let token = state[].departures.nextToTell(now) {
            if let front = fronts[].resolve(token) { tellToLeave(front) }
        }
        if !state[].hasToldAll, state[].departures.hasToldAll {
            // Until here requests came as ever, and would have dialled for each anew.
            state[].hasToldAll = true
            while let idle = state[].oldestIdle { closeUpstream(idle, servesWaiters: false) }
        }
        while let token = state[].departures.nextToGo(now) {
            if let front = fronts[].resolve(token) { letGo(front) }
        }
        // Those that were busy then, with an answer that did not say it was the last.
        if state[].departures.isOver { fronts[].forEach { letGo($0) } }
        loop[].timers.set(
            &state[].drainDeadline, Token(.control),
            at: min(state[].drainUntil, state[].departures.next ?? now + .milliseconds(250)))
    }

    /// From now on the next answer is the last.
    private func tellToLeave(_ front: Ref<FrontConnection>) {
        guard front[].spoken != .closed else { return }
        front[].isLeaving = true
        guard front[].session != nil else { return }
        front[].session?.shutdownNotice()
        counters.add(.goawaysSent)
        markDirty(front)
    }

    /// A client that was told has had its moment.
    private func letGo(_ front: Ref<FrontConnection>) {
        guard front[].spoken != .closed, front[].purpose != .admin else { return }
        if let hasSaidGoAway = front[].session?.hasSaidGoAway {
            guard !hasSaidGoAway else { return }
            front[].session?.goAway(code: HTTP2Code.noError)
            markDirty(front)
        } else if front[].exchangeCount == 0, front[].buffered == 0 {
            // An answer that was completed in this very iteration is still to be sent.
            if front[].input.isEmpty || front[].spoken == .handshaking { closeFront(front) }
        }
    }

    /// Of a place that listens: one that a reload has ended names a listener that is gone.
    private func purpose(of place: Int) -> ListenerPurpose {
        state[].snapshot.listeners[state[].listening[place].listener].purpose
    }

    /// The last client of the process has gone: every worker may end.
    func tellDrained() {
        for other in mailboxes.indices where other != index { mailboxes[other].post(.drained) }
    }

    /// Ends the loop once nothing is left.
    ///
    /// A worker without clients stays as long as others have some: probes may have been put into
    /// the queue of its admin socket.
    func advanceDrain() {
        guard state[].clients == 0, control.frontConnections == 0 else { return }
        for place in state[].listening.indices { stopListening(place) }
        fronts[].forEach { closeFront($0) }
        upstreams[].forEach { closeUpstream($0, servesWaiters: false) }
        guard upstreams[].count == 0 else { return }
        loop[].timers.cancel(&state[].drainDeadline)
        loop[].timers.cancel(&state[].acceptPause)
        loop[].timers.cancel(&state[].reliefDeadline)
        loop[].timers.cancel(&state[].shedDeadline)
        fronts[].reap()
        upstreams[].reap()
        exchanges[].reap()
        endPools()
        resolver[].shutDown()
        // A connection may be on its way to a worker that has just had its last client.
        for message in mailbox.close() { decline(message) }
        publishCounts()
        state[].hasEnded = true
    }

    /// Lets every host client of this worker go.
    private func endPools() {
        pools[].forEach { pool in
            if pool[].isInTable { table[].remove(pool) }
            foldTally(pool)
            counters.close(.hostClient)
            pools[].retire(pool[].token)
        }
        pools[].reap()
    }
}
