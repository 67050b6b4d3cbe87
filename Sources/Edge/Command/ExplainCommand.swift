// `edge-proxy explain`: what would become of a request, asked of a running proxy or of a file.

extension EdgeCommand {
    /// Exit status of `explain` for a request that would not be forwarded.
    package static let refusedExit: Int32 = 3

    /// Explains a request: 0 it would be forwarded, 3 it would be refused, 1 nobody can tell.
    ///
    /// - Parameters:
    ///   - admin: the admin listener of a running proxy; nil to go by the file alone.
    ///   - config: the configuration file; only the route, the id and the key follow from it.
    package static func explain(
        _ url: String, method: String, fields: [String], admin: String?, config: String?,
        asJSON: Bool
    ) -> Int32 {
        do {
            let request = try ExplainRequest(url: url, method: method, fields: fields)
            let isForwarded: Bool
            if let admin {
                isForwarded = try printAnswer(
                    try AdminClient.address(admin: admin, config: nil),
                    request.page(asJSON: asJSON), asJSON: asJSON)
            } else {
                let configuration = try Configuration.load(path: config ?? "")
                let explanation = try Explainer(configuration).explain(request).explanation
                print(asJSON ? explanation.json : explanation.text, terminator: "")
                isForwarded = explanation.isForwarded
            }
            return isForwarded ? ProxyExit.clean : refusedExit
        } catch let mistake as AdminMistake {
            StandardError.write("\(mistake.message)\n")
        } catch {
            StandardError.write("\(error)\n")
        }
        return ProxyExit.notStarted
    }

    /// Prints the page of a running proxy; true when its first words say that it would forward.
    private static func printAnswer(
        _ address: ListenAddress, _ page: String, asJSON: Bool
    ) throws -> Bool {
        let (status, body) = try AdminClient.get(address: address, path: page)
        let text = String(decoding: body, as: UTF8.self)
        guard status == 200 else { throw AdminFailure("\(address.text): \(text)") }
        print(text, terminator: "")
        return text.hasPrefix(asJSON ? "{\"forwarded\":true" : "forwarded: ")
    }
}
