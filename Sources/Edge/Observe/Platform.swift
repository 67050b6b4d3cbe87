// The system calls of the log's thread and of the process figures, one wrapper each.

import Glibc
import Synchronization

/// Wakes the log's thread: a semaphore, posted only when that thread sleeps.
// Safety: a POSIX semaphore and two atomics at addresses that never move.
@safe
struct AccessBell: BitwiseCopyable, @unchecked Sendable {
    private struct State: ~Copyable {
        let asleep = Atomic<Bool>(false)
        let enabled = Atomic<Bool>(false)
    }
    private let state: UnsafeMutablePointer<State>
    private let semaphore: UnsafeMutablePointer<sem_t>

    init() {
        unsafe state = .allocate(capacity: 1)
        unsafe state.initialize(to: State())
        unsafe semaphore = .allocate(capacity: 1)
        unsafe semaphore.initialize(to: sem_t())
        let failed = unsafe sem_init(semaphore, 0, 0)
        precondition(failed == 0, "a semaphore of one process was refused")
    }

    func destroy() {
        unsafe sem_destroy(semaphore)
        unsafe semaphore.deallocate()
        unsafe state.deinitialize(count: 1)
        unsafe state.deallocate()
    }

    @inline(__always)
    var isEnabled: Bool { unsafe state.pointee.enabled.load(ordering: .relaxed) }

    func setEnabled(_ enabled: Bool) {
        unsafe state.pointee.enabled.store(enabled, ordering: .relaxed)
    }

    /// Posts the semaphore if the log's thread sleeps; a load when it does not.
    @inline(__always)
    func ringIfAsleep() {
        if unsafe state.pointee.asleep.load(ordering: .sequentiallyConsistent) { ring() }
    }

    @inline(never)
    private func ring() {
        // Of several threads that find it asleep, one makes the system call.
        guard unsafe state.pointee.asleep.exchange(false, ordering: .sequentiallyConsistent) else {
            return
        }
        unsafe sem_post(semaphore)
    }

    /// Sleeps until rung, unless `isIdle` finds work after sleep was announced.
    func sleep(while isIdle: () -> Bool) {
        unsafe state.pointee.asleep.store(true, ordering: .sequentiallyConsistent)
        if !isIdle(), unsafe state.pointee.asleep.exchange(false, ordering: .sequentiallyConsistent)
        {
            return
        }
        // Either still asleep, or somebody has taken the mark and posts.
        while unsafe sem_wait(semaphore) != 0 {}
    }
}

/// A thread of the control plane, with all signals blocked.
@safe
struct ControlThread: BitwiseCopyable, Sendable {
    private let thread: pthread_t

    /// Starts a thread that runs `body`; nil when the system refuses.
    init?(_ body: @escaping @Sendable () -> Void) {
        let box = unsafe Unmanaged.passRetained(ThreadBody(run: body))
        var all = sigset_t()
        var old = sigset_t()
        unsafe sigfillset(&all)
        // Inherited by the new thread; a write to a closed pipe must not end the process.
        unsafe pthread_sigmask(SIG_SETMASK, &all, &old)
        var thread = pthread_t()
        let failed = unsafe pthread_create(
            &thread, nil,
            { raw in
                guard let raw = unsafe raw else { return nil }
                unsafe Unmanaged<ThreadBody>.fromOpaque(raw).takeRetainedValue().run()
                return nil
            }, box.toOpaque())
        unsafe pthread_sigmask(SIG_SETMASK, &old, nil)
        guard failed == 0 else {
            unsafe box.release()
            return nil
        }
        self.thread = thread
    }

    func join() { pthread_join(thread, nil) }

    /// Pauses the calling thread.
    static func pause(_ length: Duration) {
        var time = timespec(
            tv_sec: Int(length.nanoseconds / 1_000_000_000),
            tv_nsec: Int(length.nanoseconds % 1_000_000_000))
        unsafe nanosleep(&time, nil)
    }
}

private final class ThreadBody: Sendable {
    let run: @Sendable () -> Void
    init(run: @escaping @Sendable () -> Void) { self.run = run }
}

/// A system call's error number with what it says.
struct SystemError: Error, Equatable, Sendable {
    let number: Int32

    static let noThread = SystemError(number: EAGAIN)

    var text: String {
        guard let text = unsafe strerror(number) else { return "error \(number)" }
        return unsafe String(cString: text)
    }
}

/// What the log's thread writes to: a file, a pipe or terminal, or a socket that it was given.
struct LogTarget: Equatable, Sendable {
    private let descriptor: Int32
    private let isSocket: Bool

    /// Opens `path` for appending, and never for blocking: a stuck reader must not stop a drain.
    ///
    /// A pipe behind /dev/stdout is opened anew, so that other users of it still block as before.
    static func open(_ path: String) throws(SystemError) -> LogTarget {
        let flags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY
        let descriptor = unsafe Glibc.open(path, flags, 0o640)
        if descriptor >= 0 {
            KnownDescriptors.add(descriptor)
            return LogTarget(descriptor: descriptor, isSocket: false)
        }
        let number = errno
        let standard: Int32? =
            path == "/dev/stdout" ? 1 : path == "/dev/stderr" ? 2 : nil
        guard let standard else { throw SystemError(number: number) }
        // A socket (as systemd gives) cannot be opened by name, another user's terminal may not be.
        let copy = fcntl(standard, F_DUPFD_CLOEXEC, 3)
        guard copy >= 0 else { throw SystemError(number: errno) }
        KnownDescriptors.add(copy)
        var kind = stat()
        let known = unsafe fstat(copy, &kind) == 0
        return LogTarget(descriptor: copy, isSocket: known && kind.st_mode & S_IFMT == S_IFSOCK)
    }

    /// Writes some of `bytes`; 0 when the other side takes none now.
    func write(_ bytes: Bytes) throws(SystemError) -> Int {
        while true {
            let count =
                isSocket
                ? unsafe send(
                    descriptor, bytes.base, bytes.count,
                    Int32(MSG_DONTWAIT) | Int32(MSG_NOSIGNAL))
                : unsafe Glibc.write(descriptor, bytes.base, bytes.count)
            if count >= 0 { return count }
            if errno == EAGAIN || errno == EWOULDBLOCK { return 0 }
            if errno != EINTR { throw SystemError(number: errno) }
        }
    }

    /// Waits until something can be written, at most `limit`.
    func waitWritable(_ limit: Duration) {
        var interest = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        unsafe poll(&interest, 1, Int32(clamping: limit.milliseconds))
    }

    func close() {
        KnownDescriptors.remove(descriptor)
        _ = Glibc.close(descriptor)
    }

    /// Writes `bytes` to standard error in one call where the system takes them so.
    static func writeError(_ bytes: [UInt8]) {
        var written = 0
        while written < bytes.count {
            let count = unsafe bytes.withUnsafeBufferPointer { buffer -> Int in
                guard let base = buffer.baseAddress else { return 0 }
                return unsafe Glibc.write(2, base + written, buffer.count - written)
            }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return }
            written += count
        }
    }
}

/// Figures of this process, as metrics show them.
enum ProcessFigures {
    /// Resident memory in bytes, from /proc/self/statm; nil where there is none.
    static func residentBytes() -> Int? {
        guard let text = contents("/proc/self/statm") else { return nil }
        let words = text.split(separator: UInt8(ascii: " "))
        guard words.count > 1 else { return nil }
        let pages = Array(words[1]).withBytes { $0.decimal() }
        return pages.map { Int($0) * sysconf(Int32(_SC_PAGESIZE)) }
    }

    /// Open descriptors, without the one that this look itself needs; nil where /proc is missing.
    static func openDescriptors() -> Int? {
        guard let folder = unsafe opendir("/proc/self/fd") else { return nil }
        defer { unsafe closedir(folder) }
        var count = 0
        while let entry = unsafe readdir(folder) {
            if unsafe entry.pointee.d_name.0 != CChar(bitPattern: UInt8(ascii: ".")) { count += 1 }
        }
        return count - 1
    }

    /// The most descriptors that the process may open.
    static func descriptorLimit() -> Int? {
        let limit = sysconf(Int32(_SC_OPEN_MAX))
        return limit > 0 ? limit : nil
    }

    /// Processor time of all threads, user and system.
    static func processorTime() -> Duration {
        var time = timespec()
        unsafe clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
        return Duration(
            nanoseconds: Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec))
    }

    /// The start of a small file.
    private static func contents(_ path: String) -> [UInt8]? {
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { _ = close(descriptor) }
        var buffer = [UInt8](repeating: 0, count: 512)
        let count = unsafe buffer.withUnsafeMutableBytes {
            unsafe read(descriptor, $0.baseAddress, 512)
        }
        return count > 0 ? Array(buffer.prefix(count)) : nil
    }
}
