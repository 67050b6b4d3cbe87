// `edge-proxy demo`: services, their names and the proxy in one process.

/// A proxy with everything around it that it needs to be tried out.
///
///     curl ─► proxy :8443 ─► id-42.demo, named by a DNS of our own ─► services on 127.0.0.1
///
/// The services are a second `Proxy` that answers by itself, so that the first one's registry
/// and ledger hold nothing but what a real one would.
struct Demonstration {
    private let services: Proxy
    private let names: DemonstrationDNS
    private let proxy: Proxy
    private let settings: DemonstrationSettings

    /// Binds every socket; nothing but names is served yet.
    init(_ settings: DemonstrationSettings) throws(StartFailure) {
        self.settings = settings
        services = try Self.proxy(DemonstrationSettings.services, demonstrates: true)
        let address = services.address(of: DemonstrationSettings.servicesName) ?? ""
        do throws(SystemFailure) {
            names = try DemonstrationDNS()
        } catch {
            throw StartFailure("the demonstration's DNS: \(error)")
        }
        let port = ListenAddress(address)?.port ?? 0
        proxy = try Self.proxy(
            settings.proxy(port: port, resolver: names.address), demonstrates: false)
    }

    private static func proxy(_ yaml: String, demonstrates: Bool) throws(StartFailure) -> Proxy {
        let load = { () throws(ConfigurationErrors) -> Configuration in
            var configuration = try Configuration.parse(yaml, file: "demo", folder: "")
            // Whoever reads an error has given options, not a file.
            configuration.listeners[0].tls?.place(certificate: "--certificate", key: "--key")
            return configuration
        }
        let configuration: Configuration
        do throws(ConfigurationErrors) {
            configuration = try load()
        } catch {
            throw StartFailure(error.description)
        }
        return try Proxy(configuration, demonstrates: demonstrates, ownsProcess: false, load: load)
    }

    /// Serves until a signal ends it; returns the exit status.
    func run(isLive: Bool, readyFile: String?) throws(StartFailure) -> Int32 {
        try services.start()
        try proxy.start()
        try proxy.tellReady(readyFile)
        StandardOutput.write(
            settings.guide(
                address: proxy.address(of: settings.listenerName) ?? "",
                admin: proxy.address(of: settings.adminName) ?? ""))
        var view: LiveView?
        if isLive {
            do throws(SystemFailure) {
                view = try LiveView(proxy.control, isTerminal: StandardOutput.isTerminal)
            } catch {
                throw StartFailure("the live view: \(error)")
            }
        }
        let status = proxy.run()
        view?.stop()
        let rest = services.drain()
        names.stop()
        return status == ProxyExit.clean ? rest : status
    }
}
