// The request that /explain and `edge-proxy explain` are asked about.

/// A request that nobody sends.
struct ExplainRequest: Sendable, Equatable {
    /// `/path?query`, or an absolute URL with the host that a client would ask for.
    var url: String
    var method = "GET"
    /// Field lines, `name: value`.
    var fields: [String] = []

    init(url: String, method: String = "GET", fields: [String] = []) throws(AdminMistake) {
        self.url = url
        self.method = method
        self.fields = fields
        guard !url.isEmpty, Self.isPrintable(url), !url.utf8.contains(ASCII.space) else {
            throw AdminMistake(message: "the URL has to be ASCII, without spaces: encode them")
        }
        guard !method.isEmpty, method.utf8.allSatisfy({ ASCII.isToken($0) }) else {
            throw AdminMistake(message: "'\(method)' is no method")
        }
        for field in fields {
            let name = field.utf8.prefix { $0 != UInt8(ascii: ":") }
            guard !name.isEmpty, name.count < field.utf8.count,
                name.allSatisfy({ ASCII.isToken($0) }), Self.isPrintable(field)
            else { throw AdminMistake(message: "a field is 'name: value', not '\(field)'") }
        }
    }

    /// The request of a query, and whether its answer is to be JSON.
    static func read(
        _ query: Bytes
    ) throws(AdminMistake) -> (request: ExplainRequest, asJSON: Bool) {
        let query = try AdminQuery(
            query, known: ["url", "method", "field", "format"], repeated: ["field"])
        guard let url = query.text("url") else {
            throw AdminMistake(message: "parameter 'url' is missing")
        }
        let format = query.text("format") ?? "text"
        guard format == "text" || format == "json" else {
            throw AdminMistake(message: "parameter 'format': expected 'text' or 'json'")
        }
        let request = try ExplainRequest(
            url: url, method: query.text("method") ?? "GET", fields: query.texts("field"))
        return (request, format == "json")
    }

    /// The page that explains it.
    func page(asJSON: Bool) -> String {
        var page = "/explain?url=\(Self.encoded(url))&method=\(Self.encoded(method))"
        for field in fields { page += "&field=\(Self.encoded(field))" }
        return page + (asJSON ? "&format=json" : "")
    }

    /// Whether it would come over TLS.
    var isSecure: Bool { !url.lowercased().hasPrefix("http://") }

    /// The request's head as a client of HTTP/1.1 would send it.
    var head: [UInt8] {
        var text = "\(method) \(url) HTTP/1.1\r\n"
        if !fields.contains(where: { $0.lowercased().hasPrefix("host:") }) {
            text += "Host: \(host)\r\n"
        }
        for field in fields { text += "\(field)\r\n" }
        return Array((text + "\r\n").utf8)
    }

    /// The host and port of an absolute URL.
    private var host: String {
        let bytes = Array(url.utf8)
        guard let mark = bytes.indices.first(where: { bytes[$0...].starts(with: "://".utf8) })
        else { return "localhost" }
        let host = bytes[(mark + 3)...].prefix { !"/?#".utf8.contains($0) }
        return bytes[0] == UInt8(ascii: "/")
            ? "localhost" : String(decoding: host, as: UTF8.self)
    }

    private static func isPrintable(_ text: String) -> Bool {
        text.utf8.allSatisfy { $0 >= ASCII.space && $0 < 0x7F }
    }

    private static func encoded(_ text: String) -> String {
        var result = ""
        for byte in text.utf8 {
            if ASCII.isLetter(byte) || ASCII.isDigit(byte) || "-._~/:".utf8.contains(byte) {
                result.unicodeScalars.append(Unicode.Scalar(byte))
            } else {
                result += byte < 16 ? "%0" : "%"
                result += String(byte, radix: 16, uppercase: true)
            }
        }
        return result
    }
}
