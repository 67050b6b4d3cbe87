// The access log: rings filled by workers, emptied by a thread that formats and writes.

import Synchronization

/// Where lines go and how they look; opened before it is used, so that a reload can still refuse.
struct AccessSink: Sendable {
    let path: String
    let format: AccessFormat
    fileprivate let target: LogTarget

    /// Opens `path`, a file that is made when missing, a pipe, /dev/stdout or /dev/stderr.
    static func open(_ path: String, _ format: AccessFormat) throws(SystemError) -> AccessSink {
        AccessSink(path: path, format: format, target: try LogTarget.open(path))
    }

    /// Closes a sink that was opened and is not going to be used.
    func discard() { target.close() }
}

/// The access log of the process.
///
///     worker ─► AccessRing ┐
///     worker ─► AccessRing ┴► thread: format ─► 64 KiB buffer ─► write
///
/// The thread gathers for 10 ms, then sleeps without a timeout when nothing more has come. A reader
/// that stalls costs records (counted as dropped), never a request.
final class AccessLog: Sendable {
    private struct Orders {
        /// A change of sink that the thread has not made yet; `.some(nil)` turns the log off.
        var sink: AccessSink??
        var path: (String, AccessFormat)?
        var thread: ControlThread?
        var hasStopped = false
    }

    /// How long records are gathered before the next write.
    private static let batch = Duration.milliseconds(10)

    private let rings: [AccessRing]
    private let bell = AccessBell()
    private let counters: WorkerCounters
    private let owner: Counters
    private let orders = Mutex(Orders())
    /// Set while an order waits: the thread then does not wait for a stalled reader for long.
    private let isUrgent = Atomic<Bool>(false)
    private let isStopping = Atomic<Bool>(false)
    private let turnCount = Atomic<Int>(0)

    /// How often the thread has looked for work; stands still while nothing happens.
    var turns: Int { turnCount.load(ordering: .relaxed) }

    init(counters: Counters) {
        let bell = bell
        rings = (0..<counters.workers).map { AccessRing(bell: bell, counters: counters[$0]) }
        self.counters = counters.logWriter
        owner = counters
    }

    deinit {
        for ring in rings { ring.destroy() }
        bell.destroy()
    }

    /// The ring of one worker; valid as long as the log.
    func ring(_ worker: Int) -> AccessRing { rings[worker] }

    /// Goes on with another sink, or without any; records appended before go to the old one,
    /// those appended within the thread's current turn may.
    ///
    /// The first sink starts the thread if `start` did not.
    func use(_ sink: AccessSink?) throws(SystemError) {
        let overtaken = try orders.withLock { orders throws(SystemError) -> AccessSink?? in
            if orders.hasStopped { return .some(sink) }
            if sink != nil {
                do throws(SystemError) {
                    try start(&orders)
                } catch {
                    sink?.discard()
                    throw error
                }
            }
            let overtaken = orders.sink
            orders.sink = .some(sink)
            orders.path = sink.map { ($0.path, $0.format) }
            isUrgent.store(true, ordering: .sequentiallyConsistent)
            return overtaken
        }
        if case .some(.some(let sink)) = overtaken { sink.discard() }
        bell.setEnabled(sink != nil)
        bell.ringIfAsleep()
    }

    /// Starts the thread, which keeps the log alive until `stop`; after that, `use` cannot fail.
    func start() throws(SystemError) {
        try orders.withLock { orders throws(SystemError) in try start(&orders) }
    }

    private func start(_ orders: inout Orders) throws(SystemError) {
        guard orders.thread == nil, !orders.hasStopped else { return }
        guard let thread = ControlThread({ self.run() }) else { throw SystemError.noThread }
        orders.thread = thread
    }

    /// Opens the same path once more, after somebody has moved the file away.
    func reopen() throws(SystemError) {
        guard let (path, format) = orders.withLock({ $0.path }) else { return }
        try use(AccessSink.open(path, format))
    }

    /// Writes what the rings hold, then ends the thread; once no worker appends any more.
    ///
    /// Waits for a stalled reader for two seconds at most.
    func stop() {
        let thread = orders.withLock { orders -> ControlThread? in
            defer { orders.thread = nil }
            orders.hasStopped = true
            return orders.thread
        }
        bell.setEnabled(false)
        isUrgent.store(true, ordering: .sequentiallyConsistent)
        isStopping.store(true, ordering: .sequentiallyConsistent)
        bell.ringIfAsleep()
        thread?.join()
    }

    // MARK: the thread

    private func run() {
        var writer = AccessWriter(counters: counters)
        while true {
            turnCount.add(1, ordering: .relaxed)
            // Looked up before the drain: what was appended before the order is then seen.
            let isLast = isStopping.load(ordering: .sequentiallyConsistent)
            let order = orders.withLock { orders -> AccessSink?? in
                defer { orders.sink = nil }
                return orders.sink
            }
            var lines = 0
            // Without a sink, records are left-overs to be dropped, unless one is on its way.
            if writer.hasSink || order == nil && !bell.isEnabled { lines = empty(into: &writer) }
            if case .some(let sink) = order {
                writer.use(sink)
                orders.withLock {
                    isUrgent.store(isLast || $0.sink != nil, ordering: .sequentiallyConsistent)
                }
                lines += empty(into: &writer)
            }
            if isLast {
                writer.use(nil)
                return
            }
            if lines > 0 {
                ControlThread.pause(Self.batch)
            } else {
                bell.sleep { isIdle }
            }
        }
    }

    private func empty(into writer: inout AccessWriter) -> Int {
        var lines = 0
        for ring in rings {
            lines += ring.drain { writer.append($0, $1, isUrgent) }
        }
        writer.flush(isUrgent)
        return lines
    }

    private var isIdle: Bool {
        !isUrgent.load(ordering: .sequentiallyConsistent)
            && !isStopping.load(ordering: .sequentiallyConsistent)
            && rings.allSatisfy { $0.isEmpty }
    }
}

/// The buffer of the log's thread and what it is written to.
@safe
private struct AccessWriter: ~Copyable {
    private static let capacity = 64 * 1024
    /// How long a stalled reader is waited for once something else is to be done.
    private static let patience = Duration.seconds(2)
    private static let step = Duration.milliseconds(100)

    private let counters: WorkerCounters
    private let buffer: UnsafeMutablePointer<UInt8>
    private var used = 0
    private var clock = CivilClock()
    private var sink: AccessSink?
    /// The last write ended within a line.
    private var isTorn = false
    /// What has been spent of the patience since the last order.
    private var waited = Duration.zero

    init(counters: WorkerCounters) {
        self.counters = counters
        unsafe buffer = .allocate(capacity: Self.capacity)
    }

    deinit {
        sink?.discard()
        unsafe buffer.deallocate()
    }

    var hasSink: Bool { sink != nil }

    mutating func use(_ next: AccessSink?) {
        sink?.discard()
        sink = next
        isTorn = false
        waited = .zero
    }

    mutating func append(
        _ record: AccessRecord, _ texts: AccessTexts, _ isUrgent: borrowing Atomic<Bool>
    ) {
        guard let format = sink?.format else { return counters.add(.accessLogDropped) }
        if Self.capacity - used < AccessFormat.mostBytes { flush(isUrgent) }
        let start = unsafe buffer + used
        used += unsafe format.write(record, texts, &clock, to: start) - start
    }

    /// Writes the buffer out; what cannot be written is dropped and counted by lines.
    mutating func flush(_ isUrgent: borrowing Atomic<Bool>) {
        guard used > 0, let target = sink?.target else { return }
        let bytes = unsafe Bytes(buffer, count: used)
        used = 0
        var written = 0
        do throws(SystemError) {
            // A line that a full disk has cut is ended before the next one begins.
            if isTorn, try target.write(Bytes("\n")) > 0 { isTorn = false }
            while written < bytes.count {
                let count = try target.write(bytes.dropFirst(written))
                written += count
                guard count == 0 else { continue }
                if isUrgent.load(ordering: .relaxed) {
                    guard waited < Self.patience else { break }
                    waited = Duration(nanoseconds: waited.nanoseconds + Self.step.nanoseconds)
                }
                target.waitWritable(Self.step)
            }
        } catch {
            counters.add(.accessLogWriteErrors)
        }
        if written > 0 { isTorn = bytes[written - 1] != ASCII.lineFeed }
        count(bytes, written)
    }

    private func count(_ bytes: Bytes, _ written: Int) {
        counters.add(.accessLogLines, lines(bytes.prefix(written)))
        if written < bytes.count {
            counters.add(.accessLogDropped, lines(bytes.dropFirst(written)))
        }
    }

    private func lines(_ bytes: Bytes) -> UInt64 {
        var count: UInt64 = 0
        var start = 0
        while let end = bytes.firstIndex(of: ASCII.lineFeed, from: start) {
            count += 1
            start = end + 1
        }
        return count
    }
}
