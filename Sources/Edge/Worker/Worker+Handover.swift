// Connections that rest in one worker are taken over by another, so that a quiet host needs one.

import Synchronization

/// A connection on its way from one worker to another: open, at rest, owned by nobody else.
///
///     lend ─► (out of the poller, the slab and the lists) ─► mailbox ─► takeOver ─► idle there
///
/// Its host's and the process's counts of connections go on counting it.
// Safety: written before it is posted, emptied by the one who receives it.
final class Handover: @unchecked Sendable {
    let client: HostClient
    fileprivate let address: SocketAddress
    fileprivate let history: UpstreamHistory
    fileprivate var transport: Transport?
    fileprivate var session: HTTP2Session?

    fileprivate init(
        _ client: HostClient, _ address: SocketAddress, _ history: UpstreamHistory,
        _ transport: consuming Transport, _ session: consuming HTTP2Session?
    ) {
        self.client = client
        self.address = address
        self.history = history
        self.transport = consume transport
        self.session = consume session
    }
}

/// A worker that lacks a connection to a host, and its pool for it.
struct Borrower: BitwiseCopyable, Sendable {
    var worker: Int
    var pool: Token
}

extension Worker {
    // MARK: asking

    /// Asks the worker in which a connection of the host came to rest last for it; true when that
    /// is all that the waiters need for now.
    ///
    /// Only for quiet hosts: where requests follow one another closely, a connection in each worker
    /// is cheaper than one that goes to and fro.
    func borrows(_ pool: Ref<HostPool>) -> Bool {
        guard !pool[].isBorrowing, pool[].isQuiet, pool[].isInTable, pool[].waitingForUpgrade == 0,
            pool[].waitingForFresh == 0,
            pool[].record[].idle.load(ordering: .relaxed) > pool[].idleCount
        else { return false }
        let borrower = Borrower(worker: index, pool: pool[].token)
        guard ask(pool[].client, for: borrower, unable: workerBit) else { return false }
        pool[].isBorrowing = true
        return pool[].waiting == 1
    }

    /// Asks a worker that is not known to have none; false when there is nobody left to ask.
    private func ask(_ client: HostClient, for borrower: Borrower, unable: UInt64) -> Bool {
        guard client.record[].idle.load(ordering: .relaxed) > 0 else { return false }
        let others = client.record[].workers.load(ordering: .relaxed) & ~unable
        let last = client.record[].lastRested.load(ordering: .relaxed)
        let isOther = { (worker: Int) in others >> UInt64(worker & 63) & 1 == 1 }
        guard let lender = isOther(last) ? last : mailboxes.indices.first(where: isOther) else {
            return false
        }
        return mailboxes[lender].post(.lend(client, to: borrower, unable: unable))
    }

    /// There is none to be had: those who wait get a connection of their own.
    func borrowFailed(_ token: Token) {
        guard let pool = pools[].resolve(token) else { return }
        pool[].isBorrowing = false
        pool[].isQuiet = false
        serveWaiters(pool)
    }

    // MARK: giving

    /// Another worker needs a connection to a host: the one that was used last goes there.
    func lend(_ client: HostClient, to borrower: Borrower, unable: UInt64) {
        guard let pool = pool(of: client), pool[].client === client,
            let connection = resting(pool)
        else {
            if !ask(client, for: borrower, unable: unable | workerBit) {
                mailboxes[borrower.worker].post(.notLent(to: borrower.pool))
            }
            return
        }
        pool[].removeIdle(connection)
        removeIdle(connection)
        if connection[].isHTTP2 { pool[].removeShared(connection) }
        loop[].timers.cancel(&connection[].deadline)
        loop[].poller.remove(connection[].transport.descriptor)
        countOddities(of: &connection[].session)
        countClosed(connection)
        noteLent(connection[].transport.descriptor)
        var transport = Transport(descriptor: -1, pool: buffers)
        swap(&transport, &connection[].transport)
        let handover = Handover(
            client, connection[].address, connection[].history, transport,
            connection[].session.take())
        connection[].phase = .closed
        upstreams[].retire(connection[].token)
        pool[].connections -= 1
        if connection[].addressIndex >= 0 { pool[].spread.closed(connection[].addressIndex) }
        if !mailboxes[borrower.worker].post(.lent(handover, to: borrower.pool)) {
            discard(handover)
        }
        retireIfUnused(pool)
    }

    /// A connection that rests with nothing in its buffers; of HTTP/2, with no stream whose reset
    /// is still to be written.
    private func resting(_ pool: Ref<HostPool>) -> Ref<UpstreamConnection>? {
        guard !state[].hasToldAll else { return nil }
        var candidate = pool[].idleHead ?? pool[].sharedHead
        while let connection = candidate {
            if connection[].isListed, connection[].phase == .ready, !connection[].isDraining,
                connection[].buffered == 0, connection[].input.isEmpty,
                connection[].session?.mayMove ?? true
            {
                return connection
            }
            candidate = connection[].nextIdle
        }
        return nil
    }

    // MARK: receiving

    /// The connection that was asked for is here, to serve those who wait, or to rest.
    func takeOver(_ handover: Handover, _ token: Token) {
        guard let pool = pools[].resolve(token), pool[].client === handover.client else {
            return discard(handover)
        }
        pool[].isBorrowing = false
        guard pool[].isInTable, !state[].hasToldAll, mayUse(handover.address, pool),
            let connection = insert(handover, pool)
        else {
            discard(handover)
            return serveWaiters(pool)
        }
        counters.add(.upstreamHandovers)
        if connection[].isHTTP2 {
            pool[].addShared(connection)
            armSharedIdle(connection)
        } else {
            putIdle(connection)
        }
        // What has come meanwhile makes an event; what HTTP/2 has to say may have waited.
        markDirty(connection)
        if connection[].transport.mayHoldMore { markReady(connection) }
        serveWaiters(pool)
        offer(connection)
    }

    private func insert(
        _ handover: Handover, _ pool: Ref<HostPool>
    ) -> Ref<UpstreamConnection>? {
        guard let descriptor = handover.transport?.descriptor else { return nil }
        let now = loop[].now
        let connection = upstreams[].insert { token in
            UpstreamConnection(
                token: token, pool: pool, address: handover.address, descriptor: -1,
                buffers: buffers, now: now)
        }
        guard let connection else { return nil }
        do throws(SystemFailure) {
            try loop[].poller.add(descriptor, .connection, connection[].token)
        } catch {
            upstreams[].retire(connection[].token)
            return nil
        }
        if let transport = handover.transport.take() { connection[].transport = transport }
        connection[].transport.move(to: buffers)
        connection[].session = handover.session.take()
        connection[].session?.move(heads: heads, memory: http2)
        connection[].history = handover.history
        connection[].isHTTP2 = connection[].session != nil
        connection[].phase = .ready
        pool[].connections += 1
        connection[].addressIndex = pool[].spread.index(of: handover.address) ?? -1
        if connection[].addressIndex >= 0 { pool[].spread.opened(connection[].addressIndex) }
        countOpened(connection)
        return connection
    }

    /// Closes a connection that came too late.
    private func discard(_ handover: Handover) {
        handover.session?.move(heads: heads, memory: http2)
        handover.session = nil
        handover.transport?.move(to: buffers)
        handover.transport?.close()
        handover.transport = nil
        freePlace(handover.client)
    }

    /// The loop has ended: nobody may wait for an answer of this worker, nor anything stay open.
    func decline(_ message: WorkerMessage) {
        switch message {
        case .lend(_, let borrower, _): mailboxes[borrower.worker].post(.notLent(to: borrower.pool))
        case .lent(let handover, _): discard(handover)
        default: break
        }
    }

    // MARK: the ledger

    /// A connection is this worker's from now on, with what belongs to it.
    func countOpened(_ connection: Ref<UpstreamConnection>) {
        counters.open(.upstreamSocket)
        if connection[].transport.tls != nil { counters.open(.upstreamTLS) }
        if connection[].session != nil { counters.open(.upstreamHTTP2) }
    }

    /// A connection is this worker's no longer.
    func countClosed(_ connection: Ref<UpstreamConnection>) {
        counters.close(.upstreamSocket)
        if connection[].transport.tls != nil { counters.close(.upstreamTLS) }
        if connection[].session != nil { counters.close(.upstreamHTTP2) }
    }
}
