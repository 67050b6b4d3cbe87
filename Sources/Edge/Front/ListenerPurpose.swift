// What a listener's connections are for.

/// What a listener's connections are for.
enum ListenerPurpose: Equatable, BitwiseCopyable, Sendable {
    case proxy
    /// Every request is answered 308 to https on this port.
    case redirect(port: UInt16)
    case admin
    /// Stands in for a service: answers by itself (`edge-proxy demo`).
    case demonstration
}
