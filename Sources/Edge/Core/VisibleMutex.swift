// A mutex that the thread sanitizer can see.

#if EDGE_VISIBLE_LOCKS
    import Glibc

    /// Stands in for `Synchronization.Mutex` in builds for the thread sanitizer, which knows the
    /// locks of POSIX but not a futex inside a library that it has not instrumented.
    // Safety: what it guards is reached with the lock held only; both live at fixed addresses.
    @safe
    struct Mutex<Value>: ~Copyable, @unchecked Sendable {
        private let lock: UnsafeMutablePointer<pthread_mutex_t>
        private let value: UnsafeMutablePointer<Value>

        init(_ initial: Value) {
            unsafe lock = .allocate(capacity: 1)
            unsafe lock.initialize(to: pthread_mutex_t())
            _ = unsafe pthread_mutex_init(lock, nil)
            unsafe value = .allocate(capacity: 1)
            unsafe value.initialize(to: initial)
        }

        deinit {
            _ = unsafe pthread_mutex_destroy(lock)
            unsafe lock.deallocate()
            unsafe value.deinitialize(count: 1)
            unsafe value.deallocate()
        }

        borrowing func withLock<Result, Failure: Error>(
            _ body: (inout Value) throws(Failure) -> Result
        ) throws(Failure) -> Result {
            _ = unsafe pthread_mutex_lock(lock)
            defer { _ = unsafe pthread_mutex_unlock(lock) }
            return try unsafe body(&value.pointee)
        }
    }
#endif
