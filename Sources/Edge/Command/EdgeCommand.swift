// What the command line can ask for; everything else in this module is its own business.

import Logging

/// The commands of `edge-proxy`; each returns the process's exit status.
package enum EdgeCommand {
    /// A proxy described by options instead of a file.
    package struct OneLine: Sendable {
        package var listen: String
        package var certificate: String?
        package var key: String?
        package var idPath: String
        package var upstream: String
        package var admin: String?
        package var workers: Int?
        package var resolver: String?
        package var accessLog: String?

        package init(
            listen: String, certificate: String?, key: String?, idPath: String, upstream: String,
            admin: String?, workers: Int?, resolver: String?, accessLog: String?
        ) {
            self.listen = listen
            self.certificate = certificate
            self.key = key
            self.idPath = idPath
            self.upstream = upstream
            self.admin = admin
            self.workers = workers
            self.resolver = resolver
            self.accessLog = accessLog
        }
    }

    /// Where a configuration comes from.
    package enum Source: Sendable {
        case file(String)
        case oneLine(OneLine)
    }

    /// Serves until a signal ends it: 0 drained, 1 not started, 2 something was left open.
    ///
    /// - Parameter plantLeak: what to open and forget, so that tests see it found.
    package static func run(
        _ source: Source, readyFile: String?, plantLeak: String?
    ) -> Int32 {
        Signals.block()
        DescriptorTable.keepInherited()
        do {
            let proxy = try Proxy(
                try load(source), plant: plantLeak.flatMap(PlantedLeak.init)
            ) { () throws(ConfigurationErrors) in try load(source) }
            try proxy.start()
            try proxy.tellReady(readyFile)
            return proxy.run()
        } catch {
            StandardError.write("\(error)\n")
            return ProxyExit.notStarted
        }
    }

    /// Serves with services and a DNS of its own, to be tried out; ends like `run`.
    package static func demo(
        listen: String, certificate: String?, key: String?, isLive: Bool, readyFile: String?
    ) -> Int32 {
        Signals.block()
        do {
            let settings = try DemonstrationSettings(
                listen: listen, certificate: certificate, key: key)
            return try Demonstration(settings).run(isLive: isLive, readyFile: readyFile)
        } catch {
            StandardError.write("\(error)\n")
            return ProxyExit.notStarted
        }
    }

    /// Checks a configuration and everything it names: 0 and a summary, or 1 and what is wrong.
    package static func check(_ path: String) -> Int32 {
        do {
            let configuration = try Configuration.load(path: path)
            let registry = Registry(limits: RegistryLimits()) { _, _ in }
            _ = try SnapshotBuilder(registry: registry, rotation: .seconds(3600))
                .build(configuration)
            print(configuration.summary())
            return ProxyExit.clean
        } catch {
            StandardError.write("\(error)\n")
            return ProxyExit.notStarted
        }
    }

    /// Every option of the configuration with its meaning, as Markdown.
    package static func options() -> String { Configuration.reference() }

    private static func load(_ source: Source) throws(ConfigurationErrors) -> Configuration {
        switch source {
        case .file(let path): try Configuration.load(path: path)
        case .oneLine(let line):
            try Configuration.fromCommandLine(
                listen: line.listen, certificate: line.certificate, key: line.key,
                idPath: line.idPath, upstream: line.upstream, admin: line.admin,
                workers: line.workers, resolver: line.resolver, accessLog: line.accessLog)
        }
    }
}
