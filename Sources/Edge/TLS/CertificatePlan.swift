// Which certificates stand side by side in one SSL_CTX, and which names lead there.

/// The certificates of a listener, loaded, and grouped so that each name gets one per kind of key.
///
/// For every name and kind of key the first certificate with that exact name wins, else the first
/// whose wildcard covers it.
struct CertificatePlan: Sendable {
    let certificates: [Certificate]
    /// Certificates by their place in the settings; group 0 is the default.
    private(set) var groups: [[Int]]
    /// Names in lower case (wildcards as `.example.com`) and the group each leads to.
    private(set) var names: [(name: [UInt8], value: Int32)] = []

    private static let kinds: [Certificate.KeyKind] = [.ecdsa, .rsa, .other]

    init(_ sources: [CertificateSource]) throws(TLSConfigurationError) {
        guard !sources.isEmpty else {
            throw TLSConfigurationError(path: "", message: "no certificate is given")
        }
        var loaded: [Certificate] = []
        for (index, source) in sources.enumerated() {
            loaded.append(try Certificate(source, index: index))
        }
        certificates = loaded
        groups = [try Self.defaults(loaded, sources)]
        var seen: Set<[UInt8]> = []
        for certificate in loaded {
            for name in certificate.names where seen.insert(name).inserted {
                let group = Self.group(for: name, loaded)
                let place = groups.firstIndex(of: group) ?? groups.count
                if place == groups.count { groups.append(group) }
                names.append((name, Int32(place)))
            }
        }
    }

    /// The marked certificates, or the first one; completed by those of another kind of key that
    /// have all its names.
    private static func defaults(
        _ loaded: [Certificate], _ sources: [CertificateSource]
    ) throws(TLSConfigurationError) -> [Int] {
        var chosen = sources.indices.filter { sources[$0].isDefault }
        if chosen.isEmpty { chosen = [0] }
        for (place, index) in chosen.enumerated() {
            let rivals = chosen.prefix(place)
            if let rival = rivals.first(where: { loaded[$0].keyKind == loaded[index].keyKind }) {
                throw TLSConfigurationError(
                    path: sources[index].certificatePath,
                    message: "two default certificates with the same kind of key; the other is "
                        + sources[rival].certificatePath, certificateIndex: index)
            }
        }
        let wanted = Set(loaded[chosen[0]].names)
        let isExplicit = chosen.count > 1
        for index in loaded.indices where !isExplicit {
            let isTaken = chosen.contains { loaded[$0].keyKind == loaded[index].keyKind }
            if !isTaken, wanted.isSubset(of: loaded[index].names) { chosen.append(index) }
        }
        return chosen.sorted()
    }

    private static func group(for name: [UInt8], _ loaded: [Certificate]) -> [Int] {
        let wildcard = name.firstIndex(of: UInt8(ascii: ".")).map { Array(name[$0...]) }
        var group: [Int] = []
        for kind in kinds {
            let same = loaded.indices.filter { loaded[$0].keyKind == kind }
            if let exact = same.first(where: { loaded[$0].names.contains(name) }) {
                group.append(exact)
            } else if let wildcard, wildcard != name,
                let wide = same.first(where: { loaded[$0].names.contains(wildcard) })
            {
                group.append(wide)
            }
        }
        return group.sorted()
    }
}
