// Which idle host leaves the registry first.

import HeapModule

/// The registry's places by their last use, least recently used first, in three classes.
///
///     never answered ─► asked once ─► asked again   (who has proved itself leaves last)
///
/// Using a host only stores a time in its record; here it stands where it stood when it was last
/// looked at. Whoever comes to the top and was used since goes back to where it belongs: who is
/// still there after that is exactly the one used longest ago, for whatever is below was used later
/// than when it was put there.
struct EvictionOrder {
    enum Standing: Int { case unanswered, once, proven }

    /// What the registry knows of a place now.
    enum State {
        /// Another client has the place, or none.
        case gone
        case busy(Standing)
        /// Used last at this time, in milliseconds.
        case idle(used: Int64, Standing)
    }

    /// What a look for somebody who can leave came to.
    enum Outcome {
        case found(Entry)
        case nobody
        /// Not all that were used since have been put where they belong yet.
        case undecided
    }

    struct Entry: Comparable {
        var used: Int64
        let place: Int
        /// Of the client that had the place.
        let serial: UInt64
        /// Of those used in the same millisecond, the first that was put in is the first to leave.
        fileprivate var turn: UInt64 = 0

        init(used: Int64, place: Int, serial: UInt64) {
            self.used = used
            self.place = place
            self.serial = serial
        }

        static func < (left: Entry, right: Entry) -> Bool {
            (left.used, left.turn) < (right.used, right.turn)
        }
    }

    private var heaps: [Heap<Entry>] = [Heap(), Heap(), Heap()]
    private var nextTurn: UInt64 = 0

    var count: Int { heaps.reduce(0) { $0 + $1.count } }

    mutating func insert(_ entry: Entry, _ standing: Standing) {
        var entry = entry
        entry.turn = nextTurn
        nextTurn += 1
        heaps[standing.rawValue].insert(entry)
    }

    mutating func removeAll() { heaps = [Heap(), Heap(), Heap()] }

    /// Takes out the idle client of a class that was used longest ago, and before `bound`.
    mutating func take(
        _ standing: Standing, before bound: Int64, now: Int64, looks: Int = Limits.evictionLooks,
        state: (Entry) -> State
    ) -> Outcome {
        // Once to put everybody where they belong, once to find who was put in front.
        let enough = 2 * heaps[standing.rawValue].count
        for _ in 0..<min(looks, enough) {
            guard var first = heaps[standing.rawValue].min, first.used < bound else {
                return .nobody
            }
            heaps[standing.rawValue].removeMin()
            switch state(first) {
            case .gone: break
            case .busy(let current):
                first.used = now
                insert(first, current)
            case .idle(let used, let current):
                if current == standing, used <= first.used { return .found(first) }
                first.used = used
                insert(first, current)
            }
        }
        return looks < enough ? .undecided : .nobody
    }
}

extension Limits {
    /// 128 hosts looked at for one that can leave: some ten microseconds under the registry's lock.
    static let evictionLooks = 128
    /// 60 s after its last request, the default of `keepalive`, a host that came back has no
    /// connection left to lose, and counts no more than one that was asked once.
    static let provenFor = Duration.seconds(60)
}
