// Options of the breaker and of retries.

extension ConfigurationSchema {
    private static let span = Duration.milliseconds(1)...(.seconds(3600))

    static let health = ConfigurationSection(
        "upstream.health",
        "A host that fails is left alone for a while: its requests are answered 503 at once.",
        [
            .init("enabled", .boolean, .value("true"), "Watch what requests come to, per host."),
            .init(
                "consecutive_failures", .count(1...1_000_000), .value("5"),
                "Failures in a row that open the breaker. A failure is a connection that cannot "
                    + "be made, one that ends before its first answer, an answer that is not HTTP, "
                    + "none within `response_timeout`, or a status of `failure_statuses`. "
                    + "A client that leaves, a limit of the proxy and a name that is not "
                    + "resolved are none."),
            .init(
                "failure_percent", .count(1...100), .value("50"),
                "Share of the requests within `window` that opens it as well."),
            .init(
                "min_requests", .count(1...1_000_000), .value("20"),
                "Requests within `window` before `failure_percent` counts."),
            .init("window", .duration(span), .value("10s"), "Begins with a failure."),
            .init(
                "failure_statuses", .choice(["none", "gateway", "all"]), .value("gateway"),
                "Answers that are failures: `gateway` are 502, 503 and 504, `all` are 500 to 599."),
            .init(
                "open", .duration(span), .value("1s"),
                "How long the breaker is open before one request is let through as a probe. "
                    + "Doubles with each probe that fails; up to a quarter is added at random."),
            .init(
                "max_open", .duration(span), .value("30s"), "The longest that doubling leads to."),
        ])

    static let retries = ConfigurationSection(
        "upstream.retries",
        "A host's budget for requests that may safely be sent once more. Those that never left "
            + "are sent again without it; `max_in_flight_per_host` retries may come at once.",
        [
            .init("percent", .count(0...100), .value("20"), "Retries for a hundred requests."),
            .init(
                "per_second", .count(0...1_000_000), .value("10"),
                "Retries in a second besides, however few the requests. With `percent: 0` too, "
                    + "nothing is retried that has left."),
        ])
}
