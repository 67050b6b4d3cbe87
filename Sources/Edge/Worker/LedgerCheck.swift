// The control plane's look at the ledger: every minute, and when all is over.

import Logging

/// Compares what was counted with what lives, at intervals; what differs is logged and counted.
///
///     waiting ─► census ─► (second census, for descriptors without an owner) ─► waiting
struct LedgerCheck {
    private let mailboxes: [Mailbox<WorkerMessage>]
    private let counters: WorkerCounters
    private let logger: Logger
    private let ownsProcess: Bool
    private var next: Instant
    private var census: Census?

    /// 20 ms between two looks at a census that is under way: nobody waits for it.
    private static let patience = Duration.milliseconds(20)

    init(
        _ mailboxes: [Mailbox<WorkerMessage>], _ counters: WorkerCounters, _ logger: Logger,
        ownsProcess: Bool, interval: Duration
    ) {
        self.mailboxes = mailboxes
        self.counters = counters
        self.logger = logger
        self.ownsProcess = ownsProcess
        next = Instant.now() + interval
    }

    /// How long there is nothing to do here, at most `limit`.
    func pause(atMost limit: Duration) -> Duration {
        if census != nil { return Self.patience }
        return max(.milliseconds(1), min(limit, next - Instant.now()))
    }

    /// Begins what is due, and ends what is complete.
    mutating func advance(interval: Duration) {
        if let census {
            guard census.isComplete else { return }
            self.census = nil
            evaluate(census)
        } else if Instant.now() >= next {
            next = Instant.now() + interval
            begin()
        }
    }

    private mutating func begin(suspects: [StrayDescriptor]? = nil) {
        let census = Census(workers: mailboxes.count, purpose: .check, suspects: suspects)
        for mailbox in mailboxes { mailbox.post(.census(census)) }
        self.census = census
    }

    private mutating func evaluate(_ census: Census) {
        let strays = ownsProcess ? census.strays() : []
        if !strays.isEmpty, census.suspects == nil { return begin(suspects: strays) }
        let drifted = census.ledger.filter(\.hasDrifted)
        guard !drifted.isEmpty || !strays.isEmpty else { return }
        counters.add(.ledgerDrifts)
        for row in drifted {
            for (worker, count) in row.workers.enumerated() where count.hasDrifted {
                logger.error(
                    "ledger drift",
                    metadata: [
                        "kind": "\(row.kind.name)", "worker": "\(worker)",
                        "opened": "\(count.opened)", "closed": "\(count.closed)",
                        "walk": "\(count.walk)",
                    ])
            }
        }
        Self.report(strays, as: "ledger drift", to: logger)
    }

    /// Says what is left when every worker has ended: how many kinds and descriptors.
    static func reportLeft(
        _ totals: CounterTotals, ownsProcess: Bool, to logger: Logger
    ) -> Int {
        var left = 0
        for kind in LedgerKind.allCases where totals.live(kind) != 0 {
            logger.error(
                "leaked", metadata: ["kind": "\(kind.name)", "count": "\(totals.live(kind))"])
            left += 1
        }
        guard ownsProcess else { return left }
        let strays = Census.strays(beside: KnownDescriptors.all) { _ in true }
        report(strays, as: "leaked", to: logger)
        return left + strays.count
    }

    private static func report(
        _ strays: [StrayDescriptor], as what: Logger.Message, to logger: Logger
    ) {
        for stray in strays {
            logger.error(
                what,
                metadata: [
                    "kind": "descriptor", "number": "\(stray.number)", "link": "\(stray.link)",
                ])
        }
    }
}
