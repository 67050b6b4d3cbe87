// Upstream URLs of routes, with a place for the id in the host name.

/// Why an upstream URL was refused, and at which byte of it.
struct TemplateError: Error, Equatable {
    let offset: Int
    let message: String
}

/// How an upstream is spoken to.
enum UpstreamScheme: UInt8, Sendable {
    case http, https

    var defaultPort: UInt16 { self == .http ? 80 : 443 }
    var name: StaticString { self == .http ? "http" : "https" }
}

/// A checked upstream URL: `scheme://host[:port][/]`, `{id}` at most once and only in the host.
///
/// With `srv+` before the scheme the host is the name of a service (RFC 2782), whose records say
/// the ports; its labels may have underscores.
struct UpstreamTemplate: BitwiseCopyable, Sendable {
    /// 253 bytes of host name without the trailing dot (RFC 1035 §2.3.4).
    static let capacity = 253

    let scheme: UpstreamScheme
    /// 0 of a service.
    let port: UInt16
    /// The host is a name whose SRV records are asked for.
    let isService: Bool
    /// The host was written with a final dot, so that no search domain applies.
    ///
    /// `expandHost` leaves it out.
    let isAbsolute: Bool
    /// The host holds `{id}`.
    let hasID: Bool
    /// The host is an IPv6 address; `expandHost` writes it without brackets.
    let isIPv6: Bool
    /// Bytes of the longest id that keeps the host a valid name; 0 without `{id}`.
    let longestID: Int
    private let host: [253 of UInt8]
    private let hostCount: Int
    /// Bytes of the host before the id.
    private let prefixCount: Int

    init(_ url: String) throws(TemplateError) {
        let text = Array(url.utf8)
        var reader = UpstreamReader(text)
        scheme = try reader.scheme()
        let found = try reader.host()
        isService = reader.isService
        isAbsolute = found.isAbsolute
        port = try reader.port() ?? (isService ? 0 : scheme.defaultPort)
        try reader.end()
        hasID = found.idPlace != nil
        isIPv6 = found.isIPv6
        longestID = found.longestID
        prefixCount = found.idPlace ?? found.bytes.count
        hostCount = found.bytes.count
        var host: [253 of UInt8] = .init(repeating: 0)
        for (index, byte) in found.bytes.enumerated() { host[index] = byte }
        self.host = host
    }

    /// Writes the host name for an id in lower case.
    ///
    /// - Parameter place: room for `capacity` bytes.
    /// - Returns: bytes written; 0 when the id is longer than `longestID`.
    @safe
    func expandHost(id: Bytes, into place: UnsafeMutablePointer<UInt8>) -> Int {
        let idCount = hasID ? id.count : 0
        guard idCount <= longestID else { return 0 }
        for index in 0..<prefixCount { unsafe place[index] = host[index] }
        for index in 0..<idCount {
            unsafe place[prefixCount + index] = ASCII.lowercase(id[index])
        }
        for index in prefixCount..<hostCount { unsafe place[idCount + index] = host[index] }
        return hostCount + idCount
    }

    /// Whether an id exists that makes this host of the template; its grammar is not asked.
    func reaches(_ name: String) -> Bool {
        let bytes = Array(name.utf8)
        let suffixCount = hostCount - prefixCount
        guard hasID ? bytes.count > hostCount : bytes.count == hostCount else { return false }
        return (0..<prefixCount).allSatisfy { bytes[$0] == host[$0] }
            && (0..<suffixCount).allSatisfy {
                bytes[bytes.count - suffixCount + $0] == host[prefixCount + $0]
            }
    }

    /// The id in a host name that `expandHost` wrote, in lower case; empty without one.
    func id(in host: Bytes) -> Bytes {
        hasID ? host.slice(prefixCount, count: host.count - hostCount) : .empty
    }

    /// The host name for an id, as text; empty when the id is longer than `longestID`.
    func host(forID id: String) -> String {
        id.withBytes { id in
            unsafe String(unsafeUninitializedCapacity: Self.capacity) { buffer in
                guard let place = buffer.baseAddress else { return 0 }
                return expandHost(id: id, into: place)
            }
        }
    }

    /// The host as configured, with `{id}`; for logs and summaries.
    var hostText: String {
        let bytes = (0..<hostCount).map { host[$0] }
        let text =
            String(decoding: bytes[..<prefixCount], as: UTF8.self) + (hasID ? "{id}" : "")
            + String(decoding: bytes[prefixCount...], as: UTF8.self) + (isAbsolute ? "." : "")
        return isIPv6 ? "[\(text)]" : text
    }

    /// The whole URL, with its port unless it is a service's.
    var description: String {
        isService ? "srv+\(scheme.name)://\(hostText)" : "\(scheme.name)://\(hostText):\(port)"
    }
}

/// Reads an upstream URL from left to right.
private struct UpstreamReader {
    struct Host {
        var bytes: [UInt8] = []
        var idPlace: Int?
        var isIPv6 = false
        var isAbsolute = false
        var longestID = 0
    }

    private static let marker = Array("{id}".utf8)
    private let text: [UInt8]
    private var place = 0
    private(set) var isService = false

    init(_ text: [UInt8]) { self.text = text }

    private func failure(_ message: String, at offset: Int? = nil) -> TemplateError {
        TemplateError(offset: offset ?? place, message: message)
    }

    private mutating func take(_ prefix: String) -> Bool {
        guard text[place...].starts(with: prefix.utf8) else { return false }
        place += prefix.utf8.count
        return true
    }

    mutating func scheme() throws(TemplateError) -> UpstreamScheme {
        isService = take("srv+")
        if take("http://") { return .http }
        if take("https://") { return .https }
        if take("unix:") { throw failure("unix sockets are not supported as upstreams", at: 0) }
        throw failure("an upstream starts with 'http://' or 'https://', 'srv+' before it or not")
    }

    mutating func host() throws(TemplateError) -> Host {
        let start = place
        if place < text.count, text[place] == UInt8(ascii: "[") {
            if isService { throw failure("a service has a name, not an address") }
            return try bracketed()
        }
        while place < text.count, !":/?#@".utf8.contains(text[place]) { place += 1 }
        if place < text.count, text[place] == UInt8(ascii: "@") {
            throw failure("user names and passwords are not supported in an upstream")
        }
        var host = Host()
        var index = start
        while index < place {
            if text[index...].starts(with: Self.marker) {
                guard host.idPlace == nil else {
                    throw failure("{id} is given more than once", at: index)
                }
                host.idPlace = host.bytes.count
                index += Self.marker.count
                continue
            }
            let byte = ASCII.lowercase(text[index])
            guard
                IDPattern.symbol(byte) != nil || byte == UInt8(ascii: ".")
                    || isService && byte == UInt8(ascii: "_")
            else {
                let name = byte < 0x80 ? "'\(Character(Unicode.Scalar(byte)))'" : "this byte"
                throw failure("\(name) cannot be part of a host name", at: index)
            }
            host.bytes.append(byte)
            index += 1
        }
        if host.bytes.last == UInt8(ascii: "."), host.idPlace != host.bytes.count {
            host.bytes.removeLast()
            host.isAbsolute = true
        }
        guard !host.bytes.isEmpty || host.idPlace != nil else {
            throw failure("the host is missing", at: start)
        }
        try checkLabels(&host, start)
        return host
    }

    private func checkLabels(_ host: inout Host, _ start: Int) throws(TemplateError) {
        // A digit stands for the id: the shortest one, and good at either end of a label.
        var name = host.bytes
        if let idPlace = host.idPlace { name.insert(UInt8(ascii: "0"), at: idPlace) }
        guard name.count <= UpstreamTemplate.capacity else {
            throw failure("a host name has at most 253 bytes", at: start)
        }
        var first = 0
        for label in name.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false) {
            guard !label.isEmpty else { throw failure("a label of the host is empty", at: start) }
            guard label.count <= IDPattern.longestLabel else {
                throw failure("a label of the host is longer than 63 bytes", at: start)
            }
            guard label.first != UInt8(ascii: "-"), label.last != UInt8(ascii: "-") else {
                throw failure("a label of the host starts or ends with '-'", at: start)
            }
            if let idPlace = host.idPlace, (first..<first + label.count).contains(idPlace) {
                host.longestID =
                    min(
                        IDPattern.longestLabel - label.count, UpstreamTemplate.capacity - name.count
                    )
                    + 1
            }
            first += label.count + 1
        }
        let last = name.split(separator: UInt8(ascii: ".")).last ?? []
        guard last.allSatisfy(ASCII.isDigit) else { return }
        guard host.idPlace == nil else {
            throw failure("with {id} in place, the host could be an IP address", at: start)
        }
        guard name.withBytes({ AddressLiteral($0) }) != nil else {
            throw failure("a host that ends with a number must be an IPv4 address", at: start)
        }
        if isService { throw failure("a service has a name, not an address", at: start) }
        host.isAbsolute = false
    }

    private mutating func bracketed() throws(TemplateError) -> Host {
        let start = place + 1
        while place < text.count, text[place] != UInt8(ascii: "]") { place += 1 }
        guard place < text.count else { throw failure("']' is missing") }
        let bytes = text[start..<place].map(ASCII.lowercase)
        guard let literal = bytes.withBytes({ AddressLiteral($0) }), !literal.isIPv4 else {
            throw failure("an IPv6 address is expected between brackets", at: start)
        }
        place += 1
        return Host(bytes: bytes, idPlace: nil, isIPv6: true, longestID: 0)
    }

    mutating func port() throws(TemplateError) -> UInt16? {
        let start = place
        guard take(":") else { return nil }
        if isService { throw failure("a service's records say its ports", at: start) }
        let digits = place
        while place < text.count, ASCII.isDigit(text[place]) { place += 1 }
        if text[place...].starts(with: Self.marker) {
            throw failure("{id} can only stand in the host name")
        }
        let number = Array(text[digits..<place]).withBytes { $0.decimal() }
        guard let number, (1...65535).contains(number) else {
            throw failure("a port is a number from 1 to 65535", at: digits)
        }
        return UInt16(number)
    }

    mutating func end() throws(TemplateError) {
        let start = place
        _ = take("/")
        guard place < text.count else { return }
        if text[place...].indices.contains(where: { text[$0...].starts(with: Self.marker) }) {
            throw failure("{id} can only stand in the host name", at: start)
        }
        switch text[start] {
        case UInt8(ascii: "/"):
            throw failure("an upstream has no path yet: requests keep their own", at: start)
        case UInt8(ascii: "?"), UInt8(ascii: "#"):
            throw failure("an upstream has neither query nor fragment", at: start)
        default: throw failure("a port or the end of the URL is expected", at: start)
        }
    }
}
