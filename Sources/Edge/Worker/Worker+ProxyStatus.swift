// Proxy-Status (RFC 9209): what the proxy itself has to say about an answer.

extension Worker {
    /// Says with an answer of the proxy's own what went wrong, and how often it was tried.
    func addProxyStatus(
        _ exchange: Ref<Exchange>, _ error: ErrorReason, _ details: StaticString,
        to head: Ref<Head>
    ) {
        let name = head[].append(Bytes("proxy-status"))
        let start = head[].text.count
        head[].text.append("edge-proxy; error=")
        head[].text.append(error.proxyStatusName)
        head[].text.append("; details=\"")
        // Details may quote what they speak of; in a string that needs an escape (RFC 8941 §3.3.3).
        let text = Bytes(details)
        for index in 0..<text.count {
            if text[index] == UInt8(ascii: "\"") || text[index] == UInt8(ascii: "\\") {
                head[].text.append(UInt8(ascii: "\\"))
            }
            head[].text.append(text[index])
        }
        head[].text.append("\"")
        if exchange[].record.retry != .none { appendRetry(exchange, to: head) }
        endProxyStatus(name, start, head)
    }

    /// Says with the upstream's answer that its request was sent more than once, and why.
    ///
    /// A line of its own, behind those that the upstream has sent: together they are one list, with
    /// the proxy nearest to the client at its end (RFC 9209 §2, RFC 8941 §3.1).
    @inline(never)
    func addRetryStatus(_ exchange: Ref<Exchange>, to head: Ref<Head>) {
        let name = head[].append(Bytes("proxy-status"))
        let start = head[].text.count
        head[].text.append("edge-proxy")
        appendRetry(exchange, to: head)
        endProxyStatus(name, start, head)
    }

    private func appendRetry(_ exchange: Ref<Exchange>, to head: Ref<Head>) {
        head[].text.append("; retry=\"")
        head[].text.append(exchange[].record.retry.name)
        head[].text.append("\"; attempts=")
        head[].text.append(decimal: UInt64(exchange[].attempts))
    }

    private func endProxyStatus(_ name: TextRange, _ start: Int, _ head: Ref<Head>) {
        let value = TextRange(start: start, count: head[].text.count - start)
        _ = head[].fields.append(FieldLine(name: name, value: value, known: .other))
    }
}
