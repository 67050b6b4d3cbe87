// Taking connections in, and not taking them.

extension Worker {
    /// Accepts from a socket from now on; without kernel memory to poll it, a moment later.
    func listen(_ socket: ListeningSocket) {
        let place =
            state[].listening.firstIndex { $0.descriptor < 0 } ?? state[].listening.count
        if place < state[].listening.count {
            state[].listening[place] = socket
        } else {
            state[].listening.append(socket)
        }
        guard !state[].isAcceptPaused else { return }
        if !poll(listener: place) { pauseAccepting() }
    }

    private func poll(listener place: Int) -> Bool {
        let descriptor = state[].listening[place].descriptor
        guard descriptor >= 0 else { return true }
        do throws(SystemFailure) {
            try loop[].poller.add(descriptor, .listener, Token(.listener, slot: UInt32(place)))
            return true
        } catch {
            return false
        }
    }

    func acceptAll(_ place: Int) {
        guard place < state[].listening.count, !state[].isAcceptPaused else { return }
        let socket = state[].listening[place]
        guard socket.descriptor >= 0 else { return }
        for _ in 0..<Limits.acceptsPerWakeup {
            var peer = SocketAddress.unix
            do throws(SystemFailure) {
                guard let descriptor = try Socket.accept(socket.descriptor, peer: &peer) else {
                    return
                }
                begin(descriptor, peer, listener: socket.listener)
            } catch {
                // Descriptors or memory ran out: look again in a moment instead of spinning on a
                // listener that stays readable.
                pauseAccepting()
                return
            }
        }
    }

    private func begin(_ descriptor: Int32, _ peer: SocketAddress, listener: Int) {
        let snapshot = state[].snapshot
        guard listener < snapshot.listeners.count else { return Socket.close(descriptor) }
        let runtime = snapshot.listeners[listener]
        let isClient = runtime.purpose != .admin
        let isTrusted =
            peer.family != .unix
            && snapshot.front.trusted.contains { range in
                peer.withAddressBytes { range.contains($0) }
            }
        var client: Ref<ClientRecord>?
        if isClient {
            do throws(ConnectionRefusal) {
                client = try admit(peer, isTLS: runtime.tls != nil, isTrusted, snapshot.front)
            } catch {
                counters.refusal(error)
                return Socket.close(descriptor)
            }
        }
        let front = fronts[].insert { token in
            FrontConnection(
                token: token, purpose: runtime.purpose, peer: peer, descriptor: descriptor,
                buffers: buffers)
        }
        guard let front else {
            if isClient { release(client) }
            counters.refusal(.limit)
            return Socket.close(descriptor)
        }
        do throws(SystemFailure) {
            try loop[].poller.add(descriptor, .connection, front[].token)
        } catch {
            if isClient { release(client) }
            fronts[].retire(front[].token)
            front[].transport.close()
            return
        }
        counters.add(.frontAccepted)
        if isClient {
            // Whoever asks for the ledger is not part of it.
            counters.open(.frontSocket)
            state[].clients += 1
        }
        front[].client = client
        front[].isTrusted = isTrusted
        // An admin connection: those of clients are in the kernel's queue when a drain begins.
        front[].isLeaving = state[].isDraining
        if let tls = runtime.tls {
            front[].isSecure = true
            front[].transportSecurity = runtime.transportSecurity
            front[].transport.tls = TLSSession(server: tls, wire: front[].transport.wire)
            guard front[].transport.tls != nil else { return closeFront(front) }
            counters.open(.frontTLS)
            setDeadline(front, .handshake, snapshot.front.handshake)
        } else {
            front[].spoken = .unknown
            beginHead(front)
        }
    }

    /// Lets a client in, or says why not.
    ///
    /// Peers on a unix socket and trusted proxies stand for many clients: nil.
    private func admit(
        _ peer: SocketAddress, isTLS: Bool, _ isTrusted: Bool, _ policy: FrontPolicy
    ) throws(ConnectionRefusal) -> Ref<ClientRecord>? {
        if isOutOfMemory { throw .memory }
        guard control.reserveFront(limit: policy.maxConnections) else { throw .limit }
        guard peer.family != .unix, !isTrusted else { return nil }
        do throws(ConnectionRefusal) {
            return try control.clients.admit(
                peer, isTLS: isTLS, policy.client, now: loop[].now)
        } catch {
            control.frontClosed()
            throw error
        }
    }

    /// Takes a client's connection off the counts; true when it was the last of the process.
    @discardableResult
    func release(_ client: Ref<ClientRecord>?) -> Bool {
        if let client { control.clients.release(client, now: loop[].now) }
        return control.frontClosed()
    }

    /// Stops accepting for a tenth of a second; what waits stays in the kernel's queue.
    private func pauseAccepting() {
        guard !state[].isAcceptPaused else { return }
        state[].isAcceptPaused = true
        counters.add(.acceptPauses)
        for socket in state[].listening where socket.descriptor >= 0 {
            loop[].poller.remove(socket.descriptor)
        }
        loop[].timers.set(
            &state[].acceptPause, Token(.listener), at: loop[].now + .milliseconds(100))
    }

    func resumeAccepting() {
        guard state[].isAcceptPaused else { return }
        state[].isAcceptPaused = false
        for place in state[].listening.indices where !poll(listener: place) {
            return pauseAccepting()
        }
    }

    /// Takes what the kernel has queued for a listener, then closes it: connections that finished
    /// their handshake before the end are served, not reset.
    func stopListening(_ place: Int) {
        let socket = state[].listening[place]
        guard socket.descriptor >= 0 else { return }
        var peer = SocketAddress.unix
        while let taken = try? Socket.accept(socket.descriptor, peer: &peer) {
            begin(taken, peer, listener: socket.listener)
        }
        Socket.close(socket.descriptor)
        state[].listening[place].descriptor = -1
    }
}
