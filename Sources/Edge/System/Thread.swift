// POSIX threads, as far as workers need them.

import CLinux
import Glibc

/// A running thread; `join` waits for its end.
// Safety: a pthread_t is a number to pass back to the system, not memory of ours.
@safe
struct Thread: @unchecked Sendable {
    private let handle: pthread_t

    private final class Start {
        let body: @Sendable () -> Void
        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }

    /// Starts a thread named `name` (15 bytes at most are kept).
    init(name: String, _ body: @escaping @Sendable () -> Void) throws(SystemFailure) {
        let start = unsafe Unmanaged.passRetained(Start(body))
        var thread = pthread_t()
        let code = unsafe pthread_create(
            &thread, nil,
            { argument in
                if let argument = unsafe argument {
                    unsafe Unmanaged<Start>.fromOpaque(argument).takeRetainedValue().body()
                }
                return nil
            }, start.toOpaque())
        guard code == 0 else {
            unsafe start.release()
            throw SystemFailure(code: code, call: "pthread_create")
        }
        _ = unsafe pthread_setname_np(thread, String(name.prefix(15)))
        handle = thread
    }

    func join() { _ = pthread_join(handle, nil) }
}

/// Signals taken by a thread of their own choice instead of by interruption.
enum Signals {
    static let reload = SIGHUP
    static let terminate = SIGTERM
    static let interrupt = SIGINT

    private static func set() -> sigset_t {
        var signals = sigset_t()
        unsafe sigemptyset(&signals)
        for signal in [reload, terminate, interrupt] { unsafe sigaddset(&signals, signal) }
        return signals
    }

    /// Holds them back in this thread and all it starts; to be called before any other starts.
    static func block() {
        var signals = set()
        unsafe pthread_sigmask(Int32(SIG_BLOCK), &signals, nil)
        _ = signal(SIGPIPE, SIG_IGN)
    }

    /// Waits for the next one; nil when `timeout` passed before.
    static func wait(timeout: Duration? = nil) -> Int32? {
        var signals = set()
        guard let timeout else {
            var number: Int32 = 0
            return unsafe sigwait(&signals, &number) == 0 ? number : nil
        }
        var time = timespec()
        time.tv_sec = Int(timeout.nanoseconds / 1_000_000_000)
        time.tv_nsec = Int(timeout.nanoseconds % 1_000_000_000)
        let number = unsafe sigtimedwait(&signals, nil, &time)
        return number > 0 ? number : nil
    }
}
