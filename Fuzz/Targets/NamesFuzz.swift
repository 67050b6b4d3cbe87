// Host names, addresses, upstream URLs and the names of certificates.

import Glibc

@testable import Edge

private func string(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

/// Authorities, addresses and upstream URLs: what is taken is what others take, and nothing worse.
enum AuthorityFuzz {
    static func run(_ bytes: [UInt8]) throws(FuzzFailure) {
        try authority(bytes)
        try address(bytes)
        guard let text = String(validating: bytes, as: UTF8.self) else { return }
        try upstream(text)
        try hostName(text)
        try configured(text)
    }

    private static func authority(_ bytes: [UInt8]) throws(FuzzFailure) {
        guard bytes.withBytes({ AuthorityGrammar.isValid($0) }) else { return }
        try require(!bytes.isEmpty && bytes.count <= Limits.hostBytes + 7, "\(bytes.count) bytes")
        for byte in bytes {
            try require(
                byte > 0x20 && byte < 0x7F && !"@/?#,\\\"<>^`{|}".utf8.contains(byte),
                "'\(string(bytes))'")
        }
    }

    /// Ours and the system's reading of addresses agree.
    private static func address(_ bytes: [UInt8]) throws(FuzzFailure) {
        let ours = bytes.withBytes { AddressLiteral($0) }
        let theirs = bytes.contains(0) ? nil : system(bytes)
        let network = ours.map { literal in
            let words = [literal.high.bigEndian, literal.low.bigEndian]
            let all = words.flatMap { word in unsafe withUnsafeBytes(of: word) { unsafe Array($0) }
            }
            return literal.isIPv4 ? Array(all.suffix(4)) : all
        }
        try require(network == theirs, "'\(string(bytes))': \(network ?? []), \(theirs ?? [])")
        let certificate = bytes.withBytes { AddressBytes(text: $0) }
        if let network {
            let same = network.withBytes { AddressBytes(raw: $0) }
            try require(certificate == same, "'\(string(bytes))' of a certificate")
        }
        guard let ours else { return }
        let again = ours.text.withBytes { AddressLiteral($0) }
        try require(again == ours, "'\(string(bytes))' is written as '\(ours.text)'")
    }

    private static func system(_ bytes: [UInt8]) -> [UInt8]? {
        let text = string(bytes)
        guard Array(text.utf8) == bytes else { return nil }
        var place = [UInt8](repeating: 0, count: 16)
        if unsafe inet_pton(AF_INET, text, &place) == 1 { return Array(place.prefix(4)) }
        return unsafe inet_pton(AF_INET6, text, &place) == 1 ? place : nil
    }

    /// A URL that is taken is written in a form that is taken too, and expands to a good name.
    private static func upstream(_ text: String) throws(FuzzFailure) {
        let template: UpstreamTemplate
        do throws(TemplateError) {
            template = try UpstreamTemplate(text)
        } catch {
            return try require(
                (0...text.utf8.count).contains(error.offset) && !error.message.isEmpty, "\(error)")
        }
        let written = template.description
        guard let again = try? UpstreamTemplate(written) else {
            throw FuzzFailure(what: "'\(text)' is written as '\(written)'")
        }
        try require(again.description == written, "'\(written)', then '\(again.description)'")
        for id in ["0", "42", String(repeating: "7", count: template.longestID)] {
            let host = expand(template, id)
            guard !template.hasID || id.utf8.count <= template.longestID else {
                try require(host.isEmpty, "'\(text)' takes an id that is too long")
                continue
            }
            try require(host.count <= Limits.hostBytes, "\(host.count) bytes of host")
            guard !template.hasID || !id.isEmpty else { continue }
            try require(HostName(string(host)) != .unusable, "'\(text)' leads to '\(string(host))'")
        }
    }

    private static func expand(_ template: UpstreamTemplate, _ id: String) -> [UInt8] {
        let place = UnsafeMutablePointer<UInt8>.allocate(capacity: UpstreamTemplate.capacity)
        defer { unsafe place.deallocate() }
        let count = id.withBytes { template.expandHost(id: $0, into: place) }
        return unsafe Array(UnsafeBufferPointer(start: place, count: count))
    }

    private static func hostName(_ text: String) throws(FuzzFailure) {
        guard case .name(let name, let isAbsolute) = HostName(text) else { return }
        try require((1...Limits.hostBytes).contains(name.utf8.count), "\(name.utf8.count) bytes")
        try require(
            HostName(isAbsolute ? name + "." : name) == .name(name, isAbsolute: isAbsolute),
            "'\(name)'")
    }

    /// Addresses of the configuration: what is taken is written in a form that is taken.
    private static func configured(_ text: String) throws(FuzzFailure) {
        if let address = ListenAddress(text) {
            try require(ListenAddress(address.text) == address, "'\(text)' as '\(address.text)'")
        }
        if let address = ServerAddress(text) {
            try require(ServerAddress(address.text) == address, "'\(text)' as '\(address.text)'")
            try require(QueryChannel.isServer(address.text), "c-ares refuses '\(address.text)'")
        }
        if let range = AddressRange(text) {
            _ = [127, 0, 0, 1].withBytes { range.contains($0) }
            _ = [UInt8](repeating: 0, count: 16).withBytes { range.contains($0) }
        }
    }
}

/// Which certificate a name leads to: the table finds what a search through a list finds.
enum TLSNamesFuzz {
    static func run(_ bytes: [UInt8]) throws(FuzzFailure) {
        var names: [(name: [UInt8], value: Int32)] = []
        var lines = bytes.split(separator: 0x0A, omittingEmptySubsequences: false).map(Array.init)
        let host = lines.removeFirst()
        for line in lines.prefix(64) {
            // Names as a certificate has them: lower case, `*.x` kept as `.x`.
            let name = line.map { ASCII.lowercase($0) }
            let isWildcard = name.starts(with: "*.".utf8)
            names.append((isWildcard ? Array(name.dropFirst()) : name, Int32(names.count)))
        }
        let table = ServerNames(names, hash: ByteHash(seed: UInt64(bytes.count & 3)))
        let found = host.withBytes { table.find($0) }
        try require(found == search(host, names), "'\(string(host))': \(found ?? -1)")
        for (name, _) in names {
            let found = name.withBytes { table.find($0) }
            try require(found == search(name, names), "'\(string(name))': \(found ?? -1)")
        }
        let alpn = host.withBytes { ALPNProtocol(name: $0) }
        try require(
            alpn == (string(host) == "h2" ? .http2 : string(host) == "http/1.1" ? .http1 : nil),
            "'\(string(host))' as a protocol")
    }

    private static func search(
        _ host: [UInt8], _ names: [(name: [UInt8], value: Int32)]
    ) -> Int32? {
        var name = host.map { ASCII.lowercase($0) }
        if name.last == UInt8(ascii: ".") { name.removeLast() }
        guard (1...Limits.hostBytes).contains(name.count), name.first != UInt8(ascii: ".") else {
            return nil
        }
        if let exact = names.first(where: { $0.name == name }) { return exact.value }
        guard let dot = name.firstIndex(of: UInt8(ascii: ".")) else { return nil }
        return names.first { $0.name.elementsEqual(name[dot...]) }?.value
    }
}

/// DNS messages that we read: as the demonstration's name server, and answers about services.
enum DNSFuzz {
    static func run(_ bytes: [UInt8]) throws(FuzzFailure) {
        try service(bytes)
        guard let reply = bytes.withBytes({ DemonstrationZone.reply(to: $0) }) else { return }
        try require(reply.count >= 17, "\(reply.count) bytes")
        try require(reply.starts(with: bytes.prefix(2)), "another number")
        try require(reply[2] & 0x80 != 0, "not a response")
        let question = reply.dropFirst(12).prefix(bytes.count - 12)
        try require(bytes.dropFirst(12).starts(with: question.prefix(5)), "another question")
    }

    /// SRV records are few, good names, in order, and their life has a bound.
    private static func service(_ bytes: [UInt8]) throws(FuzzFailure) {
        let answer = unsafe bytes.withUnsafeBufferPointer { buffer in
            unsafe buffer.baseAddress.flatMap { ServiceAnswer.read($0, count: buffer.count) }
        }
        guard let answer else { return }
        try require(answer.records.count <= Limits.addressesPerName, "\(answer.records.count)")
        try require((0...Int64(Int32.max)).contains(answer.ttl.milliseconds / 1000), "ttl")
        for (one, next) in zip(answer.records, answer.records.dropFirst()) {
            try require(one.priority <= next.priority, "\(one), then \(next)")
        }
        for record in answer.records {
            try require(HostName(record.target) != .unusable, "'\(record.target)'")
            try require(record.port > 0, "port 0")
        }
    }
}
