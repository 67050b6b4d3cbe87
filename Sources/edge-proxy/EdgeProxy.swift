// Arguments and exit statuses.

import ArgumentParser
import Edge

@main
struct EdgeProxy: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "edge-proxy",
        abstract: "A TLS-terminating HTTPS proxy that routes by id and reuses its connections.",
        version: ProxyVersion.text,
        subcommands: [Run.self, Check.self, Explain.self, Inspect.self, Demo.self, Version.self])
}

extension EdgeProxy {
    struct Run: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Serve, from a configuration file or from options.",
            discussion: """
                SIGHUP reloads configuration and certificates and reopens the access log; SIGTERM \
                and SIGINT drain. Exit status: 0 drained, 1 not started, 2 something was still \
                open at the end.
                """)

        @Option(name: .shortAndLong, help: "Configuration file (YAML).")
        var config: String?
        @Option(help: "Address to listen on: host:port, [v6]:port, :port or unix:/path.")
        var listen: String?
        @Option(help: "Certificate chain, PEM; without it plain HTTP is served.")
        var certificate: String?
        @Option(help: "Private key, PEM.")
        var key: String?
        @Option(help: "Path prefix whose requests carry the id in the query parameter 'id'.")
        var idPath: String?
        @Option(help: "Upstream, such as 'http://id-{id}.apps.svc.cluster.local'.")
        var upstream: String?
        @Option(help: "Admin listener, on loopback or a unix socket.")
        var admin: String?
        @Option(help: "Worker threads; one per core unless given.")
        var workers: Int?
        @Option(help: "DNS server, host:port; the system's unless given.")
        var resolver: String?
        @Option(help: "Access log file, or 'off'.")
        var accessLog: String?
        @Option(help: .hidden)
        var readyFile: String?
        @Option(help: .hidden)
        var plantLeak: String?

        func validate() throws {
            guard config == nil else {
                let others = [
                    listen, certificate, key, idPath, upstream, admin, resolver, accessLog,
                ]
                guard others.allSatisfy({ $0 == nil }), workers == nil else {
                    throw ValidationError("--config stands alone: put the options into the file")
                }
                return
            }
            guard listen != nil, idPath != nil, upstream != nil else {
                throw ValidationError(
                    "give --config FILE, or --listen, --id-path and --upstream")
            }
        }

        func run() throws {
            let source: EdgeCommand.Source
            if let config {
                source = .file(config)
            } else {
                source = .oneLine(
                    EdgeCommand.OneLine(
                        listen: listen ?? "", certificate: certificate, key: key,
                        idPath: idPath ?? "", upstream: upstream ?? "", admin: admin,
                        workers: workers, resolver: resolver, accessLog: accessLog))
            }
            throw ExitCode(EdgeCommand.run(source, readyFile: readyFile, plantLeak: plantLeak))
        }
    }

    struct Check: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Check a configuration and the files it names, or list every option.")

        @Option(name: .shortAndLong, help: "Configuration file (YAML).")
        var config: String?
        @Flag(help: "Print every option with its type, default and meaning.")
        var options = false

        func validate() throws {
            if config == nil, !options {
                throw ValidationError("give --config FILE or --options")
            }
        }

        func run() throws {
            if options { print(EdgeCommand.options()) }
            if let config { throw ExitCode(EdgeCommand.check(config)) }
        }
    }

    struct Explain: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Say what would become of a request; nothing is sent.",
            discussion: """
                With --admin a running proxy is asked: route, id, key, state of the host, and what \
                each worker would do. With --config the file alone says route, id and key. Exit \
                status: 0 the request would be forwarded, 3 it would be refused, 1 an error.
                """)

        @Argument(help: "URL, or path with query, such as '/api/x?id=42'.")
        var url: String
        @Option(help: "Admin listener of a running proxy: host:port or unix:/path.")
        var admin: String?
        @Option(name: .shortAndLong, help: "Configuration file (YAML).")
        var config: String?
        @Option(help: "The request's method.")
        var method = "GET"
        @Option(help: "A field of the request, 'name: value'; may be given more than once.")
        var field: [String] = []
        @Flag(help: "Print JSON.")
        var json = false

        func validate() throws {
            guard (admin == nil) != (config == nil) else {
                throw ValidationError("give either --admin ADDRESS or --config FILE")
            }
        }

        func run() throws {
            throw ExitCode(
                EdgeCommand.explain(
                    url, method: method, fields: field, admin: admin, config: config, asJSON: json))
        }
    }

    struct Inspect: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show the registry and the leak ledger of a running proxy.",
            discussion: """
                Asks its admin listener. Exit status: 0 no drift, 1 not reached, 2 drift: what was \
                opened and not closed is not what lives.
                """)

        @Option(help: "Its admin listener: host:port or unix:/path.")
        var admin: String?
        @Option(name: .shortAndLong, help: "Its configuration file, which names the listener.")
        var config: String?
        @Flag(help: "Print the page as it is.")
        var json = false

        func validate() throws {
            guard (admin == nil) != (config == nil) else {
                throw ValidationError("give --admin ADDRESS or --config FILE")
            }
        }

        func run() throws {
            throw ExitCode(EdgeCommand.inspect(admin: admin, config: config, json: json))
        }
    }

    struct Demo: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Serve with services and a DNS of its own, to be tried out.",
            discussion: "Prints what to try, then shows what the registry holds.")

        @Option(help: "Address to listen on: host:port, [v6]:port or :port.")
        var listen = ":8443"
        @Option(help: "Certificate chain, PEM; those that `make certs` makes unless given.")
        var certificate: String?
        @Option(help: "Private key, PEM.")
        var key: String?
        @Flag(inversion: .prefixedNo, help: "Show the registry while it runs.")
        var live = true
        @Option(help: .hidden)
        var readyFile: String?

        func validate() throws {
            guard (certificate == nil) == (key == nil) else {
                throw ValidationError("--certificate and --key go together")
            }
        }

        func run() throws {
            throw ExitCode(
                EdgeCommand.demo(
                    listen: listen, certificate: certificate, key: key, isLive: live,
                    readyFile: readyFile))
        }
    }

    struct Version: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Print the version.")

        func run() { print("edge-proxy \(ProxyVersion.text)") }
    }
}
