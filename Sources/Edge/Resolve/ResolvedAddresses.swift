// What a name resolved to: addresses, and for a service their ports, priorities and weights.

/// Where an address of a service stands among the others (RFC 2782).
struct ServiceRank: Hashable, BitwiseCopyable, Sendable {
    /// The lowest is used as long as any address of it can be reached.
    var priority: UInt16 = 0
    /// Share of the traffic among addresses of one priority; at least 1.
    var share: UInt32 = ServiceRank.unit

    /// The share of an address without a weight, and of weight 1.
    static let unit: UInt32 = 64
}

/// The addresses of a name.
struct ResolvedAddresses: Equatable, Sendable, ExpressibleByArrayLiteral {
    /// IPv6 and IPv4 in turns (RFC 8305 §4), port 0; of a service by priority, with its ports.
    var list: [SocketAddress]
    /// One for each address of a service; empty for the addresses of a host.
    var ranks: [ServiceRank] = []

    init(_ list: [SocketAddress], ranks: [ServiceRank] = []) {
        self.list = list
        self.ranks = ranks
    }

    init(arrayLiteral elements: SocketAddress...) { list = elements }

    var isEmpty: Bool { list.isEmpty }

    func rank(_ index: Int) -> ServiceRank {
        ranks.isEmpty ? ServiceRank() : ranks[index]
    }

    /// How many addresses have the lowest priority.
    var firstChoices: Int {
        guard let first = ranks.first else { return list.count }
        return ranks.firstIndex { $0.priority != first.priority } ?? ranks.count
    }
}

/// One SRV record.
struct ServiceRecord: Equatable, Sendable {
    var priority: UInt16
    var weight: UInt16
    var port: UInt16
    /// Lower case without the final dot.
    var target: String

    /// Records with the addresses of their targets, the lowest priority first.
    ///
    /// A target with several addresses divides its weight among them; weight 0 gets the little that
    /// RFC 2782 leaves it. At most `Limits.addressesPerName`.
    static func addresses(
        _ records: [ServiceRecord], of targets: [String: [SocketAddress]]
    ) -> ResolvedAddresses {
        var result = ResolvedAddresses([])
        for record in records.sorted(by: { $0.priority < $1.priority }) {
            guard let found = targets[record.target], !found.isEmpty else { continue }
            let weight = record.weight == 0 ? 1 : UInt32(record.weight) * ServiceRank.unit
            let rank = ServiceRank(
                priority: record.priority, share: max(1, weight / UInt32(found.count)))
            for address in found where result.list.count < Limits.addressesPerName {
                var address = address
                address.port = record.port
                guard !result.list.contains(address) else { continue }
                result.list.append(address)
                result.ranks.append(rank)
            }
        }
        return result
    }
}
