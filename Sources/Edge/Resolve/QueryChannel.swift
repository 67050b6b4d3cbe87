// The only user of c-ares: one channel on one loop, results as values.

import CCares
import DequeModule
import Glibc

/// Why no resolver could be made.
struct ResolverSetupFailure: Error, CustomStringConvertible {
    let description: String
}

/// Which addresses a query is for, or that it is for a service's records.
enum QueryFamily { case both, v4, v6, service }

/// What one query came to.
enum QueryResult: Equatable {
    /// In the server's order; the least TTL of the answer.
    case addresses([SocketAddress], ttl: Duration)
    /// Of a service; empty when it says that it is not there.
    case services([ServiceRecord], ttl: Duration)
    /// The name exists and has none. With `.both` this may hide that one family's query failed:
    /// c-ares reports whichever ended last.
    case noData
    case failed(ResolveFailure)
    /// The channel was closed.
    case closed
}

/// A finished query.
struct FinishedQuery {
    let key: String
    let family: QueryFamily
    /// Of a service's query for the addresses of one of its targets: that.
    let target: String?
    /// Whether search domains were tried.
    let searched: Bool
    let result: QueryResult
}

/// A c-ares channel whose sockets are polled by the worker's loop.
///
///     open / process / close ─► c-ares ─► callbacks ─► finished
///
/// Callbacks, which c-ares may run inside any of these calls, only append to `finished`; the owner
/// takes from there after the call, so that c-ares is never re-entered.
@safe
final class QueryChannel {
    /// The query that c-ares hands back: retained by c-ares until its one callback.
    private final class Query {
        let key: String
        let family: QueryFamily
        let target: String?
        let channel: QueryChannel

        init(_ key: String, _ family: QueryFamily, _ target: String?, _ channel: QueryChannel) {
            self.key = key
            self.family = family
            self.target = target
            self.channel = channel
        }
    }

    /// Never undone: the library lives as long as the process.
    private static let libraryStatus = ares_library_init(ARES_LIB_INIT_ALL)

    private let searches: Bool
    private let loop: Ref<EventLoop>
    private var channel: ares_channel?
    private var sockets: [Int32: Readiness] = [:]
    /// Sockets that the loop does not poll yet, for want of kernel memory.
    private var unpolled: Set<Int32> = []
    /// Queries that c-ares holds and has not handed back.
    private var queries: Set<ObjectIdentifier> = []
    private var finished = Deque<FinishedQuery>()
    private(set) var opened = 0
    private(set) var closed = 0

    /// A channel with the system's search domains, or with none.
    init(
        _ settings: ResolverSettings, searches: Bool, loop: Ref<EventLoop>
    ) throws(ResolverSetupFailure) {
        self.searches = searches
        self.loop = loop
        try Self.check(Self.libraryStatus, "ares_library_init")
        var options = unsafe ares_options()
        var mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB
        // HOSTALIASES would let the environment rename hosts.
        unsafe options.flags = ARES_FLAG_NOALIASES
        let milliseconds = min(max(settings.timeout.milliseconds, 1), 60_000)
        unsafe options.timeout = Int32(milliseconds)
        unsafe options.tries = Int32(min(max(settings.attempts, 1), 10))
        unsafe options.sock_state_cb = socketStateChanged
        unsafe options.sock_state_cb_data = Unmanaged.passUnretained(self).toOpaque()
        if !searches {
            // c-ares walks the search list even for a name that ends in a dot; so none for those.
            unsafe options.domains = nil
            unsafe options.ndomains = 0
            mask |= ARES_OPT_DOMAINS
        }
        // The hosts file, then DNS, whatever nsswitch.conf says: images without one are common.
        var lookups: [CChar] = [CChar(UInt8(ascii: "f")), CChar(UInt8(ascii: "b")), 0]
        mask |= ARES_OPT_LOOKUPS
        let status = unsafe lookups.withUnsafeMutableBufferPointer { text in
            unsafe options.lookups = text.baseAddress
            return unsafe ares_init_options(&channel, &options, mask)
        }
        try Self.check(status, "ares_init_options")
        guard !settings.servers.isEmpty else { return }
        for server in settings.servers where !Self.isServer(server) {
            throw ResolverSetupFailure(description: "'\(server)' is not address[:port]")
        }
        try Self.check(
            unsafe ares_set_servers_ports_csv(
                channel, settings.servers.joined(separator: ",")), "ares_set_servers_ports_csv")
    }

    deinit { close() }

    private static func check(
        _ status: Int32, _ call: String
    ) throws(ResolverSetupFailure) {
        guard status != ARES_SUCCESS else { return }
        let text = unsafe ares_strerror(status).map { unsafe String(cString: $0) }
        throw ResolverSetupFailure(description: "\(call): \(text ?? "error \(status)")")
    }

    /// `10.0.0.1`, `10.0.0.1:53`, `::1`, `[::1]`, `[::1]:53`.
    static func isServer(_ text: String) -> Bool {
        if SocketAddress(numeric: text, port: 0) != nil { return true }
        guard let colon = text.lastIndex(of: ":") else {
            return text.hasPrefix("[") && HostName(text).isNumeric
        }
        if text.hasSuffix("]") { return HostName(text).isNumeric }
        let host = String(text[..<colon])
        guard let port = UInt16(text[text.index(after: colon)...]), port > 0 else { return false }
        return !(host.contains(":") && !host.hasPrefix("[")) && HostName(host).isNumeric
    }

    var inFlight: Int { opened - closed }

    /// Asks for a name; the result may be in `finished` on return already.
    func open(_ name: String, key: String, family: QueryFamily, target: String? = nil) {
        opened += 1
        let asked = Query(key, family, target, self)
        guard unsafe channel != nil else { return finish(asked, .closed) }
        queries.insert(ObjectIdentifier(asked))
        let query = unsafe Unmanaged.passRetained(asked)
        var hints = ares_addrinfo_hints()
        hints.ai_flags = ARES_AI_NOSORT
        hints.ai_family =
            switch family {
            case .both: AF_UNSPEC
            case .v4: AF_INET
            case .v6: AF_INET6
            case .service: AF_UNSPEC
            }
        if family == .service {
            let search = unsafe searches ? ares_search : ares_query
            // IN and SRV (RFC 2782).
            return unsafe search(channel, name, 1, 33, serviceQueryEnded, query.toOpaque())
        }
        unsafe ares_getaddrinfo(channel, name, nil, &hints, queryEnded, query.toOpaque())
    }

    /// Queries that can be found, without regard to what was counted.
    var liveQueries: Int { queries.count }
    /// The sockets that c-ares has open.
    var descriptors: some Sequence<Int32> { sockets.keys }

    /// For tests: a query of which c-ares never tells the end.
    func loseQuery() { opened += 1 }

    func takeFinished() -> FinishedQuery? { finished.popFirst() }

    /// Works on a socket of this channel; false when it is not one.
    func process(_ descriptor: Int32, _ readiness: Readiness) -> Bool {
        guard unsafe channel != nil, let interest = sockets[descriptor] else { return false }
        // An error is reported by the call that meets it, so it counts for both directions.
        let isBroken = !readiness.isDisjoint(with: .hangUp)
        let reads = isBroken || readiness.contains(.readable)
        let writes = interest.contains(.writable) && (isBroken || readiness.contains(.writable))
        unsafe ares_process_fd(channel, reads ? descriptor : -1, writes ? descriptor : -1)
        return true
    }

    /// Lets c-ares act on what has timed out.
    func processTimeouts() {
        for descriptor in unpolled { poll(descriptor) }
        guard unsafe channel != nil else { return }
        unsafe ares_process_fd(channel, -1, -1)
    }

    /// How long until c-ares wants `processTimeouts`; nil when it waits for nothing.
    var timeout: Duration? {
        guard unsafe channel != nil else { return nil }
        var time = timeval()
        guard unsafe ares_timeout(channel, nil, &time) != nil else { return nil }
        if !unpolled.isEmpty { return Limits.pollAgain }
        return .microseconds(Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_usec))
    }

    /// Ends all queries as `.closed` and all sockets.
    func close() {
        guard let open = unsafe channel else { return }
        unsafe ares_destroy(open)
        unsafe channel = nil
        for descriptor in sockets.keys { loop[].poller.remove(descriptor) }
        sockets = [:]
        unpolled = []
    }

    fileprivate func socketChanged(_ descriptor: Int32, reads: Bool, writes: Bool) {
        var interest = Readiness()
        if reads { interest.insert(.readable) }
        if writes { interest.insert(.writable) }
        guard !interest.isEmpty else {
            // c-ares closes it after this call.
            if sockets.removeValue(forKey: descriptor) != nil { loop[].poller.remove(descriptor) }
            unpolled.remove(descriptor)
            return
        }
        if sockets.updateValue(interest, forKey: descriptor) == nil { unpolled.insert(descriptor) }
        poll(descriptor)
    }

    /// Has the loop poll a socket as c-ares wishes; if it cannot, again a moment later.
    private func poll(_ descriptor: Int32) {
        guard let interest = sockets[descriptor] else { return }
        let token = Token(.resolver, slot: UInt32(bitPattern: descriptor))
        do throws(SystemFailure) {
            if unpolled.contains(descriptor) {
                try loop[].poller.add(descriptor, interest, token)
                unpolled.remove(descriptor)
            } else {
                try loop[].poller.modify(descriptor, interest, token)
            }
        } catch {
            loop[].poller.remove(descriptor)
            unpolled.insert(descriptor)
        }
    }

    private func finish(_ query: Query, _ result: QueryResult) {
        closed += 1
        finished.append(
            FinishedQuery(
                key: query.key, family: query.family, target: query.target, searched: searches,
                result: result))
    }

    fileprivate static func ended(
        _ argument: UnsafeMutableRawPointer, _ status: Int32,
        _ answer: UnsafeMutablePointer<ares_addrinfo>?
    ) {
        let query = unsafe Unmanaged<Query>.fromOpaque(argument).takeRetainedValue()
        let result = unsafe Self.result(status, answer)
        if let answer = unsafe answer { unsafe ares_freeaddrinfo(answer) }
        query.channel.queries.remove(ObjectIdentifier(query))
        query.channel.finish(query, result)
    }

    fileprivate static func serviceEnded(
        _ argument: UnsafeMutableRawPointer, _ status: Int32,
        _ answer: UnsafeMutablePointer<UInt8>?, _ count: Int32
    ) {
        let query = unsafe Unmanaged<Query>.fromOpaque(argument).takeRetainedValue()
        query.channel.queries.remove(ObjectIdentifier(query))
        guard status == ARES_SUCCESS else {
            let failure = unsafe result(status, nil)
            return query.channel.finish(query, failure)
        }
        guard let answer = unsafe answer,
            let (records, ttl) = ServiceAnswer.read(answer, count: Int(count))
        else { return query.channel.finish(query, .failed(.serverFailure)) }
        query.channel.finish(query, .services(records, ttl: ttl))
    }

    private static func result(
        _ status: Int32, _ answer: UnsafeMutablePointer<ares_addrinfo>?
    ) -> QueryResult {
        switch status {
        case ARES_SUCCESS:
            guard let answer = unsafe answer else { return .noData }
            let (addresses, ttl) = unsafe read(answer)
            return addresses.isEmpty ? .noData : .addresses(addresses, ttl: ttl)
        case ARES_ENODATA: return .noData
        case ARES_ENOTFOUND, ARES_ENONAME: return .failed(.notFound)
        case ARES_ETIMEOUT: return .failed(.timedOut)
        case ARES_EBADNAME: return .failed(.unusableName)
        case ARES_EDESTRUCTION, ARES_ECANCELLED: return .closed
        // SERVFAIL and REFUSED of all servers arrive as ECONNREFUSED.
        default: return .failed(.serverFailure)
        }
    }

    private static func read(
        _ answer: UnsafeMutablePointer<ares_addrinfo>
    ) -> ([SocketAddress], ttl: Duration) {
        var addresses: [SocketAddress] = []
        var ttl = Int32.max
        var node = unsafe answer.pointee.nodes
        while let current = unsafe node, addresses.count < Limits.addressesPerName {
            ttl = unsafe min(ttl, current.pointee.ai_ttl)
            if let address = unsafe address(current.pointee), !addresses.contains(address) {
                addresses.append(address)
            }
            unsafe node = current.pointee.ai_next
        }
        var alias = unsafe answer.pointee.cnames
        while let current = unsafe alias {
            ttl = unsafe min(ttl, current.pointee.ttl)
            unsafe alias = current.pointee.next
        }
        // RFC 2181 §8: a TTL with the highest bit set counts as 0.
        return (addresses, ttl: .seconds(Int64(max(ttl, 0))))
    }

    private static func address(_ node: ares_addrinfo_node) -> SocketAddress? {
        var storage = sockaddr_storage()
        let count = unsafe Int(node.ai_addrlen)
        guard let source = unsafe node.ai_addr, count <= MemoryLayout<sockaddr_storage>.size else {
            return nil
        }
        unsafe withUnsafeMutableBytes(of: &storage) { target in
            unsafe target.copyMemory(from: UnsafeRawBufferPointer(start: source, count: count))
        }
        var address = SocketAddress(storage)
        address.port = 0
        // Resolvers that block a name answer so.
        return address.family == .unix || address.isUnspecified ? nil : address
    }
}

extension HostName {
    var isNumeric: Bool {
        if case .numeric = self { return true }
        return false
    }
}

private func socketStateChanged(
    _ data: UnsafeMutableRawPointer?, _ descriptor: ares_socket_t, _ reads: Int32, _ writes: Int32
) {
    guard let data = unsafe data else { return }
    unsafe Unmanaged<QueryChannel>.fromOpaque(data).takeUnretainedValue().socketChanged(
        descriptor, reads: reads != 0, writes: writes != 0)
}

private func queryEnded(
    _ argument: UnsafeMutableRawPointer?, _ status: Int32, _ timeouts: Int32,
    _ answer: UnsafeMutablePointer<ares_addrinfo>?
) {
    guard let argument = unsafe argument else { return }
    unsafe QueryChannel.ended(argument, status, answer)
}

private func serviceQueryEnded(
    _ argument: UnsafeMutableRawPointer?, _ status: Int32, _ timeouts: Int32,
    _ answer: UnsafeMutablePointer<UInt8>?, _ count: Int32
) {
    guard let argument = unsafe argument else { return }
    unsafe QueryChannel.serviceEnded(argument, status, answer, count)
}
