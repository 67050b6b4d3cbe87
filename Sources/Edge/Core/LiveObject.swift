// How many objects live of those kinds that end with their last holder.

import Synchronization

/// A mark within an object: counts it for as long as it lives.
///
/// Connections and exchanges have a ledger, because somebody decides when they end. These objects
/// end when the last worker, pool or TLS session lets go of them; a count is what shows that all
/// have.
struct LiveObject: ~Copyable, Sendable {
    enum Kind: Int, CaseIterable, Sendable {
        case snapshot, serverContext, clientContext, identity, hostClient

        var name: StaticString {
            switch self {
            case .snapshot: "snapshot"
            case .serverContext: "server_context"
            case .clientContext: "client_context"
            case .identity: "identity"
            case .hostClient: "host_client"
            }
        }

        /// Objects of this kind in the process.
        var count: Int { LiveObject.counts[rawValue].load(ordering: .relaxed) }
    }

    private static let counts = [5 of Atomic<Int>] { _ in Atomic(0) }
    private let kind: Kind

    init(_ kind: Kind) {
        self.kind = kind
        Self.counts[kind.rawValue].wrappingAdd(1, ordering: .relaxed)
    }

    deinit { Self.counts[kind.rawValue].wrappingSubtract(1, ordering: .relaxed) }
}
