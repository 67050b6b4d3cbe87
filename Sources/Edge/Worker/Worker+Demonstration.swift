// Answers in the place of a service, for `edge-proxy demo` and for measuring.

extension Worker {
    /// Says who was asked, over which connection and how often; ids that end in 7 take a second.
    func answerDemonstration(_ exchange: Ref<Exchange>) {
        let target = exchange[].head[].bytes(exchange[].head[].target)
        if target.isSlowDemonstration {
            exchange[].delayedAnswer = true
            loop[].timers.set(
                &exchange[].deadline, exchange[].token, at: loop[].now + .seconds(1))
            return
        }
        demonstrationDue(exchange)
    }

    func demonstrationDue(_ exchange: Ref<Exchange>) {
        exchange[].delayedAnswer = false
        guard let front = fronts[].resolve(exchange[].front) else { return }
        let request = exchange[].head
        let body = heads[].take()
        defer { heads[].give(body) }
        body[].text.append("hello from ")
        body[].text.append(request[].bytes(request[].authority))
        body[].text.append("\nrequest  ")
        body[].text.append(request[].bytes(request[].methodText))
        body[].text.append(" ")
        body[].text.append(request[].bytes(request[].target))
        body[].text.append("\nprotocol ")
        body[].text.append(Bytes(request[].version.name))
        body[].text.append("\nthis is request ")
        body[].text.append(decimal: front[].requests)
        body[].text.append(" on the connection from ")
        body[].text.append(front.peerBytes)
        body[].text.append("\n")
        let head = heads[].take()
        defer { heads[].give(head) }
        head[].status = 200
        answer(exchange, head, Bytes("text/plain"), body[].text.bytes)
    }
}

extension Bytes {
    /// Whether the demonstration's id ends in 7: a slow host.
    fileprivate var isSlowDemonstration: Bool {
        guard let mark = firstIndex(of: UInt8(ascii: "?")) else { return false }
        let query = dropFirst(mark + 1)
        guard query.hasPrefix(Bytes("id=")) else { return false }
        let end = query.firstIndex(of: UInt8(ascii: "&")) ?? query.count
        return query[end - 1] == UInt8(ascii: "7")
    }
}
