// When each client of a draining worker is told to leave: not all in one moment.

/// The clients of a worker at the begin of a drain, each with its turn.
///
/// Clients that are told to leave connect again, to the next replica. Their turns are spread
/// evenly, in a random order and with a random place within each one's share of the time, so that
/// neither the order in which they came nor another worker's beat shows.
struct Departures {
    private let turns: [(client: Token, at: Instant)]
    /// From a client's turn until it has to have gone, if it is idle.
    private let pause: Duration
    private var told = 0
    private var gone = 0

    /// - Parameter spread: what the turns take at most; few clients take less.
    init(
        _ clients: [Token] = [], from begin: Instant = .zero, over spread: Duration = .zero,
        pause: Duration = .zero
    ) {
        self.pause = pause
        let share = Duration(
            nanoseconds: min(
                spread.nanoseconds / Int64(max(clients.count, 1)),
                1_000_000_000 / Limits.departuresPerSecond))
        turns = clients.shuffled().enumerated().map { place, client in
            let jitter = share.nanoseconds > 0 ? Int64.random(in: 0..<share.nanoseconds) : 0
            return (
                client, begin + Duration(nanoseconds: Int64(place) * share.nanoseconds + jitter)
            )
        }
    }

    var hasToldAll: Bool { told == turns.count }
    var isOver: Bool { gone == turns.count }

    /// A client whose turn has come, each once.
    mutating func nextToTell(_ now: Instant) -> Token? {
        guard told < turns.count, turns[told].at <= now else { return nil }
        defer { told += 1 }
        return turns[told].client
    }

    /// A client that was told a pause ago, each once.
    mutating func nextToGo(_ now: Instant) -> Token? {
        guard gone < told, turns[gone].at + pause <= now else { return nil }
        defer { gone += 1 }
        return turns[gone].client
    }

    /// When to ask again; nil when everyone had its turn and its pause.
    var next: Instant? {
        guard !isOver else { return nil }
        let going = turns[gone].at + pause
        return hasToldAll ? going : min(turns[told].at, going)
    }
}
