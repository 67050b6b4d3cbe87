// The metrics that name ids: the few with the most of each, and all others together.

extension MetricsPage {
    private static let families: [(measure: IDMeasure, name: String, help: String)] = [
        (.requests, "edge_id_requests_total", "Requests that ended, of the ids with the most."),
        (.bytes, "edge_id_bytes_total", "Content received and sent, of the ids with the most."),
        (
            .errors, "edge_id_errors_total",
            "Exchanges that failed or were answered 5xx, of the ids with the most."
        ),
        (
            .nanoseconds, "edge_id_request_seconds_total",
            "Time from first byte in to last byte out, of the ids with the most."
        ),
    ]

    /// Samples of `count` ids and of `other` per measure; their sum is exact.
    static func ids(_ sums: IDSums, top count: Int, _ page: inout MetricsWriter) {
        guard count > 0 else { return }
        for family in families {
            page.begin(family.name, .counter, family.help)
            let top = sums.top(count, by: family.measure)
            for (id, value) in top.ids + [("other", top.rest)] {
                page.sample(text: text(value, family.measure), [("id", id)])
            }
        }
        page.begin(
            "edge_id_uncertainty", .gauge,
            "The most by which an id's value of this measure may be wrong.")
        for family in families {
            page.sample(
                text: text(sums.mostError(family.measure), family.measure),
                [("measure", label(family.measure))])
        }
    }

    private static func label(_ measure: IDMeasure) -> String {
        switch measure {
        case .requests: "requests"
        case .bytes: "bytes"
        case .errors: "errors"
        case .nanoseconds: "request_seconds"
        }
    }

    private static func text(_ value: UInt64, _ measure: IDMeasure) -> String {
        measure == .nanoseconds ? seconds(Int64(clamping: value)) : String(value)
    }
}
