// Diagnostics of the control plane: swift-log's events as lines on standard error.

import Logging
import Synchronization

/// The level of all control-plane loggers, changed by a reload.
final class ControlLogLevel: Sendable {
    private let index: Atomic<Int>

    init(_ level: Logger.Level) { index = Atomic(Self.position(of: level)) }

    var current: Logger.Level {
        get { Logger.Level.allCases[index.load(ordering: .relaxed)] }
        set { index.store(Self.position(of: newValue), ordering: .relaxed) }
    }

    private static func position(of level: Logger.Level) -> Int {
        Logger.Level.allCases.firstIndex(of: level) ?? 0
    }
}

/// Writes `2026-01-01T00:00:00.000Z info message key=value …`, one write per line.
///
/// Keys are sorted; a value with anything but plain printable text is quoted and escaped.
struct ControlLog: LogHandler {
    var metadata: Logger.Metadata = [:]
    var metadataProvider: Logger.MetadataProvider?
    private let level: ControlLogLevel
    private var ownLevel: Logger.Level?
    private let write: @Sendable ([UInt8]) -> Void

    init(
        level: ControlLogLevel,
        write: @escaping @Sendable ([UInt8]) -> Void = { LogTarget.writeError($0) }
    ) {
        self.level = level
        self.write = write
    }

    /// A logger that writes to standard error at the shared level.
    static func logger(_ level: ControlLogLevel) -> Logger {
        Logger(label: "edge-proxy") { _ in ControlLog(level: level) }
    }

    var logLevel: Logger.Level {
        get { ownLevel ?? level.current }
        set { ownLevel = newValue }
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        var values = metadata
        if let provided = metadataProvider?.get() { values.merge(provided) { $1 } }
        if let given = event.metadata { values.merge(given) { $1 } }
        if let error = event.error, values["error"] == nil { values["error"] = "\(error)" }
        write(
            Self.line(
                WallTime.now(), event.level.rawValue, event.message.description,
                values.map { ($0.key, $0.value.description) }))
    }

    /// One line with its line feed; control characters of the message become `\u{…}` escapes.
    static func line(
        _ time: WallTime, _ level: String, _ message: String, _ values: [(String, String)]
    ) -> [UInt8] {
        var text = "\(timestamp(time)) \(level) \(escaped(message, quotes: false))"
        for (key, value) in values.sorted(by: { $0.0 < $1.0 }) {
            text += " \(escaped(key, quotes: false))="
            text += needsQuotes(value) ? "\"\(escaped(value, quotes: true))\"" : value
        }
        return Array(text.utf8) + [ASCII.lineFeed]
    }

    /// `2026-01-01T00:00:00.000Z`.
    static func timestamp(_ time: WallTime) -> String {
        var clock = CivilClock()
        let milliseconds = clock.turn(to: time)
        let digits = String(milliseconds)
        var text = ""
        for index in 0..<CivilClock.rfc3339Count {
            text.unicodeScalars.append(Unicode.Scalar(clock.rfc3339[index]))
        }
        return "\(text).\(String(repeating: "0", count: 3 - digits.utf8.count))\(digits)Z"
    }

    private static func needsQuotes(_ value: String) -> Bool {
        value.isEmpty
            || value.unicodeScalars.contains {
                $0.value <= 0x20 || $0 == "\"" || $0 == "=" || $0 == "\\" || isControl($0)
            }
    }

    /// C0, C1 and the separators that some terminals break lines at.
    private static func isControl(_ scalar: Unicode.Scalar) -> Bool {
        scalar.value < 0x20 || (0x7F..<0xA0).contains(scalar.value)
            || scalar.value == 0x2028 || scalar.value == 0x2029
    }

    private static func escaped(_ text: String, quotes: Bool) -> String {
        var result = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\n": result += "\\n"
            case "\r": result += "\\r"
            case "\t": result += "\\t"
            case "\"" where quotes: result += "\\\""
            case "\\" where quotes: result += "\\\\"
            case _ where isControl(scalar):
                result += "\\u{\(String(scalar.value, radix: 16))}"
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result
    }
}
