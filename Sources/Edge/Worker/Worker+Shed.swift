// After a reload that lowered bounds: what rests beyond them closes, what is busy is not touched.

import Synchronization

extension Worker {
    /// Marks the deadline for looking at the surplus again.
    static var shedSlot: UInt32 { 2 }

    /// Closes resting connections of hosts that have more than they may, and of all hosts while the
    /// process has; looks again in a moment for what comes to rest meanwhile.
    func shed() {
        var limits: [UInt32: Int] = [:]
        for runtime in state[].snapshot.runtimes {
            limits[runtime.identityNumber] = max(
                limits[runtime.identityNumber] ?? 0, runtime.policy.maxConnections)
        }
        var hasSurplus = false
        pools[].forEach { pool in
            guard pool[].connections > 0, let limit = limits[pool[].key.identity] else { return }
            let record = pool[].record
            while record[].connections.load(ordering: .relaxed) > limit {
                guard let idle = idleConnection(of: pool) else {
                    hasSurplus = true
                    return
                }
                closeUpstream(idle)
            }
        }
        while registry.budget[].isExceeded, let oldest = state[].oldestIdle {
            closeUpstream(oldest)
        }
        guard hasSurplus || registry.budget[].isExceeded else {
            return loop[].timers.clear(&state[].shedDeadline)
        }
        loop[].timers.set(
            &state[].shedDeadline, Token(.control, slot: Self.shedSlot),
            at: loop[].now + Limits.shedPause)
    }
}
