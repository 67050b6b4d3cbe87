// The sections `upstream.health` and `upstream.retries`.

extension ConfigurationReader {
    func health(_ reader: SectionReader) -> HealthPolicy? {
        guard let isEnabled = reader.boolean("enabled"),
            let inARow = reader.count("consecutive_failures"),
            let percent = reader.count("failure_percent"),
            let requests = reader.count("min_requests"),
            let window = reader.duration("window"),
            let statuses = reader.choice("failure_statuses").flatMap(FailureStatuses.init),
            let open = reader.duration("open"),
            let maxOpen = reader.duration("max_open")
        else { return nil }
        if open > maxOpen {
            reader.problems.add(
                reader.place(of: reader.isGiven("open") ? "open" : "max_open"),
                "open: \(open.text) is more than max_open, \(maxOpen.text)")
        }
        return HealthPolicy(
            isEnabled: isEnabled, statuses: statuses, consecutiveFailures: inARow,
            failurePercent: percent, minRequests: requests, window: window, open: open,
            maxOpen: maxOpen)
    }

    func retries(_ reader: SectionReader) -> RetryPolicy? {
        guard let percent = reader.count("percent"), let perSecond = reader.count("per_second")
        else { return nil }
        return RetryPolicy(percent: percent, perSecond: perSecond)
    }
}
