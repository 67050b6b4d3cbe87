// From a host to an open connection: names, dials, and what becomes of those who wait for one.

import DequeModule
import Synchronization

extension Worker {
    /// As many dials as the waiters need and the bounds allow.
    func dialForWaiters(_ pool: Ref<HostPool>) {
        guard pool[].waiting > 0, !pool[].redial.isSet, !pool[].yieldsTurn else { return }
        // Of a host that may multiplex, the first connection decides for all.
        let mayMultiplex = pool[].waitingForUpgrade == 0 && pool[].mayMultiplex(loop[].now)
        if mayMultiplex, pool[].dialling > 0 || pool[].isBorrowing { return }
        if borrows(pool) { return }
        let coming = pool[].isBorrowing ? 1 : 0
        guard pool[].dialling + coming < pool[].waiting, hasAddresses(pool) else { return }
        let policy = waiterPolicy(pool)
        if pool[].waitingForUpgrade == 0, pool[].waitingForFresh == 0,
            pool[].sharedWithCapacity() != nil
        {
            return
        }
        // No connection for those that the bound of exchanges would keep from using it.
        guard mayBegin(pool, limit: policy.maxInFlight) else { return }
        let room = policy.maxInFlight - pool[].record[].inFlight.load(ordering: .relaxed)
        let wanted = min(pool[].waiting, room) - coming
        while pool[].dialling < wanted {
            guard let start = pool[].spread.start(loop[].now),
                dial(pool, address: start, tried: 0, policy)
            else { break }
            if mayMultiplex { return }
        }
        let isStuck = pool[].dialsForWaiters == 0 && !pool[].redial.isSet
        if isStuck, pool[].waitingForFresh > 0 { settleForAny(pool) }
    }

    /// The policy of the newest waiter, whose bounds and times are those in force, for a dial on
    /// behalf of all.
    private func waiterPolicy(_ pool: Ref<HostPool>) -> ExchangePolicy {
        for token in pool[].waiters.reversed() {
            if let exchange = exchanges[].resolve(token) { return exchange[].policy }
        }
        return ExchangePolicy()
    }

    /// Whether the host's addresses are known; asks for them if not.
    private func hasAddresses(_ pool: Ref<HostPool>) -> Bool {
        switch lookUp(pool) {
        case .addresses(let addresses):
            pool[].isResolving = false
            useAddresses(pool, addresses)
            return !addresses.isEmpty
        case .pending:
            pool[].isResolving = true
            return false
        case .failed(let failure):
            pool[].isResolving = false
            counters.add(.resolverFailures)
            switch failure {
            case .notFound:
                failWaiters(pool, 404, .dnsError, "the upstream host does not exist")
            case .timedOut:
                failWaiters(
                    pool, 504, .dnsTimeout, "the upstream host's name was not resolved in time")
            case .tooManyNames:
                failWaiters(pool, 503, .nameRate, "too many upstream hosts are asked for first")
            default:
                failWaiters(pool, 502, .dnsError, "the upstream host's name cannot be resolved")
            }
            return false
        }
    }

    func namesAnswered(_ token: Token) {
        guard let pool = pools[].resolve(token) else { return }
        pool[].isResolving = false
        if pool[].isRenewing { renewAddresses(pool) }
        dialForWaiters(pool)
        retireIfUnused(pool)
    }

    /// Opens one connection; false when a bound forbids it now.
    ///
    /// `tried` has a bit for each address that was dialled on behalf of the same waiters. A spare
    /// connection takes nobody's place.
    func dial(
        _ pool: Ref<HostPool>, address index: Int, tried: UInt32, _ policy: ExchangePolicy,
        for purpose: DialPurpose = .waiters
    ) -> Bool {
        let isSpare = purpose == .spare
        guard isSpare ? takeSparePlace(pool, policy) : takePlace(pool, policy) else {
            return false
        }
        let tried = tried | 1 << UInt32(index)
        // To make room, another connection may have been closed, and fewer addresses have come.
        guard index < pool[].spread.count else {
            freePlace(pool[].client)
            return false
        }
        let address = pool[].spread.address(index)
        counters.add(.upstreamDials)
        pool[].record[].dials.wrappingAdd(1, ordering: .relaxed)
        do throws(SystemFailure) {
            let descriptor = try Socket.connect(address)
            let connection = try begin(descriptor, pool, address, policy, purpose)
            connection[].addressIndex = index
            connection[].addressesTried = tried
            pool[].spread.opened(index)
            // Connection attempt delay of happy eyeballs (RFC 8305 §5).
            let hasNext = pool[].spread.next(after: index, tried: tried, loop[].now) != nil
            let next = hasNext ? loop[].now + .milliseconds(300) : .never
            loop[].timers.set(
                &connection[].deadline, connection[].token, at: min(next, connection[].dialUntil))
            return true
        } catch {
            counters.add(.upstreamDialFailures)
            pool[].spread.dialFailed(index, loop[].now)
            // Whoever is served by this may bring other addresses.
            freePlace(pool[].client)
            guard !isSpare else { return false }
            pool[].lastFailure = Self.reason(error.code)
            if let next = pool[].spread.next(after: index, tried: tried, loop[].now) {
                return dial(pool, address: next, tried: tried, policy)
            }
            hostUnreachable(pool)
            if pool[].dialsForWaiters == 0 { dialsFailed(pool) }
            return false
        }
    }

    private func begin(
        _ descriptor: Int32, _ pool: Ref<HostPool>, _ address: SocketAddress,
        _ policy: ExchangePolicy, _ purpose: DialPurpose
    ) throws(SystemFailure) -> Ref<UpstreamConnection> {
        let now = loop[].now
        let connection = upstreams[].insert { token in
            UpstreamConnection(
                token: token, pool: pool, address: address, descriptor: descriptor,
                buffers: buffers, now: now)
        }
        guard let connection else {
            Socket.close(descriptor)
            throw SystemFailure(code: 24, call: "slab")
        }
        do throws(SystemFailure) {
            try loop[].poller.add(descriptor, .connection, connection[].token)
        } catch {
            connection[].transport.close()
            upstreams[].retire(connection[].token)
            throw error
        }
        counters.open(.upstreamSocket)
        connection[].purpose = purpose
        pool[].countDial(purpose, 1)
        pool[].connections += 1
        connection[].history.keepalive = policy.keepalive
        connection[].history.upkeep = policy.upkeep
        connection[].history.retiresAt = retirement(policy.upkeep)
        connection[].handshakeTimeout = policy.handshakeTimeout
        connection[].dialUntil = now + policy.dialTimeout
        connection[].forcesHTTP1 = pool[].waitingForUpgrade > 0
        return connection
    }

    /// What a failed system call means for a request.
    static func reason(_ code: Int32) -> ErrorReason {
        switch code {
        case 111: .connectionRefused  // ECONNREFUSED
        case 110: .connectionTimeout  // ETIMEDOUT
        case 101, 113: .destinationUnroutable  // ENETUNREACH, EHOSTUNREACH
        // ENFILE, EMFILE, ENOMEM, ENOBUFS, ENOSPC; EAGAIN, EADDRNOTAVAIL: no local port is left.
        case 23, 24, 12, 105, 28, 11, 99: .connectionLimitReached
        default: .connectionTerminated
        }
    }

    static func reason(_ failure: TLSFailure) -> ErrorReason {
        switch failure.kind {
        case .certificateInvalid, .certificateNameMismatch: .tlsCertificateError
        case .closed, .io: .connectionTerminated
        case .protocolError, .flood, .resources: .tlsProtocolError
        }
    }

    /// A dial came to nothing: the next address, or the end for those it was made for.
    func dialFailed(_ connection: Ref<UpstreamConnection>, _ reason: ErrorReason) {
        let pool = connection[].pool
        let index = connection[].addressIndex
        let tried = connection[].addressesTried
        let isOvertaken = connection[].purpose == .overtaken
        counters.add(.upstreamDialFailures)
        if index >= 0 { pool[].spread.dialFailed(index, loop[].now) }
        if connection[].purpose == .spare { return closeUpstream(connection) }
        pool[].record[].failures.wrappingAdd(1, ordering: .relaxed)
        pool[].record[].memory.forgetProtocol()
        pool[].lastFailure = reason
        closeUpstream(connection, servesWaiters: false)
        if !isOvertaken, pool[].waiting > 0,
            let next = pool[].spread.next(after: index, tried: tried, loop[].now),
            dial(pool, address: next, tried: tried, waiterPolicy(pool))
        {
            return
        }
        if !isOvertaken { hostUnreachable(pool) }
        if pool[].dialsForWaiters == 0 { dialsFailed(pool) }
        retireIfUnused(pool)
    }

    /// No dial is under way any more and the last one failed.
    private func dialsFailed(_ pool: Ref<HostPool>) {
        guard pool[].waiting > 0, !redialsSoon(pool) else { return }
        let reason = pool[].lastFailure
        let onlyOldest = pool[].connections > 0
        switch reason {
        case .connectionTimeout:
            failWaiters(
                pool, 504, reason, "connecting to the upstream took too long", onlyOldest)
        case .connectionLimitReached:
            failWaiters(
                pool, 503, reason, "the system has no room for another connection", onlyOldest)
        case .tlsCertificateError:
            failWaiters(
                pool, 502, reason, "the upstream's certificate was not accepted", onlyOldest)
        case .tlsProtocolError:
            failWaiters(pool, 502, reason, "the TLS handshake with the upstream failed", onlyOldest)
        case .connectionRefused:
            failWaiters(pool, 502, reason, "the upstream refused the connection", onlyOldest)
        default:
            failWaiters(pool, 502, reason, "the connection to the upstream failed", onlyOldest)
        }
    }

    private func failWaiters(
        _ pool: Ref<HostPool>, _ status: UInt16, _ reason: ErrorReason, _ details: StaticString,
        _ onlyOldest: Bool = false
    ) {
        while let token = pool[].waiters.popFirst() {
            guard let exchange = exchanges[].resolve(token), exchange[].isWaiting else { continue }
            exchange[].attempts = max(exchange[].attempts, 1)
            fail(exchange, status, reason, details)
            if onlyOldest { return }
        }
    }
}
