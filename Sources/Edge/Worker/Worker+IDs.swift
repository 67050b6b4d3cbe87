// What this worker adds to the metrics that name ids.

extension Worker {
    /// Counts an exchange that has ended, where its pool is or among those that never had one.
    @inline(__always)
    func tally(_ exchange: Ref<Exchange>, took: Duration) {
        let bytes = exchange[].record.received &+ exchange[].record.sent
        let isError = exchange[].record.error != .none || exchange[].record.status >= 500
        if let pool = exchange[].pool {
            pool[].tally.add(bytes: bytes, isError: isError, took: took)
        } else {
            tallies[].total.add(bytes: bytes, isError: isError, took: took)
        }
    }

    /// Empties what a pool has counted into the worker's sketches.
    func foldTally(_ pool: Ref<HostPool>) {
        tallies[].add(pool[].tally, of: pool[].id)
        pool[].tally = Tally()
    }

    /// All that was counted here until now.
    func idSums() -> IDSums {
        pools[].forEach { foldTally($0) }
        return tallies[].sums
    }
}
