// A count of everything that lives, made by walking through it, worker by worker.

import Synchronization

/// Who asked for a census, and how the answer gets there.
enum CensusPurpose: Sendable {
    /// A page of the admin listener: the exchange that waits for it, and its worker.
    case page(AdminPage, exchange: Token, worker: Int)
    /// The control plane, which looks by itself (`isComplete`).
    case check
}

/// Pages of the admin listener that need a census.
enum AdminPage: Sendable {
    case metrics
    case registry(RegistryQuery)
}

/// Whoever asks posts it to every worker; each adds its part at the end of an iteration.
///
/// A descriptor of which the first look at the kernel's table finds no owner may be younger than
/// its worker's part. So a second census follows: whatever was open before it is found by it,
/// unless it belongs to nobody. A connection that goes from worker to worker meanwhile is found
/// too: each knows for a while what it has given away, and who gets it reads that message before
/// the second census's, if it was sent before that.
final class Census: Sendable {
    struct Part: Sendable {
        var worker: Int
        /// By `LedgerKind.rawValue`: found by the walk, and counted by the same thread in the same
        /// moment.
        var counts = [LedgerCount](repeating: LedgerCount(), count: LedgerKind.allCases.count)
        /// Descriptors of connections, listeners and the resolver.
        var descriptors: [Int32] = []
        /// Those that went to another worker a short time ago.
        var lent: [Int32] = []
        var bufferBytes = 0
        var bufferFreeBytes = 0
        var upstreamIdle = 0
        /// Only for the metrics.
        var ids = IDSums()

        init(worker: Int) { self.worker = worker }
    }

    private let gathering: Gathering<Part>
    let purpose: CensusPurpose
    /// Of a second census: what the first left without an owner.
    let suspects: [StrayDescriptor]?

    init(workers: Int, purpose: CensusPurpose, suspects: [StrayDescriptor]? = nil) {
        gathering = Gathering(workers: workers)
        self.purpose = purpose
        self.suspects = suspects
    }

    /// Adds one worker's part; true for the last.
    func add(_ part: Part) -> Bool { gathering.add(part) }

    var isComplete: Bool { gathering.isComplete }

    /// Of all workers together.
    func sum(_ figure: (Part) -> Int) -> Int {
        gathering.parts.reduce(0) { $0 + figure($1) }
    }

    /// What ids have come to, over all workers.
    var ids: IDSums {
        gathering.parts.reduce(into: IDSums()) { $0.merge($1.ids) }
    }

    /// Every kind, with the workers in their order.
    var ledger: [LedgerRow] {
        let parts = gathering.parts.sorted { $0.worker < $1.worker }
        return LedgerKind.allCases.map { kind in
            LedgerRow(kind: kind, workers: parts.map { $0.counts[kind.rawValue] })
        }
    }

    /// What somebody answers for, as far as workers were counted.
    var knownDescriptors: Set<Int32> {
        gathering.parts.reduce(into: KnownDescriptors.all) { $0.formUnion($1.descriptors) }
    }

    private var lentDescriptors: Set<Int32> {
        Set(gathering.parts.flatMap(\.lent))
    }

    /// Sockets, pollers and wake-ups in the kernel's table that nobody answers for.
    ///
    /// Files are left to the end of the process: one that is open for the moment of being read,
    /// again and again (/etc/hosts), looks like one that was forgotten.
    func strays() -> [StrayDescriptor] {
        if let suspects {
            let known = knownDescriptors.union(lentDescriptors)
            return suspects.filter {
                !known.contains($0.number) && DescriptorTable.link($0.number) == $0.link
            }
        }
        return Self.strays(beside: knownDescriptors) { link in
            link.hasPrefix("socket:") || link.hasPrefix("anon_inode:")
        }
    }

    /// What is open and not `known`, if its link is of a kind that matters.
    static func strays(
        beside known: Set<Int32>, where matters: (String) -> Bool
    ) -> [StrayDescriptor] {
        (DescriptorTable.numbers() ?? []).filter { !known.contains($0) }.compactMap { number in
            DescriptorTable.link(number).flatMap {
                matters($0) ? StrayDescriptor(number: number, link: $0) : nil
            }
        }
    }
}
