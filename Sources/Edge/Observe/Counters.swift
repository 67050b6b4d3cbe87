// What the process counts: one block of cells per writing thread, read by anyone.

import Synchronization

/// A plain counter; its metric's name and labels stand in `MetricsPage`.
enum Counter: Int, CaseIterable, BitwiseCopyable, Sendable {
    case frontAccepted, frontClosed, acceptPauses
    case frontBytesIn, frontBytesOut, upstreamBytesIn, upstreamBytesOut
    case handshakesFull, handshakesResumed, handshakesFailed
    case upstreamHandshakesFull, upstreamHandshakesResumed, upstreamHandshakesFailed
    case upstreamDials, upstreamDialFailures, upstreamReused, upstreamUnpooled
    case upstreamRedials, upstreamStale, upstreamAged, upstreamPings
    case breakersOpened
    case streamResetsReceived, streamResetsSent, upstreamResets, goawaysReceived, goawaysSent
    case resolverFailures
    case upstreamHandovers, keyViolations
    case memoryCuts
    case reloadsSucceeded, reloadsFailed
    case accessLogLines, accessLogDropped, accessLogWriteErrors
    case ledgerDrifts
    case requestNanoseconds
}

/// Where each table of cells starts in a block.
///
/// Computed properties rather than stored ones: they fold to constants and need no lazy set-up.
enum CounterLayout {
    /// 100…599 one each, and one for every other status.
    static var statuses: Int { 501 }
    /// Upper bounds double from 1 ms to 16.384 s; the last bucket is unbounded.
    static var buckets: Int { 16 }
    static var versions: Int { Int(Version.http2.rawValue) + 1 }

    static var retries: Int { Counter.requestNanoseconds.rawValue + 1 }
    static var errors: Int {
        retries + Int(RetryVerdict.noBytesAndIdempotent.rawValue) + 1
    }
    static var timeouts: Int { errors + Int(ErrorReason.clientTimeout.rawValue) + 1 }
    static var oddities: Int { timeouts + Int(TimeoutKind.upstreamPing.rawValue) + 1 }
    static var floods: Int { oddities + Int(Oddity.unreadAcknowledgements.rawValue) + 1 }
    static var refusals: Int { floods + Int(Oddity.unreadAcknowledgements.rawValue) + 1 }
    static var durations: Int { refusals + Int(ConnectionRefusal.memory.rawValue) + 1 }
    // Closed before opened: a reader that walks upwards never sees more closed than opened.
    static var closed: Int { durations + buckets }
    static var opened: Int { closed + LedgerKind.resolverQuery.rawValue + 1 }
    static var requests: Int { opened + LedgerKind.resolverQuery.rawValue + 1 }
    static var count: Int { requests + versions * statuses }

    /// The cell of a status code in the table of one version.
    @inline(__always)
    static func status(_ version: Version, _ status: Int) -> Int {
        let row = Int(version.rawValue) &* statuses &+ requests
        let column = UInt(bitPattern: status &- 100)
        return row &+ (column < 500 ? Int(bitPattern: column) : 500)
    }

    /// The first bucket whose bound is not below `duration`.
    @inline(__always)
    static func bucket(_ duration: Duration) -> Int {
        let microseconds = UInt64(clamping: duration.nanoseconds) / 1000
        guard microseconds > 1000 else { return 0 }
        let doublings = 64 - ((microseconds - 1) / 1000).leadingZeroBitCount
        return min(doublings, buckets - 1)
    }
}

/// The cells of one thread: only that thread adds, any thread may read.
///
/// A plain load, add and store per count: no lock prefix, no reference counting. Lives as long as
/// the `Counters` it came from.
// Safety: cells are atomics at addresses that never move; the single writer is the owner's duty.
@safe
struct WorkerCounters: BitwiseCopyable, @unchecked Sendable {
    private let cells: UnsafeMutablePointer<Atomic<UInt64>>

    fileprivate init(_ cells: UnsafeMutablePointer<Atomic<UInt64>>) { unsafe self.cells = cells }

    @inline(__always)
    private func bump(_ cell: Int, _ amount: UInt64) {
        unsafe cells[cell].store(
            cells[cell].load(ordering: .relaxed) &+ amount, ordering: .relaxed)
    }

    @inline(__always)
    func add(_ counter: Counter, _ amount: UInt64 = 1) { bump(counter.rawValue, amount) }

    @inline(__always)
    func open(_ kind: LedgerKind) { bump(CounterLayout.opened &+ kind.rawValue, 1) }

    /// Adds what a part of the worker has counted by itself.
    func open(_ kind: LedgerKind, _ count: UInt64) {
        bump(CounterLayout.opened &+ kind.rawValue, count)
    }

    func close(_ kind: LedgerKind, _ count: UInt64) {
        bump(CounterLayout.closed &+ kind.rawValue, count)
    }

    /// This thread's own counts of one kind.
    func opened(_ kind: LedgerKind) -> UInt64 { read(CounterLayout.opened + kind.rawValue) }
    func closed(_ kind: LedgerKind) -> UInt64 { read(CounterLayout.closed + kind.rawValue) }

    @inline(__always)
    func close(_ kind: LedgerKind) { bump(CounterLayout.closed &+ kind.rawValue, 1) }

    /// Counts an exchange that has ended; `status` 0 or 499 when the client saw none.
    @inline(__always)
    func request(_ version: Version, status: Int, took duration: Duration) {
        bump(CounterLayout.status(version, status), 1)
        bump(CounterLayout.durations &+ CounterLayout.bucket(duration), 1)
        add(.requestNanoseconds, UInt64(clamping: duration.nanoseconds))
    }

    @inline(__always)
    func retry(_ verdict: RetryVerdict) { bump(CounterLayout.retries &+ Int(verdict.rawValue), 1) }

    @inline(__always)
    func error(_ reason: ErrorReason) { bump(CounterLayout.errors &+ Int(reason.rawValue), 1) }

    @inline(__always)
    func timeout(_ kind: TimeoutKind) { bump(CounterLayout.timeouts &+ Int(kind.rawValue), 1) }

    func refusal(_ reason: ConnectionRefusal) {
        bump(CounterLayout.refusals &+ Int(reason.rawValue), 1)
    }

    /// Counts what a connection's peer has done of one kind since it was last asked.
    func oddity(_ kind: Oddity, _ count: Int) {
        bump(CounterLayout.oddities &+ Int(kind.rawValue), UInt64(count))
    }

    /// Counts a connection that was ended because one oddity was too many.
    func flood(_ kind: Oddity) { bump(CounterLayout.floods &+ Int(kind.rawValue), 1) }

    @inline(__always)
    fileprivate func read(_ cell: Int) -> UInt64 {
        // Acquiring, so that cells are read in the order of the layout.
        unsafe cells[cell].load(ordering: .acquiring)
    }
}

/// All cells of the process: a block per worker, one of the control plane, one of the log's thread.
// Safety: the base address is set once; the cells behind it are atomics.
@safe
final class Counters: @unchecked Sendable {
    let workers: Int
    private let base: UnsafeMutablePointer<Atomic<UInt64>>

    // Whole cache lines and one to spare, so that two threads never write to the same one.
    private static let stride = (CounterLayout.count + 7) / 8 * 8 + 8

    init(workers: Int) {
        self.workers = workers
        let cells = Self.stride * (workers + 2)
        let raw = UnsafeMutableRawPointer.allocate(
            byteCount: cells * MemoryLayout<UInt64>.stride, alignment: 64)
        unsafe base = raw.bindMemory(to: Atomic<UInt64>.self, capacity: cells)
        for cell in 0..<cells { unsafe (base + cell).initialize(to: Atomic(0)) }
    }

    deinit {
        unsafe base.deinitialize(count: Self.stride * (workers + 2))
        unsafe base.deallocate()
    }

    /// The block of one worker, 0 ..< `workers`.
    subscript(worker: Int) -> WorkerCounters {
        precondition(worker >= 0 && worker < workers)
        return block(worker)
    }

    /// The control plane's block: reloads, drift.
    var control: WorkerCounters { block(workers) }

    /// The access log thread's block.
    var logWriter: WorkerCounters { block(workers + 1) }

    private func block(_ index: Int) -> WorkerCounters {
        unsafe WorkerCounters(base + index * Self.stride)
    }

    /// The sum over all threads, now.
    func totals() -> CounterTotals {
        var cells = [UInt64](repeating: 0, count: CounterLayout.count)
        // Cell by cell rather than block by block: what is opened by one worker may be closed by
        // another, and every closed cell is to be read before any opened one.
        for cell in 0..<CounterLayout.count {
            for index in 0..<workers + 2 { cells[cell] &+= block(index).read(cell) }
        }
        return CounterTotals(cells: cells)
    }
}

/// Sums of all counters at one moment.
struct CounterTotals: Sendable {
    let cells: [UInt64]

    init() { cells = [UInt64](repeating: 0, count: CounterLayout.count) }

    fileprivate init(cells: [UInt64]) { self.cells = cells }

    subscript(counter: Counter) -> UInt64 { cells[counter.rawValue] }
    func opened(_ kind: LedgerKind) -> UInt64 { cells[CounterLayout.opened + kind.rawValue] }
    func closed(_ kind: LedgerKind) -> UInt64 { cells[CounterLayout.closed + kind.rawValue] }

    /// Opened less closed; negative when something was closed twice.
    func live(_ kind: LedgerKind) -> Int64 {
        Int64(bitPattern: opened(kind) &- closed(kind))
    }

    func retries(_ verdict: RetryVerdict) -> UInt64 {
        cells[CounterLayout.retries + Int(verdict.rawValue)]
    }

    func errors(_ reason: ErrorReason) -> UInt64 {
        cells[CounterLayout.errors + Int(reason.rawValue)]
    }

    func timeouts(_ kind: TimeoutKind) -> UInt64 {
        cells[CounterLayout.timeouts + Int(kind.rawValue)]
    }

    func refusals(_ reason: ConnectionRefusal) -> UInt64 {
        cells[CounterLayout.refusals + Int(reason.rawValue)]
    }

    func oddities(_ kind: Oddity) -> UInt64 {
        cells[CounterLayout.oddities + Int(kind.rawValue)]
    }

    func floods(_ kind: Oddity) -> UInt64 { cells[CounterLayout.floods + Int(kind.rawValue)] }

    /// Requests that ended with `status`; 0 asks for those outside 100…599.
    func requests(_ version: Version, status: Int) -> UInt64 {
        cells[CounterLayout.status(version, status)]
    }

    /// Requests that took at most the bucket's bound and more than the one before.
    func durations(_ bucket: Int) -> UInt64 { cells[CounterLayout.durations + bucket] }
}
