// Where a route finds the id of a request, and what a route is before it is put into a table.

/// The part of a request that holds the id.
enum IDSource: Equatable, Sendable {
    /// The value of the query parameter with exactly this raw name.
    case query(String)
    /// A segment of the normalised path, counted from 1 over the whole path.
    case segment(Int)
    /// The value of the only field line with this name.
    case field(String)
    /// The first label of the host that the client asked for.
    case hostLabel
}

/// One route as `RouteTable` takes it; the position in the list is the route's number.
struct RouteDefinition: Sendable {
    /// Longest segment number: the normaliser keeps one bit for each segment.
    static let lastSegment = 63

    /// Normalised path prefix that starts with `/` and, unless it is `/`, does not end with it.
    var path: String
    /// nil for a plain route.
    var id: IDSource?
    /// What ids look like; nil for canonical decimal numbers.
    var pattern: IDPattern?
    /// Bytes that the upstream's host name leaves for the id; at most 63 (RFC 1035 §2.3.4).
    var longestID: Int

    init(path: String, id: IDSource? = nil, pattern: IDPattern? = nil, longestID: Int = 63) {
        self.path = path
        self.id = id
        self.pattern = pattern
        self.longestID = longestID
    }
}
