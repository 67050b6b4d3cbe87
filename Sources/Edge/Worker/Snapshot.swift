// What a configuration becomes before workers use it.

/// A listener as a worker sees it; its place in the list is its number.
final class ListenerRuntime: Sendable {
    let name: String
    let purpose: ListenerPurpose
    let tls: TLSServerContext?
    let transportSecurity: StrictTransportSecurity

    init(
        name: String, purpose: ListenerPurpose, tls: TLSServerContext?,
        transportSecurity: StrictTransportSecurity = StrictTransportSecurity()
    ) {
        self.name = name
        self.purpose = purpose
        self.tls = tls
        self.transportSecurity = transportSecurity
    }
}

/// A route as a worker sees it; its place in the list is its number in the route table.
final class RouteRuntime: Sendable {
    let identity: UpstreamIdentity
    let template: UpstreamTemplate
    let policy: ExchangePolicy
    let outline: RouteOutline
    /// A copy of `identity.number`, without going through the object.
    let identityNumber: UInt32

    init(identity: UpstreamIdentity, policy: ExchangePolicy, outline: RouteOutline) {
        self.identity = identity
        self.policy = policy
        self.outline = outline
        template = outline.template
        identityNumber = identity.number
    }
}

/// Front settings, copied into each worker.
struct FrontPolicy: Sendable {
    var handshake = Duration.seconds(10)
    var head = Duration.seconds(10)
    var body = Duration.seconds(60)
    var write = Duration.seconds(60)
    var idle = Duration.seconds(75)
    var maxConnections = 10_000
    var client = AddressLimits()
    /// Bytes per second that a client has to send or take; 0: any rate.
    var minRate = 0
    /// Bytes of memory for what is under way.
    var maxMemory = Int.max
    var maxStreams: UInt32 = 128
    var underscores = UnderscorePolicy.drop
    var trusted: [AddressRange] = []
}

/// An immutable configuration in force: built and checked as a whole, then handed to every worker.
final class Snapshot: Sendable {
    let generation: Int
    let routes: RouteTable
    let runtimes: [RouteRuntime]
    let listeners: [ListenerRuntime]
    let front: FrontPolicy
    /// Ids that each metric of ids names.
    let topIDs: Int
    private let life = LiveObject(.snapshot)

    init(
        generation: Int, routes: RouteTable, runtimes: [RouteRuntime],
        listeners: [ListenerRuntime], front: FrontPolicy, topIDs: Int
    ) {
        self.generation = generation
        self.routes = routes
        self.runtimes = runtimes
        self.listeners = listeners
        self.front = front
        self.topIDs = topIDs
    }

    /// Whether a request could lead to this host client.
    func reaches(_ client: HostClient) -> Bool {
        runtimes.contains { runtime in
            runtime.identityNumber == client.identity.number
                && runtime.template.reaches(client.host)
        }
    }
}
