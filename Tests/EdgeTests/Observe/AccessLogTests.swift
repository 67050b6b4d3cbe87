import Glibc
import Synchronization
import Testing

@testable import Edge

/// A folder of its own, removed with everything in it.
final class ScratchFolder: Sendable {
    let path: String

    init() {
        var name = Array("/tmp/edge-observe-XXXXXX".utf8CString)
        path = unsafe name.withUnsafeMutableBufferPointer { buffer in
            guard let base = buffer.baseAddress, let made = unsafe mkdtemp(base) else { return "" }
            return unsafe String(cString: made)
        }
    }

    deinit {
        for name in ["access.log", "old.log", "pipe"] { unsafe unlink("\(path)/\(name)") }
        unsafe rmdir(path)
    }

    func lines(_ name: String) -> [String] {
        guard let file = unsafe fopen("\(path)/\(name)", "r") else { return [] }
        defer { unsafe fclose(file) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = unsafe fread(&chunk, 1, chunk.count, file)
            guard count > 0 else { break }
            bytes += chunk.prefix(count)
        }
        return bytes.split(separator: 0x0A).map { String(decoding: $0, as: UTF8.self) }
    }
}

/// What two threads of a test tell each other.
final class Progress: Sendable {
    let isDone = Atomic<Bool>(false)
    let arrived = Atomic<UInt64>(0)
}

@Suite("The access ring") struct AccessRingTests {
    @Test("gives back what was put in, through many turns")
    func wraps() {
        let counters = Counters(workers: 1)
        let bell = AccessBell()
        defer { bell.destroy() }
        bell.setEnabled(true)
        let ring = AccessRing(bell: bell, counters: counters[0])
        defer { ring.destroy() }
        var appended: UInt64 = 0
        var drained: UInt64 = 0
        for round in 0..<4000 {
            for step in 0..<(round % 5) {
                var record = AccessRecord.sample
                record.sent = appended
                var texts = SampleTexts()
                texts.target = [UInt8](
                    repeating: UInt8(appended % 251), count: (round + step) % 1999)
                texts.lend { ring.append(record, $0) }
                appended += 1
            }
            _ = ring.drain { record, texts in
                #expect(record.sent == drained)
                #expect(record.total == AccessRecord.sample.total)
                #expect(texts.target.array.allSatisfy { $0 == UInt8(drained % 251) })
                #expect(texts.userAgent.equals("curl/7.88"))
                #expect(texts.client.equals("127.0.0.1:5000"))
                drained += 1
            }
            #expect(ring.isEmpty)
        }
        #expect(drained == appended)
        #expect(counters.totals()[.accessLogDropped] == 0)
    }

    @Test("drops and counts when it is full, and goes on afterwards")
    func overflows() {
        let counters = Counters(workers: 1)
        let bell = AccessBell()
        defer { bell.destroy() }
        let ring = AccessRing(bell: bell, counters: counters[0])
        defer { ring.destroy() }
        SampleTexts().lend { ring.append(.sample, $0) }
        #expect(ring.isEmpty, "a log that is off takes nothing")
        bell.setEnabled(true)
        for _ in 0..<20_000 { SampleTexts().lend { ring.append(.sample, $0) } }
        let dropped = Int(counters.totals()[.accessLogDropped])
        #expect(dropped > 0)
        #expect(ring.drain { _, _ in } == 20_000 - dropped)
        SampleTexts().lend { ring.append(.sample, $0) }
        #expect(ring.drain { _, _ in } == 1)
    }

    @Test("keeps order between two threads; every record arrives or is counted")
    func twoThreads() async {
        let counters = Counters(workers: 1)
        let bell = AccessBell()
        defer { bell.destroy() }
        bell.setEnabled(true)
        let ring = AccessRing(bell: bell, counters: counters[0])
        defer { ring.destroy() }
        let total: UInt64 = 30_000
        let progress = Progress()
        await withTaskGroup(of: Void.self) { group in
            group.addTask {
                for number in 0..<total {
                    var record = AccessRecord.sample
                    record.sent = number
                    var texts = SampleTexts()
                    texts.target = [UInt8](repeating: UInt8(number % 251), count: Int(number % 777))
                    texts.lend { ring.append(record, $0) }
                    if number % 16 == 0 { ring.flushNotice() }
                }
                progress.isDone.store(true, ordering: .releasing)
            }
            group.addTask {
                var last: UInt64?
                while true {
                    let wasDone = progress.isDone.load(ordering: .acquiring)
                    let count = ring.drain { record, texts in
                        #expect(last.map { $0 < record.sent } ?? true)
                        last = record.sent
                        #expect(texts.target.count == Int(record.sent % 777))
                        if texts.target.count > 0 {
                            #expect(
                                texts.target[texts.target.count - 1] == UInt8(record.sent % 251))
                        }
                    }
                    progress.arrived.add(UInt64(count), ordering: .relaxed)
                    if wasDone { break }
                }
            }
        }
        let dropped = counters.totals()[.accessLogDropped]
        #expect(progress.arrived.load(ordering: .relaxed) + dropped == total)
    }
}

@Suite("The access log", .serialized) struct AccessLogTests {
    /// A log that writes to `access.log` of a folder of its own.
    private func running(
        _ format: AccessFormat, workers: Int = 1
    ) throws -> (ScratchFolder, Counters, AccessLog) {
        let folder = ScratchFolder()
        let counters = Counters(workers: workers)
        let log = AccessLog(counters: counters)
        try log.use(AccessSink.open("\(folder.path)/access.log", format))
        return (folder, counters, log)
    }

    private func append(_ log: AccessLog, _ worker: Int, _ id: Int) {
        var texts = SampleTexts()
        texts.id = Array(String(id).utf8)
        texts.lend { log.ring(worker).append(.sample, $0) }
        log.ring(worker).flushNotice()
    }

    /// Waits until the log has written `lines`, 20 seconds at most.
    private func settle(_ counters: Counters, _ lines: UInt64) {
        for _ in 0..<2000 where counters.totals()[.accessLogLines] < lines {
            ControlThread.pause(.milliseconds(10))
        }
    }

    @Test("writes what all workers append and drains at the end")
    func drains() async throws {
        let (folder, counters, log) = try running(.json, workers: 2)
        await withTaskGroup(of: Void.self) { group in
            for worker in 0..<2 {
                group.addTask { for id in 0..<1000 { append(log, worker, id) } }
            }
        }
        log.stop()
        let lines = folder.lines("access.log")
        #expect(lines.count == 2000)
        #expect(lines.allSatisfy { JSONChecker.accepts($0.utf8) })
        #expect(counters.totals()[.accessLogLines] == 2000)
        #expect(counters.totals()[.accessLogDropped] == 0)
    }

    @Test("wakes up for a single record after sleep")
    func wakes() throws {
        let (folder, counters, log) = try running(.common)
        for id in 0..<5 {
            ControlThread.pause(.milliseconds(30))
            append(log, 0, id)
            settle(counters, UInt64(id + 1))
            #expect(folder.lines("access.log").count == id + 1)
        }
        log.stop()
    }

    @Test("makes no wake-ups while nothing happens")
    func idle() throws {
        let (folder, counters, log) = try running(.json)
        append(log, 0, 1)
        settle(counters, 1)
        // It may come to rest late on a busy machine, but it does: no turn for as long as a clock
        // that wakes it would allow.
        let isAtRest = (0..<50).contains { _ in
            let before = log.turns
            ControlThread.pause(.milliseconds(200))
            return log.turns == before
        }
        #expect(isAtRest)
        log.stop()
        #expect(folder.lines("access.log").count == 1)
    }

    @Test("goes on in a new file after rotation, with nothing lost")
    func reopens() throws {
        let (folder, counters, log) = try running(.common)
        for id in 0..<10 { append(log, 0, id) }
        settle(counters, 10)
        unsafe rename("\(folder.path)/access.log", "\(folder.path)/old.log")
        for id in 0..<5 { append(log, 0, id) }
        try log.reopen()
        for id in 0..<7 { append(log, 0, id) }
        log.stop()
        #expect(folder.lines("old.log").count + folder.lines("access.log").count == 22)
        #expect(folder.lines("old.log").count >= 10)
    }

    @Test("can be turned off and on again")
    func offAndOn() throws {
        let folder = ScratchFolder()
        let counters = Counters(workers: 1)
        let log = AccessLog(counters: counters)
        append(log, 0, 1)
        try log.use(nil)
        try log.use(AccessSink.open("\(folder.path)/access.log", .common))
        append(log, 0, 2)
        settle(counters, 1)
        try log.use(nil)
        append(log, 0, 3)
        try log.use(AccessSink.open("\(folder.path)/access.log", .json))
        append(log, 0, 4)
        log.stop()
        append(log, 0, 5)
        // The last line's form depends on whether the thread had seen the order by then.
        #expect(folder.lines("access.log").count == 2)
    }

    @Test("a path that cannot be opened is an error with a cause")
    func cannotOpen() {
        #expect(throws: SystemError(number: ENOENT)) {
            try AccessSink.open("/nonexistent/folder/access.log", .json)
        }
        #expect(SystemError(number: ENOENT).text == "No such file or directory")
    }

    @Test("a full disk costs lines, which are counted")
    func fullDisk() throws {
        let counters = Counters(workers: 1)
        let log = AccessLog(counters: counters)
        try log.use(AccessSink.open("/dev/full", .json))
        for id in 0..<10 { append(log, 0, id) }
        log.stop()
        let totals = counters.totals()
        #expect(totals[.accessLogDropped] == 10)
        #expect(totals[.accessLogLines] == 0)
        #expect(totals[.accessLogWriteErrors] > 0)
    }

    @Test("a reader that stalls does not hold up the end for long")
    func stalledReader() throws {
        let folder = ScratchFolder()
        unsafe mkfifo("\(folder.path)/pipe", 0o600)
        let reader = unsafe open("\(folder.path)/pipe", O_RDONLY | O_NONBLOCK)
        #expect(reader >= 0)
        defer { close(reader) }
        let counters = Counters(workers: 1)
        let log = AccessLog(counters: counters)
        try log.use(AccessSink.open("\(folder.path)/pipe", .json))
        for id in 0..<20_000 { append(log, 0, id) }
        let start = Instant.now()
        log.stop()
        #expect((Instant.now() - start).seconds < 8)
        let totals = counters.totals()
        #expect(totals[.accessLogLines] > 0)
        #expect(totals[.accessLogLines] + totals[.accessLogDropped] == 20_000)
    }
}
