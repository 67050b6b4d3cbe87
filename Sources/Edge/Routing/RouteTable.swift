// Which route a request takes, and for which id.

/// What is to become of a request.
enum RouteDecision {
    case matched(RouteMatch)
    /// Answered with this status and sentence.
    ///
    /// `route` is the one that was found before its id was refused.
    case refused(status: UInt16, reason: StaticString, route: Int? = nil)
}

/// A request's route; the bytes are slices of the head's text or of the scratch queue.
struct RouteMatch: BitwiseCopyable {
    /// The route's position in the configuration.
    let route: Int
    /// The checked id; empty for plain routes.
    let id: Bytes
    /// Origin-form target to send: the received one, or the normalised one if it had dot segments.
    let target: Bytes
}

/// Why a set of routes cannot be a table.
struct RouteTableError: Error, Equatable {
    /// The offending route's position.
    let route: Int
    let message: String
}

/// All routes of a configuration, searched by longest segment-bounded prefix.
///
/// Records are sorted with `/` before every other byte, so that what lies below a prefix follows it
/// directly; each knows the closest prefix above it:
///
///     ""  ◄── "/api" ◄── "/api/v2"
///      ▲───── "/api-old"
///
/// The last record not above the path, or one of its parents, is the longest match: one binary
/// search and a short walk.
@safe
final class RouteTable: Sendable {
    private enum Source: UInt8 { case none, query, segment, field, host }

    private struct Record: BitwiseCopyable {
        var pathStart = 0
        var pathCount = 0
        var parent = -1
        var route = 0
        var source = Source.none
        var segment = 0
        var nameStart = 0
        var nameCount = 0
        /// Offset of the pattern's table; -1 for decimal ids.
        var automaton = -1
        var longestID = 0
    }

    // Safety: written by `init` before the table is shared, read-only until `deinit`.
    nonisolated(unsafe) private let records: UnsafeMutablePointer<Record>
    private let count: Int
    // Safety: as `records`.
    nonisolated(unsafe) private let text: UnsafeMutablePointer<UInt8>
    // Safety: as `records`.
    nonisolated(unsafe) private let automata: UnsafeMutablePointer<UInt16>

    init(_ routes: [RouteDefinition]) throws(RouteTableError) {
        try Self.check(routes)
        var text: [UInt8] = []
        var automata: [UInt16] = []
        var records = routes.indices.map { index in
            Self.record(routes[index], index, &text, &automata)
        }
        let paths = routes.map { $0.path == "/" ? [] : Array($0.path.utf8) }
        records.sort { Self.isOrdered(paths[$0.route], paths[$1.route]) }
        for index in records.indices {
            let path = paths[records[index].route]
            records[index].parent =
                records[..<index].lastIndex { Self.covers(paths[$0.route], path) } ?? -1
        }
        count = records.count
        unsafe self.records = .allocate(capacity: max(records.count, 1))
        unsafe self.text = .allocate(capacity: max(text.count, 1))
        unsafe self.automata = .allocate(capacity: max(automata.count, 1))
        for (index, record) in records.enumerated() {
            unsafe (self.records + index).initialize(to: record)
        }
        for (index, byte) in text.enumerated() { unsafe (self.text + index).initialize(to: byte) }
        for (index, state) in automata.enumerated() {
            unsafe (self.automata + index).initialize(to: state)
        }
    }

    deinit {
        unsafe records.deallocate()
        unsafe text.deallocate()
        unsafe automata.deallocate()
    }

    /// Decides on a request; no allocation but of the scratch queue's block.
    ///
    /// - Parameter scratch: emptied first; holds the normalised target when there is one.
    func route(_ head: borrowing Head, scratch: inout ByteQueue) -> RouteDecision {
        scratch.removeAll()
        let target = head.bytes(head.target)
        guard !target.isEmpty, target.count <= Limits.headBytes else {
            return .refused(status: 400, reason: "the request target has no path")
        }
        guard target[0] == UInt8(ascii: "/") else {
            return target.equals("*")
                ? .refused(status: 404, reason: "no route takes '*'")
                : .refused(status: 400, reason: "the request target has no path")
        }
        let scan = TargetScan(target)
        var path = target.prefix(scan.pathCount)
        var forwarded = target
        var encodedSegments: UInt64 = 0
        if scan.needsNormalising {
            guard let normal = NormalisedPath(path, into: &scratch) else {
                return .refused(status: 400, reason: "the path leads out of the root")
            }
            if normal.hasResolvedDots {
                scratch.append(target.dropFirst(scan.pathCount))
                forwarded = scratch.bytes
            }
            path = scratch.bytes.prefix(normal.count)
            encodedSegments = normal.encodedSegments
        }
        guard let record = find(path) else {
            return .refused(status: 404, reason: "no route takes this path")
        }
        guard record.source != .none else {
            return .matched(RouteMatch(route: record.route, id: .empty, target: forwarded))
        }
        do throws(IDFault) {
            let query = target.dropFirst(scan.pathCount + 1)
            let id = try locate(record, head, path, query, encodedSegments)
            try check(id, record)
            return .matched(RouteMatch(route: record.route, id: id, target: forwarded))
        } catch {
            return .refused(
                status: 400, reason: reason(error, record.source), route: record.route)
        }
    }

    private func locate(
        _ record: Record, _ head: borrowing Head, _ path: Bytes, _ query: Bytes,
        _ encodedSegments: UInt64
    ) throws(IDFault) -> Bytes {
        let name = unsafe Bytes(text + record.nameStart, count: record.nameCount)
        switch record.source {
        case .none: return .empty
        case .query: return try RequestID.inQuery(query, name: name)
        case .segment:
            let id = try RequestID.inSegment(path, number: record.segment)
            guard encodedSegments >> UInt64(record.segment) & 1 == 0 else { throw .encodedValue }
            return id
        case .field: return try RequestID.inField(head, name: name)
        case .host: return try RequestID.inHost(head.bytes(head.authority))
        }
    }

    private func check(_ id: Bytes, _ record: Record) throws(IDFault) {
        if record.automaton < 0 {
            try IDGrammar.checkDecimal(id)
        } else {
            try unsafe IDGrammar.checkPattern(
                id, automaton: automata + record.automaton, folding: record.source == .host)
        }
        guard id.count <= record.longestID else { throw .tooLong }
    }

    /// Checks an id that was not found in a request as one of a route's requests would be.
    func check(_ id: Bytes, ofRoute route: Int) throws(IDFault) {
        for index in 0..<count where unsafe records[index].route == route {
            try check(id, unsafe records[index])
        }
    }

    private func reason(_ fault: IDFault, _ source: Source) -> StaticString {
        switch source {
        case .none, .query: fault.inQuery
        case .segment: fault.inSegment
        case .field: fault.inField
        case .host: fault.inHost
        }
    }

    /// The record of the longest prefix of a path.
    private func find(_ path: Bytes) -> Record? {
        var low = 0
        var high = count
        while low < high {
            let middle = (low + high) / 2
            if isAbove(middle, path) { high = middle } else { low = middle + 1 }
        }
        var index = low - 1
        while index >= 0 {
            let record = unsafe records[index]
            if covers(record, path) { return record }
            index = record.parent
        }
        return nil
    }

    private func covers(_ record: Record, _ path: Bytes) -> Bool {
        let count = record.pathCount
        let prefix = unsafe Bytes(text + record.pathStart, count: count)
        guard path.hasPrefix(prefix) else { return false }
        return path.count == count || path[count] == UInt8(ascii: "/")
    }

    /// Whether a record's path sorts after `path`.
    private func isAbove(_ index: Int, _ path: Bytes) -> Bool {
        let record = unsafe records[index]
        let own = unsafe Bytes(text + record.pathStart, count: record.pathCount)
        let shared = min(own.count, path.count)
        for position in 0..<shared where own[position] != path[position] {
            return Self.rank(own[position]) > Self.rank(path[position])
        }
        return own.count > path.count
    }

    /// `/` before every other byte.
    private static func rank(_ byte: UInt8) -> UInt16 {
        byte == UInt8(ascii: "/") ? 0 : UInt16(byte) + 1
    }

    private static func isOrdered(_ left: [UInt8], _ right: [UInt8]) -> Bool {
        left.lexicographicallyPrecedes(right) { rank($0) < rank($1) }
    }

    private static func covers(_ prefix: [UInt8], _ path: [UInt8]) -> Bool {
        path.starts(with: prefix)
            && (path.count == prefix.count || path[prefix.count] == UInt8(ascii: "/"))
    }
}

// Building, at load.
extension RouteTable {
    /// What is wrong with a route's path; nil when nothing is.
    static func objection(to path: String) -> String? {
        let bytes = Array(path.utf8)
        guard bytes.first == UInt8(ascii: "/") else { return "a route's path starts with '/'" }
        guard bytes.count <= 1024 else { return "a route's path has at most 1024 bytes" }
        guard bytes.allSatisfy({ ASCII.isTarget($0) && $0 != 0x3F && $0 != 0x23 }) else {
            return "a route's path has no spaces, controls, '?', '#' or bytes beyond ASCII"
        }
        guard bytes.count == 1 || bytes.last != UInt8(ascii: "/") else {
            return
                "a route's path does not end with '/': without it, it matches what lies below too"
        }
        let pool = Ref.allocate(BufferPool())
        defer { pool.destroy() }
        var queue = ByteQueue(pool: pool)
        let normal = bytes.withBytes { NormalisedPath($0, into: &queue).map { $0.count } }
        guard let normal else { return "the path leads out of the root" }
        let text = queue.bytes.prefix(normal).string
        return text == path ? nil : "the path is not in normal form; write '\(text)'"
    }

    private static func check(_ routes: [RouteDefinition]) throws(RouteTableError) {
        var known = Set<String>()
        for (index, route) in routes.enumerated() {
            if let message = objection(to: route.path) {
                throw RouteTableError(route: index, message: message)
            }
            guard known.insert(route.path).inserted else {
                throw RouteTableError(route: index, message: "two routes have the same path")
            }
            if case .segment(let number) = route.id,
                !(1...RouteDefinition.lastSegment).contains(number)
            {
                throw RouteTableError(route: index, message: "the segment is not from 1 to 63")
            }
        }
    }

    private static func record(
        _ route: RouteDefinition, _ index: Int, _ text: inout [UInt8], _ automata: inout [UInt16]
    ) -> Record {
        var record = Record()
        record.route = index
        record.longestID = route.longestID
        record.pathStart = text.count
        if route.path != "/" { text += Array(route.path.utf8) }
        record.pathCount = text.count - record.pathStart
        record.nameStart = text.count
        switch route.id {
        case nil: record.source = .none
        case .query(let name):
            record.source = .query
            text += Array(name.utf8)
        case .segment(let number):
            record.source = .segment
            record.segment = number
        case .field(let name):
            record.source = .field
            text += name.utf8.map { ASCII.lowercase($0) }
        case .hostLabel: record.source = .host
        }
        record.nameCount = text.count - record.nameStart
        if let pattern = route.pattern {
            record.automaton = automata.count
            automata += pattern.table
        }
        return record
    }
}
