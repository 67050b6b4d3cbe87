// The admin pages about hosts: what is asked for, and who has to be asked.

extension Worker {
    func answerPage(
        _ exchange: Ref<Exchange>, _ status: UInt16, _ contentType: StaticString,
        _ content: [UInt8]
    ) {
        let head = heads[].take()
        defer { heads[].give(head) }
        head[].status = status
        content.withBytes { answer(exchange, head, Bytes(contentType), $0) }
    }

    func answerMistake(_ exchange: Ref<Exchange>, _ mistake: AdminMistake) {
        answerPage(
            exchange, 400, "text/plain; charset=utf-8", Array("400 \(mistake.message)\n".utf8))
    }

    /// `/registry`: one page of the hosts, with totals and ledger.
    func askRegistry(_ exchange: Ref<Exchange>, _ query: Bytes) {
        do throws(AdminMistake) {
            takeCensus(.registry(try RegistryQuery(query)), for: exchange)
        } catch {
            answerMistake(exchange, error)
        }
    }

    /// `/registry/ID`.
    func askHosts(_ exchange: Ref<Exchange>, id: Bytes, _ query: Bytes) {
        do throws(AdminMistake) {
            guard query.isEmpty else {
                throw AdminMistake(message: "/registry/ID has no parameters")
            }
            let id = id.string
            let hosts = try state[].snapshot.hosts(ofID: id) { $0.inSegment }
            ask(.id(id), of: hosts, for: exchange)
        } catch {
            answerMistake(exchange, error)
        }
    }

    /// The hosts that a query asks for; totals are the caller's.
    func registryPage(_ query: RegistryQuery) throws(AdminMistake) -> RegistryView {
        var view = RegistryView()
        if let id = query.id {
            let hosts = try state[].snapshot.hosts(ofID: id) { $0.inQuery }
            view.hosts = hosts.flatMap { registry.clients(of: $0) }.map { self.view($0) }
            return view
        }
        let page = registry.page(from: query.first, limit: query.limit) { client in
            query.prefix.isEmpty || client.host.hasPrefix(query.prefix)
        }
        view.hosts = page.clients.map { self.view($0) }
        view.next = page.next.map { query.page(from: $0) }
        return view
    }
}

extension Snapshot {
    /// The host names that an id stands for, over all routes whose grammar accepts it.
    ///
    /// - Parameter words: what is said of an id that no route accepts.
    func hosts(
        ofID id: String, _ words: (IDFault) -> StaticString
    ) throws(AdminMistake) -> [String] {
        var hosts: [String] = []
        var mistake = AdminMistake(message: "no route takes an id")
        for (route, runtime) in runtimes.enumerated() where runtime.template.hasID {
            do throws(IDFault) {
                try id.withBytes { (bytes) throws(IDFault) in
                    try routes.check(bytes, ofRoute: route)
                }
                let host = runtime.template.host(forID: id)
                if !hosts.contains(host) { hosts.append(host) }
            } catch {
                mistake = AdminMistake(message: "\(words(error))")
            }
        }
        if hosts.isEmpty { throw mistake }
        return hosts
    }
}
