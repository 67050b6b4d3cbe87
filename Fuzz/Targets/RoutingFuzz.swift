// Paths and ids: what a request may become, and what it may not.

@testable import Edge

/// A worker's memory for one request.
private func decide(
    _ table: RouteTable, target: [UInt8], host: [UInt8] = [], field: [UInt8]? = nil
) -> Decision {
    let pool = Ref.allocate(BufferPool())
    defer { pool.destroy() }
    var head = Head(pool: pool)
    var scratch = ByteQueue(pool: pool)
    target.withBytes { head.target = head.append($0) }
    host.withBytes { head.authority = head.append($0) }
    if let field {
        field.withBytes { _ = head.appendField(Bytes("X-Id"), $0, known: .other) }
    }
    switch table.route(head, scratch: &scratch) {
    case .matched(let match):
        return .matched(route: match.route, id: match.id.array, target: match.target.array)
    case .refused(let status, _, _): return .refused(status)
    }
}

private enum Decision: Equatable {
    case matched(route: Int, id: [UInt8], target: [UInt8])
    case refused(UInt16)
}

private func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

/// Paths: their normal form is stable, and the service sees what the route was chosen by.
enum PathsFuzz {
    private static let table: RouteTable? = try? RouteTable(
        ["/", "/api", "/api-old", "/api/v2", "/a/b"].map { RouteDefinition(path: $0) }
            + [RouteDefinition(path: "/seg", id: .segment(2))])

    static func run(_ bytes: [UInt8]) throws(FuzzFailure) {
        try normalise(bytes)
        _ = String(validating: bytes, as: UTF8.self).map { RouteTable.objection(to: $0) }
        guard let table else { throw FuzzFailure(what: "no table") }
        let first = decide(table, target: bytes)
        guard case .matched(let route, let id, let target) = first else { return }
        try require(target.first == UInt8(ascii: "/"), "forwarded '\(text(target))'")
        // The service normalises as well: it must find the same route and id behind the target.
        let again = decide(table, target: target)
        try require(
            again == .matched(route: route, id: id, target: target),
            "\(first), then \(again)")
        let query = bytes.firstIndex(of: UInt8(ascii: "?")).map { Array(bytes[$0...]) } ?? []
        try require(target.suffix(query.count).elementsEqual(query), "another query")
    }

    private static func normalise(_ bytes: [UInt8]) throws(FuzzFailure) {
        let path = Array(bytes.prefix { $0 != UInt8(ascii: "?") })
        guard path.first == UInt8(ascii: "/") else { return }
        guard let normal = normalForm(path) else { return }
        try require(normal.count <= path.count, "longer: '\(text(normal))'")
        try require(normal.first == UInt8(ascii: "/"), "no path: '\(text(normal))'")
        for segment in normal.split(separator: UInt8(ascii: "/")) {
            let name = text(Array(segment))
            try require(name != "." && name != "..", "dots are left in '\(text(normal))'")
            let decoded = name.lowercased().replacing("%2e", with: ".")
            try require(decoded != "." && decoded != "..", "encoded dots in '\(text(normal))'")
        }
        try require(normalForm(normal) == normal, "not stable: '\(text(normal))'")
    }

    private static func normalForm(_ path: [UInt8]) -> [UInt8]? {
        let pool = Ref.allocate(BufferPool())
        defer { pool.destroy() }
        var queue = ByteQueue(pool: pool)
        let count = path.withBytes { NormalisedPath($0, into: &queue).map { $0.count } }
        return count.map { queue.bytes.prefix($0).array }
    }
}

/// Ids: whatever is asked, only a canonical id becomes part of a host's name.
enum IDsFuzz {
    private static let pattern = try? IDPattern("[a-z0-9]{1,8}(-[a-z0-9]{1,8})?")
    private static let table: RouteTable? = try? RouteTable([
        RouteDefinition(path: "/q", id: .query("id")),
        RouteDefinition(path: "/p", id: .query("id"), pattern: pattern),
        RouteDefinition(path: "/s", id: .segment(2)),
        RouteDefinition(path: "/sp", id: .segment(3), pattern: pattern),
        RouteDefinition(path: "/f", id: .field("x-id"), longestID: 10),
        RouteDefinition(path: "/fp", id: .field("X-Id"), pattern: pattern),
        RouteDefinition(path: "/h", id: .hostLabel),
        RouteDefinition(path: "/hp", id: .hostLabel, pattern: pattern),
    ])

    static func run(_ bytes: [UInt8]) throws(FuzzFailure) {
        var input = FuzzInput(bytes)
        let options = input.byte()
        if options & 1 == 0 {
            let extra = input.take(Int(input.byte()))
            try request(input.rest(), extra)
        } else {
            try compile(input.take(Int(input.byte())), input.rest())
        }
    }

    private static func request(_ target: [UInt8], _ extra: [UInt8]) throws(FuzzFailure) {
        guard let table else { throw FuzzFailure(what: "no table") }
        let decision = decide(table, target: target, host: extra, field: extra)
        guard case .matched(let route, let id, let forwarded) = decision else { return }
        let said = text(id)
        if route % 2 == 0 {
            try require(Int64(said).map { "\($0)" } == said && id.first != 0x2D, "'\(said)'")
        }
        try require(id.count <= 63 && !id.isEmpty, "an id of \(id.count) bytes")
        try require(id.first != 0x2D && id.last != 0x2D, "'\(said)' is no label")
        try require(
            id.allSatisfy {
                IDPattern.symbol($0) != nil || route >= 6 && ASCII.isLetter($0)
            }, "'\(said)' is no label")
        let again = decide(table, target: forwarded, host: extra, field: extra)
        try require(again == decision, "\(decision), then \(again)")
    }

    // MARK: patterns

    /// A pattern that is taken accepts exactly what its syntax says and no text that is no label.
    private static func compile(_ source: [UInt8], _ id: [UInt8]) throws(FuzzFailure) {
        guard let source = String(validating: source, as: UTF8.self) else { return }
        let syntax: IDPatternSyntax
        do throws(IDPatternError) {
            var parser = IDPatternParser(source)
            syntax = try parser.parse()
        } catch {
            return try require((0...source.utf8.count).contains(error.offset), "\(error)")
        }
        guard let pattern = try? IDPattern(source) else { return }
        try require(!pattern.matches([].withBytes { $0 }), "accepts nothing at all")
        for candidate in [id, Array(id.prefix(1)), [0x61], [0x30], [0x61, 0x2D, 0x30]] {
            let isMatch = candidate.withBytes { pattern.matches($0) }
            let isLabel = (1...63).contains(candidate.count)
            try require(
                isMatch == (isLabel && accepts(syntax, candidate)),
                "'\(source)' and '\(text(candidate))': \(isMatch)")
            try require(!isMatch || candidate.first != 0x2D && candidate.last != 0x2D, "a hyphen")
        }
    }

    private static func accepts(_ syntax: IDPatternSyntax, _ id: [UInt8]) -> Bool {
        ends(syntax, id, [0]).contains(id.count)
    }

    /// Where a match that begins at one of `places` may end; slow, and unlike the product's way.
    private static func ends(
        _ syntax: IDPatternSyntax, _ id: [UInt8], _ places: Set<Int>
    ) -> Set<Int> {
        guard !places.isEmpty else { return [] }
        switch syntax {
        case .one(let symbols):
            return Set(
                places.filter {
                    guard $0 < id.count, let symbol = IDPattern.symbol(id[$0]) else { return false }
                    return symbols >> UInt64(symbol) & 1 == 1
                }.map { $0 + 1 })
        case .sequence(let parts): return parts.reduce(places) { ends($1, id, $0) }
        case .choice(let parts):
            return parts.reduce(into: []) { $0.formUnion(ends($1, id, places)) }
        case .repetition(let part, let least, let most):
            var current = places
            for _ in 0..<least { current = ends(part, id, current) }
            var all = current
            var left = most.map { $0 - least } ?? id.count + 1
            while left > 0, !current.isEmpty {
                current = ends(part, id, current).subtracting(all)
                all.formUnion(current)
                left -= 1
            }
            return all
        }
    }
}
