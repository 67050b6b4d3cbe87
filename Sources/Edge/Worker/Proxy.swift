// The control plane: start, reload, drain, end.

import Logging
import Synchronization

/// What the process leaves behind.
enum ProxyExit {
    static let clean: Int32 = 0
    static let notStarted: Int32 = 1
    static let notDrained: Int32 = 2
}

/// A running proxy: its workers, and the one thread that steers them.
///
///     signals ─► control thread ─► mailboxes ─► workers
///
/// SIGHUP reloads in two phases: build everything and check everything, then hand it out. SIGTERM
/// and SIGINT drain.
final class Proxy {
    let registry: Registry
    let counters: Counters
    let control: ControlView
    private var configuration: Configuration
    private let load: () throws(ConfigurationErrors) -> Configuration
    private let builder: SnapshotBuilder
    private let names: NameCache
    private let log: AccessLog
    private let mailboxes: [Mailbox<WorkerMessage>]
    private var sockets = ListenerSockets()
    private var snapshot: Snapshot
    private var threads: [Thread] = []
    private let outcome = Outcome()
    private let level: ControlLogLevel
    /// A leak on purpose, for tests.
    private let plant: PlantedLeak?
    let logger: Logger

    /// What ended workers report.
    private final class Outcome: Sendable {
        let cut = Mutex(CutCounts())
        let failed = Atomic<Int>(0)
    }

    /// Hands a seed over to a thread, which is not to keep the first snapshot to its end.
    private final class SeedHandover: Sendable {
        private let seed: Mutex<WorkerSeed?>
        init(_ seed: WorkerSeed) { self.seed = Mutex(seed) }

        /// Makes the worker; the seed, and all it holds, is gone afterwards.
        func worker() throws -> Worker? {
            guard let seed = seed.withLock({ $0.take() }) else { return nil }
            do {
                return try Worker(seed)
            } catch {
                for socket in seed.listening { Socket.close(socket.descriptor) }
                throw error
            }
        }
    }

    /// Prepares everything and binds every listener; nothing is served yet.
    init(
        _ configuration: Configuration, demonstrates: Bool = false, ownsProcess: Bool = true,
        plant: PlantedLeak? = nil,
        load: @escaping () throws(ConfigurationErrors) -> Configuration
    ) throws(StartFailure) {
        self.configuration = configuration
        self.load = load
        self.plant = plant
        _ = SystemProcess.raiseDescriptorLimit()
        level = ControlLogLevel(Self.level(configuration.logLevel))
        logger = ControlLog.logger(level)
        let workers = configuration.workers
        var mailboxes: [Mailbox<WorkerMessage>] = []
        do throws(SystemFailure) {
            for _ in 0..<workers { mailboxes.append(try Mailbox()) }
        } catch {
            throw StartFailure("\(error)")
        }
        self.mailboxes = mailboxes
        let posts = mailboxes
        registry = Registry(limits: Self.limits(configuration)) { client, workers in
            for index in posts.indices where workers >> UInt64(index & 63) & 1 == 1 {
                posts[index].post(.retired(client))
            }
        }
        names = NameCache(Self.resolver(configuration.resolver), workers: workers) { worker in
            posts[worker].post(.resolved)
        }
        counters = Counters(workers: workers)
        control = ControlView(
            registry: registry, counters: counters, workers: workers, version: ProxyVersion.text,
            ownsProcess: ownsProcess)
        log = AccessLog(counters: counters)
        let rotation = configuration.listeners.compactMap { $0.tls?.ticketRotation }.first
        builder = SnapshotBuilder(
            registry: registry, rotation: rotation ?? .seconds(43_200),
            demonstrates: demonstrates)
        snapshot = try builder.build(configuration)
        builder.putIntoForce()
        for (listener, address) in configuration.namedAddresses {
            let bound = try sockets.bind(listener, address, workers: workers)
            logger.info("listening on \(bound.address)")
        }
        try useLog(try openLog(configuration.accessLog))
    }

    // MARK: parts of a configuration

    private static func limits(_ configuration: Configuration) -> RegistryLimits {
        RegistryLimits(
            maxHosts: configuration.registry.maxHosts,
            maxConnections: configuration.registry.maxConnections,
            maxWaiting: configuration.registry.maxWaiting,
            hostIdle: configuration.registry.hostIdle,
            maxShare: configuration.registry.maxShare)
    }

    private static func resolver(_ options: ResolverOptions) -> ResolverSettings {
        ResolverSettings(
            servers: options.servers.map(\.text), usesSearch: options.search,
            timeout: options.timeout, attempts: options.attempts, minTTL: options.minTTL,
            maxTTL: options.maxTTL, negativeTTL: options.negativeTTL, stale: options.stale,
            firstSeenPerSecond: options.firstSeenPerSecond)
    }

    private static func level(_ level: LogLevel) -> Logger.Level {
        Logger.Level(rawValue: level.rawValue) ?? .info
    }

    private func openLog(_ settings: AccessLogSettings) throws(StartFailure) -> AccessSink? {
        guard let path = settings.path else { return nil }
        do throws(SystemError) {
            try log.start()
            return try AccessSink.open(path, settings.format == .json ? .json : .common)
        } catch {
            throw StartFailure("access log \(path): \(error)")
        }
    }

    private func useLog(_ sink: AccessSink?) throws(StartFailure) {
        do throws(SystemError) {
            try log.use(sink)
        } catch {
            throw StartFailure("access log: \(error)")
        }
    }

    // MARK: start

    /// Where listener `name` really listens.
    func address(of name: String) -> String? { sockets.open[name]?.address }

    /// Starts the workers.
    func start() throws(StartFailure) {
        for index in 0..<configuration.workers {
            let listening = snapshot.listeners.enumerated().compactMap { place, listener in
                sockets.open[listener.name].map {
                    (listener: place, descriptor: $0.descriptors[index])
                }
            }
            let handover = SeedHandover(
                WorkerSeed(
                    index: index, snapshot: snapshot, listening: listening, registry: registry,
                    names: names, mailbox: mailboxes[index], mailboxes: mailboxes,
                    counters: counters[index], log: log.ring(index), control: control,
                    plant: index == 0 ? plant : nil))
            let outcome = outcome
            let logger = logger
            do throws(SystemFailure) {
                threads.append(
                    try Thread(name: "worker-\(index)") {
                        do {
                            guard let worker = try handover.worker() else { return }
                            worker.run()
                            let cut = worker.state[].cut
                            outcome.cut.withLock { $0 += cut }
                            worker.destroy()
                        } catch {
                            outcome.failed.wrappingAdd(1, ordering: .relaxed)
                            logger.critical("worker \(index) could not start: \(error)")
                        }
                    })
            } catch {
                throw StartFailure("cannot start a worker: \(error)")
            }
        }
        sockets.handOver()
    }

    /// Tells the log that every listener is bound, then whoever waits for the file, if there is to
    /// be one: pid and addresses as JSON.
    func tellReady(_ file: String?) throws(StartFailure) {
        logger.info(
            "ready",
            metadata: [
                "workers": "\(configuration.workers)", "pid": "\(SystemProcess.identifier)",
            ])
        guard let file else { return }
        let addresses = configuration.namedAddresses.map { sockets.open[$0.name]?.address ?? "" }
        let listeners = addresses.prefix(configuration.listeners.count).map { "\"\($0)\"" }
        let admin = configuration.admin == nil ? nil : addresses.last
        let text =
            "{\"pid\":\(SystemProcess.identifier),"
            + "\"listeners\":[\(listeners.joined(separator: ","))],"
            + "\"admin\":\(admin.map { "\"\($0)\"" } ?? "null")}\n"
        do throws(SystemFailure) {
            try FileSystem.writeAtomically(Array(text.utf8), to: file)
        } catch {
            throw StartFailure("\(file): \(error)")
        }
    }

    // MARK: signals

    /// Serves signals until the proxy has drained; returns the exit status.
    func run() -> Int32 {
        var check = LedgerCheck(
            mailboxes, counters.control, logger, ownsProcess: control.ownsProcess,
            interval: configuration.ledger.interval)
        while outcome.failed.load(ordering: .relaxed) == 0 {
            switch Signals.wait(timeout: check.pause(atMost: .seconds(1))) {
            case Signals.reload: reload()
            case Signals.terminate, Signals.interrupt: return drain()
            default: registry.expire(now: Instant.now())
            }
            check.advance(interval: configuration.ledger.interval)
        }
        _ = drain()
        return ProxyExit.notStarted
    }

    /// Builds and checks a new configuration, then puts it into force; an error changes nothing.
    func reload() {
        do throws(StartFailure) {
            let fresh = try loadAgain()
            guard fresh.workers == configuration.workers else {
                throw StartFailure("'workers' changes at a restart only")
            }
            let next = try builder.build(fresh)
            let added = try bindAdded(fresh)
            let sink: AccessSink?
            do throws(StartFailure) {
                sink = try openLog(fresh.accessLog)
            } catch {
                for name in added { sockets.discard(name) }
                throw error
            }
            // From here on nothing can fail.
            commit(fresh, next, added, sink)
            forgetWithdrawn()
            // Whoever sees the count may look for what was said.
            logger.info("reloaded", metadata: ["generation": "\(next.generation)"])
            counters.control.add(.reloadsSucceeded)
        } catch {
            forgetWithdrawn()
            for line in error.description.split(separator: "\n") {
                logger.error("reload refused: \(line)")
            }
            counters.control.add(.reloadsFailed)
        }
    }

    /// The registry knows what the snapshot in force leads to and nothing else: neither keys of
    /// former ones nor those of a configuration that was refused.
    private func forgetWithdrawn() {
        registry.keepOnly(snapshot.runtimes.map(\.identity), where: snapshot.reaches)
    }

    private func loadAgain() throws(StartFailure) -> Configuration {
        do throws(ConfigurationErrors) {
            return try load()
        } catch {
            throw StartFailure(error.description)
        }
    }

    /// Binds the listeners that are new; if one cannot be bound, none is.
    private func bindAdded(_ fresh: Configuration) throws(StartFailure) -> [String] {
        var added: [String] = []
        do throws(StartFailure) {
            for (name, address) in fresh.namedAddresses where sockets.open[name] == nil {
                let bound = try sockets.bind(name, address, workers: fresh.workers)
                added.append(name)
                logger.info("listening on \(bound.address)")
            }
            return added
        } catch {
            for name in added { sockets.discard(name) }
            throw error
        }
    }

    private func commit(
        _ fresh: Configuration, _ next: Snapshot, _ added: [String], _ sink: AccessSink?
    ) {
        if fresh.resolver != configuration.resolver {
            logger.warning("changes below 'resolver' take effect at the next start")
        }
        configuration = fresh
        snapshot = next
        builder.putIntoForce()
        level.current = Self.level(fresh.logLevel)
        registry.setLimits(Self.limits(fresh))
        if (try? log.use(sink)) == nil { logger.error("access log: the writer did not start") }
        for index in mailboxes.indices {
            let listening = next.listeners.enumerated().compactMap { place, listener in
                added.contains(listener.name)
                    ? sockets.open[listener.name].map {
                        (listener: place, descriptor: $0.descriptors[index])
                    } : nil
            }
            mailboxes[index].post(.reload(next, listening: listening))
        }
        sockets.handOver()
        let current = Set(next.listeners.map(\.name))
        for name in Array(sockets.open.keys) where !current.contains(name) { sockets.release(name) }
    }

    /// Ends the proxy within the grace period and says what was still open.
    func drain() -> Int32 {
        control.beginDraining()
        let shutdown = configuration.shutdown
        logger.info(
            "draining",
            metadata: [
                "grace": "\(shutdown.grace.seconds)s", "spread": "\(shutdown.spread.seconds)s",
            ])
        let until = Instant.now() + shutdown.grace
        for mailbox in mailboxes { mailbox.post(.drain(until: until, spread: shutdown.spread)) }
        for thread in threads { thread.join() }
        threads = []
        for name in Array(sockets.open.keys) { sockets.release(name) }
        log.stop()
        let cut = outcome.cut.withLock { $0 }
        if !cut.isEmpty {
            let open = cut.named.map { ($0.name, Logger.MetadataValue.string("\($0.count)")) }
            logger.warning(
                "still open at the end of the grace period, cut",
                metadata: Logger.Metadata(uniqueKeysWithValues: open))
        }
        let left = LedgerCheck.reportLeft(
            counters.totals(), ownsProcess: control.ownsProcess, to: logger)
        logger.info("ended")
        return cut.isEmpty && left == 0 ? ProxyExit.clean : ProxyExit.notDrained
    }
}

/// The version that is built.
package enum ProxyVersion {
    package static let text = "0.1.0"
}
