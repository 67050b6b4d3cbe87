// Words that the project does not use, and what every file says of itself.

import Testing

/// Banned words with what to say instead.
private enum Words {
    static let banned: [String: String] = [
        "downstream": "front",
        "backend": "upstream or host",
        "ctx": "the thing's name",
        "manager": "what it does",
        "helper": "what it does",
        "util": "what it does",
        "todo": "do it",
        "fixme": "fix it",
        "xxx": "say what is odd",
    ]

    /// Identifiers of C libraries keep their names: their prefixes.
    ///
    /// `edge_ssl_ctx_` stands for the macros `SSL_CTX_…` that Swift cannot call.
    static let foreignPrefixes = [
        "SSL_", "EVP_", "X509_", "OSSL_", "CRYPTO_EX_INDEX_SSL_CTX", "nghttp2_", "ares_",
        "edge_ssl_ctx_",
    ]

    /// C headers speak the language of the library they wrap; their comments speak ours.
    static func mayUseForeignWords(_ file: SourceFile) -> Bool { file.path.hasSuffix(".h") }

    static func isForeign(_ word: Word) -> Bool {
        foreignPrefixes.contains { word.text.hasPrefix($0) }
    }

    /// The parts of an identifier or a text: `hostName_id` is host, name, id.
    static func parts(of text: String) -> [String] {
        var parts: [String] = []
        var part = ""
        var previousIsLower = false
        for character in text {
            if !character.isLetter || (character.isUppercase && previousIsLower) {
                if !part.isEmpty { parts.append(part.lowercased()) }
                part = ""
            }
            if character.isLetter { part.append(character) }
            previousIsLower = character.isLowercase
        }
        return part.isEmpty ? parts : parts + [part.lowercased()]
    }

    /// The banned word in `text`, its plural included.
    static func bannedWord(in text: String) -> String? {
        parts(of: text).first { part in
            banned[part] != nil || (part.hasSuffix("s") && banned[String(part.dropLast())] != nil)
        }
    }
}

@Suite struct WordTests {
    @Test func identifiersUseTheVocabulary() {
        report(
            SourceTree.sources.filter { !Words.mayUseForeignWords($0) }.flatMap { file in
                file.swift.words.compactMap { word in
                    guard !Words.isForeign(word), let banned = Words.bannedWord(in: word.text)
                    else { return nil }
                    return Finding(
                        path: file.path, line: word.line, what: "'\(banned)' in \(word.text)")
                }
            })
    }

    @Test func commentsUseTheVocabulary() {
        report(
            SourceTree.sources.flatMap { file in
                SwiftText.words(in: file.swift.comments).compactMap { word in
                    guard !Words.isForeign(word), let banned = Words.bannedWord(in: word.text)
                    else { return nil }
                    return Finding(path: file.path, line: word.line, what: "'\(banned)'")
                }
            })
    }

    @Test func wordsAreFoundInsideIdentifiers() {
        #expect(Words.bannedWord(in: "connectionManager") == "manager")
        #expect(Words.bannedWord(in: "path_utils") == "utils")
        #expect(Words.bannedWord(in: "contextual") == nil)
        #expect(Words.bannedWord(in: "managerial") == nil)
    }

    @Test func everyFileStatesItsPurpose() {
        report(
            SourceTree.swiftSources.compactMap { file in
                guard let first = file.lines.first, first.hasPrefix("// "), first.hasSuffix(".")
                else { return Finding(path: file.path, line: 1, what: "no purpose line") }
                return nil
            })
    }
}
