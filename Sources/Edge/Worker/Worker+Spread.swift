// Hosts with several addresses: which are used, and what becomes of those that leave the answer.

import Synchronization

extension Worker {
    /// What is known of a host's addresses now; asks for them if need be, on behalf of its pool.
    func lookUp(_ pool: Ref<HostPool>) -> NameLookup {
        let client = pool[].client
        return resolver[].resolve(
            client.lookupName, isService: client.identity.key.isService,
            isKnown: pool[].isInTable && pool[].record[].hasAnswered.load(ordering: .relaxed),
            waiter: pool[].token)
    }

    /// What is known of the addresses of a host now; asks nobody.
    func facts(_ identity: UpstreamIdentity, _ host: String) -> NameFacts {
        resolver[].facts(
            of: identity.key.lookupName(host), isService: identity.key.isService)
    }

    /// Takes an answer: connections to addresses that are not in it take nothing new.
    func useAddresses(_ pool: Ref<HostPool>, _ answer: ResolvedAddresses) {
        let key = pool[].client.identity.key
        var fresh = answer
        if !key.isService { for index in fresh.list.indices { fresh.list[index].port = key.port } }
        let facts = facts(pool[].client.identity, pool[].client.host)
        let life = facts.state == .fresh ? facts.timeLeft ?? .zero : .zero
        pool[].renewAt =
            facts.state == .literal ? .never : loop[].now + max(life, Limits.renewalPause)
        guard pool[].spread.differs(from: fresh) else { return }
        pool[].spread.replace(with: fresh)
        pool[].spreads = fresh.list.count > 1
        pool[].client.setAddresses(fresh.list)
        guard pool[].connections > 0 else { return }
        // As many as are kept of an answer may be a part of it, another one each time.
        let isWhole = fresh.list.count < Limits.addressesPerName
        upstreams[].forEach { upstream in
            guard upstream[].pool == pool, upstream[].phase != .closed else { return }
            let index = pool[].spread.index(of: upstream[].address)
            upstream[].addressIndex = index ?? -1
            upstream[].addressesTried = index.map { 1 << UInt32($0) } ?? 0
            if let index {
                pool[].spread.opened(index)
            } else if isWhole {
                letGo(upstream)
            }
        }
    }

    /// A connection finishes what runs on it and takes nothing new.
    private func letGo(_ upstream: Ref<UpstreamConnection>) {
        upstream[].isDraining = true
        if upstream[].phase == .ready, upstream[].exchangeCount == 0 {
            closeUpstream(upstream, servesWaiters: false)
        }
    }

    /// Asks for the addresses of a host in use again: the last answer has expired.
    ///
    /// While the servers fail, the host keeps what it has; if its name is gone, so are its
    /// addresses.
    @inline(never)
    func renewAddresses(_ pool: Ref<HostPool>) {
        pool[].renewAt = loop[].now + Limits.renewalPause
        pool[].isRenewing = false
        guard !pool[].isResolving else { return }
        switch lookUp(pool) {
        case .addresses(let addresses): useAddresses(pool, addresses)
        case .pending: pool[].isRenewing = true
        case .failed(.notFound): useAddresses(pool, [])
        case .failed: break
        }
    }

    /// An exchange goes to one of several addresses: perhaps one more is worth a connection.
    func noteSpread(_ upstream: Ref<UpstreamConnection>, _ policy: ExchangePolicy) {
        let pool = upstream[].pool
        if upstream[].addressIndex >= 0 { pool[].spread.took(upstream[].addressIndex) }
        pool[].sinceSpare += 1
        guard pool[].sinceSpare >= Limits.exchangesPerAddress else { return }
        pool[].sinceSpare = 0
        let took = loop[].now - pool[].lookedForSpare
        pool[].lookedForSpare = loop[].now
        guard took < Limits.spareWithin, pool[].dialsForWaiters + pool[].spares == 0,
            pool[].isInTable, !state[].isDraining,
            !pool[].record[].isRetired.load(ordering: .relaxed),
            let index = pool[].spread.unconnected(loop[].now)
        else { return }
        _ = dial(pool, address: index, tried: .max, policy, for: .spare)
    }

    /// A connection is ready: its address is good, and if it is a first choice, others have served
    /// their time.
    func addressAnswered(_ upstream: Ref<UpstreamConnection>) {
        let pool = upstream[].pool
        let index = upstream[].addressIndex
        guard index >= 0 else { return }
        pool[].spread.dialSucceeded(index)
        guard index < pool[].spread.firstChoices, pool[].spread.usesLaterChoices else { return }
        let first = pool[].spread.firstChoices
        upstreams[].forEach { other in
            guard other[].pool == pool, other[].phase == .ready, other[].addressIndex >= first
            else { return }
            letGo(other)
        }
    }

    /// Whether a connection that was opened elsewhere leads to an address of the host, as far as
    /// this worker knows; if it knows none yet, it asks with the next request.
    func mayUse(_ address: SocketAddress, _ pool: Ref<HostPool>) -> Bool {
        guard pool[].spread.isEmpty else { return pool[].spread.index(of: address) != nil }
        pool[].renewAt = .zero
        return true
    }

    /// Takes a place for a connection that nobody waits for, if nobody else lacks one.
    func takeSparePlace(_ pool: Ref<HostPool>, _ policy: ExchangePolicy) -> Bool {
        guard budget[].hold(pool[].record, limit: policy.maxConnections) else { return false }
        if !budget[].isContended, budget[].reserve() { return true }
        letGo(pool[].client)
        return false
    }
}
