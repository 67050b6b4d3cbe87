// epoll and eventfd.

import CLinux
import Glibc

/// What a descriptor is ready for.
struct Readiness: OptionSet, BitwiseCopyable {
    let rawValue: UInt32
    static let readable = Readiness(rawValue: EPOLLIN.rawValue)
    static let writable = Readiness(rawValue: EPOLLOUT.rawValue)
    /// The peer has finished sending (RDHUP) or both ends are gone (HUP), or an error waits.
    static let hangUp = Readiness(
        rawValue: EPOLLRDHUP.rawValue | EPOLLHUP.rawValue | EPOLLERR.rawValue)
    static let edge = Readiness(rawValue: UInt32(1) << 31)
    /// Level-triggered, and of all workers that share a socket only one is woken.
    static let listener: Readiness = [.readable, Readiness(rawValue: 1 << 28)]
    /// A connection's only registration: both directions, edge-triggered, once for its life.
    static let connection: Readiness = [
        .readable, .writable, .edge, Readiness(rawValue: EPOLLRDHUP.rawValue),
    ]
}

/// One epoll instance with the events of its last wait.
@safe
struct Poller: ~Copyable {
    private let descriptor: Int32
    private let events: UnsafeMutablePointer<epoll_event>

    init() throws(SystemFailure) {
        descriptor = epoll_create1(Int32(EPOLL_CLOEXEC))
        unsafe events = .allocate(capacity: Limits.eventsPerPoll)
        guard descriptor >= 0 else {
            throw SystemFailure(code: edge_errno(), call: "epoll_create1")
        }
        KnownDescriptors.add(descriptor)
    }

    deinit {
        KnownDescriptors.remove(descriptor)
        Socket.close(descriptor)
        unsafe events.deallocate()
    }

    func add(_ target: Int32, _ interest: Readiness, _ token: Token) throws(SystemFailure) {
        try control(EPOLL_CTL_ADD, target, interest, token)
    }

    func modify(_ target: Int32, _ interest: Readiness, _ token: Token) throws(SystemFailure) {
        try control(EPOLL_CTL_MOD, target, interest, token)
    }

    /// Takes a descriptor out that lives on elsewhere; closing one does it by itself.
    func remove(_ target: Int32) {
        var event = unsafe epoll_event()
        _ = unsafe epoll_ctl(descriptor, EPOLL_CTL_DEL, target, &event)
    }

    private func control(
        _ operation: Int32, _ target: Int32, _ interest: Readiness, _ token: Token
    ) throws(SystemFailure) {
        var event = unsafe epoll_event()
        unsafe event.events = interest.rawValue
        unsafe event.data.u64 = token.raw
        guard unsafe epoll_ctl(descriptor, operation, target, &event) == 0 else {
            throw SystemFailure(code: edge_errno(), call: "epoll_ctl")
        }
    }

    /// Waits up to `milliseconds` (-1: for ever) and returns how many events there are.
    @inline(__always)
    func wait(milliseconds: Int32) -> Int {
        let count = unsafe epoll_wait(
            descriptor, events, Int32(Limits.eventsPerPoll), milliseconds)
        return count > 0 ? Int(count) : 0
    }

    @inline(__always)
    func token(_ index: Int) -> Token { unsafe Token(raw: events[index].data.u64) }

    @inline(__always)
    func readiness(_ index: Int) -> Readiness { unsafe Readiness(rawValue: events[index].events) }
}

/// A descriptor that one thread makes readable to wake another.
struct WakeUp: Sendable {
    let descriptor: Int32

    init() throws(SystemFailure) {
        descriptor = eventfd(0, Int32(EFD_CLOEXEC) | Int32(EFD_NONBLOCK))
        guard descriptor >= 0 else { throw SystemFailure(code: edge_errno(), call: "eventfd") }
        KnownDescriptors.add(descriptor)
    }

    /// A signal that was interrupted would leave its thread asleep: it is given again.
    func signal() {
        var one: UInt64 = 1
        while unsafe write(descriptor, &one, 8) < 0, edge_errno() == EINTR {}
    }

    func acknowledge() {
        var value: UInt64 = 0
        _ = unsafe read(descriptor, &value, 8)
    }

    func close() {
        KnownDescriptors.remove(descriptor)
        Socket.close(descriptor)
    }
}
