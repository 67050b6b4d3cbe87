// A request's way as far as configuration decides it, found by the code that requests take.

/// What a route is, for those who explain it.
struct RouteOutline: Sendable {
    let path: String
    let source: IDSource?
    let template: UpstreamTemplate
    let key: UpstreamKey
}

extension RouteOutline {
    init(_ settings: RouteSettings) {
        path = settings.path
        source = settings.id
        template = settings.upstream
        key = UpstreamKey(settings)
    }

    /// The key of a host of this route.
    func key(of id: String) -> KeyView {
        var view = KeyView()
        view.scheme = key.isSecure ? "https" : "http"
        view.host = template.host(forID: id)
        view.port = Int(key.port)
        view.versions = key.protocols.names
        view.ca = key.caPath
        view.serverName = key.serverName
        view.verifies = key.verifies
        return view
    }
}

extension IDSource {
    fileprivate var words: String {
        switch self {
        case .query(let name): "query parameter '\(name)'"
        case .segment(let number): "path segment \(number)"
        case .field(let name): "field '\(name)'"
        case .hostLabel: "the host's first label"
        }
    }
}

/// Explains requests by a set of routes; what it reads is thrown away afterwards.
struct Explainer {
    let routes: RouteTable
    let outlines: [RouteOutline]
    let underscores: UnderscorePolicy

    init(routes: RouteTable, outlines: [RouteOutline], underscores: UnderscorePolicy) {
        self.routes = routes
        self.outlines = outlines
        self.underscores = underscores
    }

    /// Of routes in force.
    init(_ snapshot: Snapshot) {
        self.init(
            routes: snapshot.routes, outlines: snapshot.runtimes.map(\.outline),
            underscores: snapshot.front.underscores)
    }

    /// Of routes in a file.
    init(_ configuration: Configuration) throws(RouteTableError) {
        self.init(
            routes: try RouteTable(configuration.routeDefinitions),
            outlines: configuration.routes.map { RouteOutline($0) },
            underscores: configuration.limits.underscoreFields)
    }

    /// Everything but the state of the host; `needsHTTP1` is set for an Upgrade.
    func explain(
        _ request: ExplainRequest
    ) -> (explanation: Explanation, needsHTTP1: Bool) {
        let buffers = Ref.allocate(BufferPool())
        defer { buffers.destroy() }
        return read(request, buffers)
    }

    private func read(
        _ request: ExplainRequest, _ buffers: Ref<BufferPool>
    ) -> (explanation: Explanation, needsHTTP1: Bool) {
        var explanation = Explanation()
        explanation.method = request.method
        explanation.target = request.url
        var head = Head(pool: buffers)
        do throws(MalformedMessage) {
            try request.head.withBytes { (bytes) throws(MalformedMessage) in
                var scanned = 0
                let length = try HTTP1RequestParser.parse(
                    bytes, scanned: &scanned, into: &head, isSecure: request.isSecure)
                guard length == bytes.count else {
                    throw MalformedMessage(400, "the head is not whole")
                }
            }
        } catch {
            explanation.answer = (Int(error.status), "\(error.reason)")
            return (explanation, false)
        }
        explanation.target = head.bytes(head.target).string
        explanation.authority = head.bytes(head.authority).string
        explanation.answer = Self.answer(&head)
        if explanation.answer == nil { route(&head, buffers, &explanation) }
        return (explanation, !head.upgrade.isEmpty && head.version == .http11)
    }

    /// What is answered before any route is looked for.
    private static func answer(_ head: inout Head) -> (status: Int, reason: String)? {
        switch head.method {
        case .connect: return (501, "CONNECT is not offered")
        case .trace, .options:
            switch Forwarding.countHop(&head) {
            case .goesOn: return nil
            case .malformed: return (400, "invalid Max-Forwards field")
            case .endsHere where head.method == .trace:
                return (501, "TRACE is not offered by the proxy itself")
            case .endsHere: return (200, "the proxy answers itself, since Max-Forwards is 0")
            }
        default: return nil
        }
    }

    private func route(
        _ head: inout Head, _ buffers: Ref<BufferPool>, _ explanation: inout Explanation
    ) {
        var scratch = ByteQueue(pool: buffers)
        switch routes.route(head, scratch: &scratch) {
        case .refused(let status, let reason, let route):
            if let route { describe(route, &explanation) }
            explanation.answer = (Int(status), "\(reason)")
        case .matched(let match):
            describe(match.route, &explanation)
            let id = match.id.string
            if outlines[match.route].source != nil { explanation.id = id }
            explanation.key = outlines[match.route].key(of: id)
            var cache = ForwardedFields()
            let origin = Forwarding.Origin(client: Bytes("127.0.0.1"), isTrusted: false)
            let isAccepted = Forwarding.prepareRequest(
                &head, origin: origin, underscores: underscores, cache: &cache)
            if !isAccepted {
                explanation.answer = (400, "a field name contains an underscore")
            }
        }
    }

    private func describe(_ route: Int, _ explanation: inout Explanation) {
        let outline = outlines[route]
        explanation.route = route + 1
        explanation.path = outline.path
        explanation.upstream = outline.template.description
        explanation.source = outline.source?.words
    }
}
