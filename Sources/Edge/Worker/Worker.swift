// One thread, one loop, everything it owns; and the order in which it works.

import DequeModule

/// What other threads tell a worker.
enum WorkerMessage: Sendable {
    /// A configuration to use from now on, with the listening sockets it adds (position, socket)
    /// and those that are no longer listened on.
    case reload(Snapshot, listening: [(listener: Int, descriptor: Int32)])
    /// Accept nothing more, finish what runs, then end; what is left at the deadline is cut.
    /// Clients are told to leave one after the other over `spread`.
    case drain(until: Instant, spread: Duration)
    /// A name that this worker waits for was answered to another one.
    case resolved
    /// The registry let a host go.
    case retired(HostClient)
    /// A connection to a host that this worker had waiters for was given up elsewhere.
    case capacity(HostClient)
    /// Another worker needs a connection to this host: hand over one that rests. The mask says who
    /// has none.
    case lend(HostClient, to: Borrower, unable: UInt64)
    /// Here is the connection that this worker's pool has asked for.
    case lent(Handover, to: Token)
    /// No connection rests any more.
    case notLent(to: Token)
    /// Another worker needs a connection to this host, which has its most: close one that rests.
    case yield(HostClient)
    /// Another worker needs a connection while all of the process are taken: close one that rests.
    case reclaim(worker: Int)
    /// A connection was closed elsewhere on this worker's request.
    case room
    /// The last client of a draining process has gone.
    case drained
    /// Another worker has found the memory of the process used up.
    case memory
    /// Count what lives here and add it.
    case census(Census)
    /// Everyone has been counted: the admin request that asked can be answered.
    case counted(Census)
    /// Say what this worker knows of some hosts.
    case inquiry(HostInquiry)
    /// Everyone has said it: the admin request that asked can be answered.
    case inquired(HostInquiry)
}

/// What a worker is made from, in another thread.
struct WorkerSeed: Sendable {
    var index: Int
    var snapshot: Snapshot
    var listening: [(listener: Int, descriptor: Int32)]
    var registry: Registry
    var names: NameCache
    var mailbox: Mailbox<WorkerMessage>
    var mailboxes: [Mailbox<WorkerMessage>]
    var counters: WorkerCounters
    var log: AccessRing
    var control: ControlView
    var plant: PlantedLeak?
}

/// A listening socket of this worker.
struct ListeningSocket: BitwiseCopyable {
    var listener: Int
    var descriptor: Int32
}

/// One worker: owns the connections it accepted and those it opened, and shares nothing on a
/// request's way.
///
///     loop: wait ─► events ─► deadlines ─► connections with more to read ─► flush ─► reap
///
/// All state is in slabs and pinned structs behind `let` handles, so that nothing here is counted
/// or checked at run time; the class itself is only the anchor.
final class Worker {
    let index: Int
    let loop: Ref<EventLoop>
    let buffers: Ref<BufferPool>
    let heads: Ref<HeadPool>
    let fronts: Ref<Slab<FrontConnection>>
    let upstreams: Ref<Slab<UpstreamConnection>>
    let exchanges: Ref<Slab<Exchange>>
    let pools: Ref<Slab<HostPool>>
    let table: Ref<PoolTable>
    let http2: Ref<HTTP2Memory>
    let resolver: Ref<Resolver>
    let registry: Registry
    /// The registry's.
    let budget: Ref<ConnectionBudget>
    let mailbox: Mailbox<WorkerMessage>
    let mailboxes: [Mailbox<WorkerMessage>]
    let counters: WorkerCounters
    let log: AccessRing
    let control: ControlView
    let tallies: Ref<IDTallies>
    let state: Ref<WorkerState>
    /// Received plaintext; one read's worth, worked on before the next.
    let scratch: Ref<Scratch>

    /// More of each kind than configuration can ask for; memory is taken as it is needed.
    private static let slots = 1 << 18

    init(_ seed: WorkerSeed) throws {
        index = seed.index
        loop = .allocate(try EventLoop())
        buffers = .allocate(BufferPool())
        heads = .allocate(HeadPool(pool: buffers))
        fronts = .allocate(Slab(kind: .front, capacity: Worker.slots))
        upstreams = .allocate(Slab(kind: .upstream, capacity: Worker.slots))
        exchanges = .allocate(Slab(kind: .exchange, capacity: 1 << 20))
        pools = .allocate(Slab(kind: .pool, capacity: Worker.slots))
        table = .allocate(PoolTable())
        http2 = .allocate(HTTP2Memory())
        resolver = .allocate(try Resolver(cache: seed.names, worker: seed.index, loop: loop))
        registry = seed.registry
        budget = seed.registry.budget
        mailbox = seed.mailbox
        mailboxes = seed.mailboxes
        counters = seed.counters
        log = seed.log
        control = seed.control
        tallies = .allocate(IDTallies(seed: SystemProcess.randomSeed()))
        state = .allocate(WorkerState(snapshot: seed.snapshot, pool: buffers))
        scratch = .allocate(Scratch())
        try loop[].poller.add(mailbox.descriptor, .readable, Token(.mailbox))
        for socket in seed.listening {
            listen(ListeningSocket(listener: socket.listener, descriptor: socket.descriptor))
        }
        if let plant = seed.plant { lose(plant) }
    }

    /// Ends what `run` left; the worker may not be used afterwards.
    func destroy() {
        resolver.destroy()
        pools.destroy()
        exchanges.destroy()
        fronts.destroy()
        upstreams.destroy()
        table.destroy()
        tallies.destroy()
        state.destroy()
        http2.destroy()
        heads.destroy()
        scratch.destroy()
        buffers.destroy()
        loop.destroy()
    }

    /// Works until drained.
    func run() {
        while !state[].hasEnded { turn() }
    }

    /// One turn of the loop; waits for events unless there is work, or must not wait at all.
    @inline(__always)
    func turn(mayWait: Bool = true) {
        let count = loop[].wait(
            hasWork: !mayWait || !state[].readyFronts.isEmpty || !state[].readyUpstreams.isEmpty
                || state[].mayServeStarved)
        for index in 0..<count {
            if index &+ 2 < count { fetchAhead(loop[].poller.token(index &+ 2)) }
            dispatch(loop[].poller.token(index), loop[].poller.readiness(index))
            sendBulk()
            noticeGrowth()
        }
        while let token = loop[].timers.nextExpired(now: loop[].now) { deadlinePassed(token) }
        workOnReady()
        while let waiter = resolver[].nextCompletion() { namesAnswered(waiter) }
        if state[].mayServeStarved { serveStarved() }
        flushAll()
        reapAll()
        log.flushNotice()
        while settleMemory() {
            // What was cut says so before the wait, and its memory counts as free.
            flushAll()
            reapAll()
        }
        if !state[].censuses.isEmpty { answerCensuses() }
        if state[].isDraining { advanceDrain() }
    }

    @inline(__always)
    private func reapAll() {
        fronts[].reap()
        upstreams[].reap()
        exchanges[].reap()
        pools[].reap()
    }

    @inline(__always)
    private func dispatch(_ token: Token, _ readiness: Readiness) {
        switch token.kind {
        case .front:
            guard let front = fronts[].resolve(token) else { return }
            frontEvent(front, readiness)
        case .upstream:
            guard let upstream = upstreams[].resolve(token) else { return }
            upstreamEvent(upstream, readiness)
        case .listener: acceptAll(Int(token.slot))
        case .mailbox: for message in mailbox.takeAll() { receive(message) }
        case .resolver: resolver[].ready(token, readiness)
        case .none, .exchange, .pool, .control: break
        }
    }

    /// Asks for the state that the event after the next needs.
    ///
    /// Of ten thousand upstream connections most have left the caches when their answer comes.
    @inline(__always)
    private func fetchAhead(_ token: Token) {
        guard token.kind == .upstream, let place = unsafe upstreams[].place(of: token) else {
            return
        }
        unsafe prefetch(place)
    }

    private func deadlinePassed(_ token: Token) {
        switch token.kind {
        case .front:
            guard let front = fronts[].resolve(token),
                loop[].timers.confirm(&front[].deadline, token, now: loop[].now)
            else { return }
            frontDeadlinePassed(front)
        case .upstream:
            guard let upstream = upstreams[].resolve(token),
                loop[].timers.confirm(&upstream[].deadline, token, now: loop[].now)
            else { return }
            upstreamDeadlinePassed(upstream)
        case .exchange:
            guard let exchange = exchanges[].resolve(token),
                loop[].timers.confirm(&exchange[].deadline, token, now: loop[].now)
            else { return }
            exchangeDeadlinePassed(exchange)
        case .listener:
            guard loop[].timers.confirm(&state[].acceptPause, token, now: loop[].now) else {
                return
            }
            resumeAccepting()
        case .control where token.slot == Self.reliefSlot:
            // The end of the iteration looks at the memory.
            _ = loop[].timers.confirm(&state[].reliefDeadline, token, now: loop[].now)
        case .control where token.slot == Self.shedSlot:
            if loop[].timers.confirm(&state[].shedDeadline, token, now: loop[].now) { shed() }
        case .control:
            guard loop[].timers.confirm(&state[].drainDeadline, token, now: loop[].now) else {
                return
            }
            drainTicked()
        case .pool:
            guard let pool = pools[].resolve(token),
                loop[].timers.confirm(&pool[].redial, token, now: loop[].now)
            else { return }
            redialDue(pool)
        case .resolver: resolver[].deadlinePassed()
        case .none, .mailbox: break
        }
    }

    private func workOnReady() {
        state[].takeReady()
        while let token = state[].againFronts.pop() {
            guard let front = fronts[].resolve(token) else { continue }
            front[].isReady = false
            readFront(front)
            sendBulk()
            noticeGrowth()
        }
        while let token = state[].againUpstreams.pop() {
            guard let upstream = upstreams[].resolve(token) else { continue }
            upstream[].isReady = false
            readUpstream(upstream)
            sendBulk()
            noticeGrowth()
        }
    }

    /// Sends at once what a large read has brought, while the caches hold it.
    @inline(__always)
    private func sendBulk() {
        guard state[].hasBulk else { return }
        state[].hasBulk = false
        flushAll()
    }

    /// Writes to every connection that something was queued for; flushing one may resume another.
    private func flushAll() {
        while true {
            if let token = state[].dirtyUpstreams.pop() {
                guard let upstream = upstreams[].resolve(token) else { continue }
                upstream[].isDirty = false
                flushUpstream(upstream)
            } else if let token = state[].dirtyFronts.pop() {
                guard let front = fronts[].resolve(token) else { continue }
                front[].isDirty = false
                flushFront(front)
            } else {
                return
            }
        }
    }

    @inline(__always)
    func markDirty(_ front: Ref<FrontConnection>) {
        guard !front[].isDirty else { return }
        front[].isDirty = true
        state[].dirtyFronts.push(front[].token)
    }

    @inline(__always)
    func markDirty(_ upstream: Ref<UpstreamConnection>) {
        guard !upstream[].isDirty else { return }
        upstream[].isDirty = true
        state[].dirtyUpstreams.push(upstream[].token)
    }

    @inline(__always)
    func markReady(_ front: Ref<FrontConnection>) {
        guard !front[].isReady else { return }
        front[].isReady = true
        state[].readyFronts.push(front[].token)
    }

    @inline(__always)
    func markReady(_ upstream: Ref<UpstreamConnection>) {
        guard !upstream[].isReady else { return }
        upstream[].isReady = true
        state[].readyUpstreams.push(upstream[].token)
    }
}

/// A worker's own small state, pinned so that no access is checked at run time.
struct WorkerState: ~Copyable {
    var snapshot: Snapshot
    var readyFronts = Stack<Token>()
    var againFronts = Stack<Token>()
    var readyUpstreams = Stack<Token>()
    var againUpstreams = Stack<Token>()
    var dirtyFronts = Stack<Token>()
    var dirtyUpstreams = Stack<Token>()
    var listening: [ListeningSocket] = []
    var isAcceptPaused = false
    var acceptPause = Deadline()
    /// Front connections that are not the admin listener's.
    var clients = 0
    var isDraining = false
    var departures = Departures()
    /// Connections to services are not kept any more.
    var hasToldAll = false
    var drainUntil = Instant.never
    var drainDeadline = Deadline()
    var shedDeadline = Deadline()
    var hasEnded = false
    /// Descriptors that went to another worker a short time ago, oldest first.
    var lent: Deque<(descriptor: Int32, at: Instant)> = []
    /// Asked for in this iteration, answered at its end.
    var censuses: [Census] = []
    /// What was cut at the end of the grace period.
    var cut = CutCounts()
    /// The normalised path of the request being routed.
    var routing: ByteQueue
    /// Idle upstream connections of all hosts, used last at the front.
    var newestIdle: Ref<UpstreamConnection>?
    var oldestIdle: Ref<UpstreamConnection>?
    /// Pools that lack a connection of the whole process, and workers that asked for one of ours.
    var starved: [Token] = []
    var mayServeStarved = false
    var reclaimers: UInt64 = 0
    /// What this worker has told the process of its memory, and what that means for all.
    var memoryTold = 0
    /// Bytes in buffers at which to look before the iteration ends.
    var memoryAlarm = Limits.memoryAlarm
    var memoryLimit = Int.max
    /// Above this, three quarters of the limit, memory is tight.
    var memoryTight: Int { memoryLimit &- memoryLimit / 4 }
    var pressure = MemoryPressure.none
    var relievedAt = Instant.zero
    var reliefDeadline = Deadline()
    /// Bytes queued towards a peer at which the other side pauses, and below which it goes on.
    var highWater = Limits.highWater
    var lowWater = Limits.lowWater
    var requestRate = ClientRate(perSecond: 0)
    /// A read has brought at least `Limits.bulkBytes`.
    var hasBulk = false

    /// Only those that are there now are worked on: whoever is not done waits for the next round.
    mutating func takeReady() {
        swap(&readyFronts, &againFronts)
        swap(&readyUpstreams, &againUpstreams)
    }

    init(snapshot: Snapshot, pool: Ref<BufferPool>) {
        self.snapshot = snapshot
        memoryLimit = snapshot.front.maxMemory
        requestRate = snapshot.front.client.requests
        routing = ByteQueue(pool: pool)
        newestIdle = nil
        oldestIdle = nil
    }
}

/// Where received bytes land.
@safe
struct Scratch: ~Copyable {
    static let capacity = Limits.readBytes
    let place: UnsafeMutablePointer<UInt8>

    init() { unsafe place = .allocate(capacity: Self.capacity) }

    deinit { unsafe place.deallocate() }

    @inline(__always)
    func bytes(_ count: Int) -> Bytes { unsafe Bytes(place, count: count) }
}
