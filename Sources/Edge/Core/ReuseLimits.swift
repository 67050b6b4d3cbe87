// Bounds of what is learned about a host, and of how its connections are kept and replaced.

extension Limits {
    /// Attempts in all to deliver one request, those included of which it is known that the peer
    /// has not begun them: a service that drains may end several connections in a row.
    static let attemptsInAll = 10
    /// How long a host is known to speak the version that its last connection spoke; each dial
    /// teaches it anew, so only a host that is not dialled for so long is forgotten.
    static let protocolMemory = Duration.seconds(3600)
    /// How long connections to a host rest for less because the host has closed some that rested:
    /// two odd closes must not cost it its reuse for ever.
    static let idleMemory = Duration.seconds(600)
    /// What closes earlier than this was not closed for resting: a server that ends, or one that
    /// never meant to keep it.
    static let leastIdleLimit = Duration.milliseconds(500)
    /// A connection rests for four fifths of what its host allows: the rest is for the way there.
    static func safeRest(_ limit: Duration) -> Duration {
        Duration(nanoseconds: limit.nanoseconds / 5 * 4)
    }
    /// The most that Keep-Alive is believed to announce: a day, in seconds.
    static let announcedRest: UInt64 = 86_400
    /// A connection that has acknowledged a PING and is silent still is not asked again for so
    /// long: servers of gRPC take more than one in five minutes for a flood.
    static let quietPing = Duration.seconds(300)
    /// Times that a host which has answered before is dialled again after all of its addresses have
    /// refused: after 50, 100 and 200 ms, so that a restart goes unnoticed and a dead host is told
    /// within a fraction of a second, at once from then on.
    static let redials = 3
    static let redialPause = Duration.milliseconds(50)
}
