// Writes heads and chunks (RFC 9112 §2, §7.1): sizes first, then one reservation, then raw copies.

/// Heads become bytes of an HTTP/1.1 connection.
///
/// The writers trust what they are given: names, values and targets come from a codec that has
/// checked them, and lines that must not be forwarded are marked as dropped.
enum HTTP1Writer {
    /// What a response says about the connection's future (RFC 9112 §9.3).
    enum Persistence {
        /// The version's default is right: no field.
        case implied
        case keepAlive
        case close
    }

    /// The most that framing and connection fields, version and status add to a head's own text.
    private static let fixedBytes = 256

    /// Writes a request head: `host` first, then the fields that are not dropped, then framing.
    ///
    /// Several `cookie` lines, as HTTP/2 sends them, become one (RFC 9113 §8.2.3). `keepsUpgrade`
    /// asks for the protocol in `head.upgrade`. `.untilClose` does not exist in requests.
    static func writeRequest(
        _ head: borrowing Head, authority: Bytes, framing: Framing, keepsUpgrade: Bool,
        into out: inout ByteQueue
    ) {
        let method = head.bytes(head.methodText)
        let target = head.bytes(head.target)
        let upgrade = keepsUpgrade ? head.bytes(head.upgrade) : .empty
        let section = FieldSection(head)
        let size =
            method.count + target.count + authority.count + upgrade.count + section.size
            + fixedBytes
        var line = unsafe RawWriter(out.reserve(size))
        line.put(method)
        line.put(UInt8(ascii: " "))
        line.put(target)
        line.put(" HTTP/1.1\r\nhost: ")
        line.put(authority)
        line.put("\r\n")
        section.write(head, to: &line)
        line.putFraming(framing)
        let asksForUpgrade = !upgrade.isEmpty
        if head.acceptsTrailers {
            line.put("te: trailers\r\n")
            line.put(asksForUpgrade ? "connection: te, upgrade\r\n" : "connection: te\r\n")
        } else if asksForUpgrade {
            line.put("connection: upgrade\r\n")
        }
        if asksForUpgrade { line.putField("upgrade: ", upgrade) }
        line.put("\r\n")
        out.commit(line.count)
    }

    /// Writes a final response head.
    ///
    /// `contentLength` is the length to announce where `framing` is `.none`: what upstream
    /// announced in an answer to HEAD or a 304 (`head.announcedLength`). A response that may have
    /// content is never written with `.none` but with `.length(0)`.
    static func writeResponse(
        _ head: borrowing Head, framing: Framing, persistence: Persistence,
        contentLength: UInt64? = nil, into out: inout ByteQueue
    ) {
        let section = FieldSection(head)
        var line = unsafe RawWriter(out.reserve(section.size + fixedBytes))
        line.putStatusLine(head.status)
        section.write(head, to: &line)
        if framing == .none, let contentLength {
            line.putFraming(.length(contentLength))
        } else {
            line.putFraming(framing)
        }
        switch persistence {
        case .implied: break
        case .keepAlive: line.put("connection: keep-alive\r\n")
        case .close: line.put("connection: close\r\n")
        }
        line.put("\r\n")
        out.commit(line.count)
    }

    /// Writes a 1xx response, which has neither content nor a say about the connection.
    static func writeInformational(_ head: borrowing Head, into out: inout ByteQueue) {
        let section = FieldSection(head)
        var line = unsafe RawWriter(out.reserve(section.size + fixedBytes))
        line.putStatusLine(head.status)
        section.write(head, to: &line)
        line.put("\r\n")
        out.commit(line.count)
    }

    /// Writes a 101 response that switches to `head.upgrade` (RFC 9110 §7.8).
    static func writeSwitchingProtocols(_ head: borrowing Head, into out: inout ByteQueue) {
        let section = FieldSection(head)
        let upgrade = head.bytes(head.upgrade)
        var line = unsafe RawWriter(out.reserve(section.size + upgrade.count + fixedBytes))
        line.putStatusLine(101)
        section.write(head, to: &line)
        line.put("connection: upgrade\r\n")
        line.putField("upgrade: ", upgrade)
        line.put("\r\n")
        out.commit(line.count)
    }

    /// Writes one chunk; nothing when there is no data, since an empty chunk would be the last.
    static func writeChunk(_ data: Bytes, into out: inout ByteQueue) {
        guard !data.isEmpty else { return }
        // Sixteen digits of size and two line ends.
        var line = unsafe RawWriter(out.reserve(data.count + 20))
        line.put(hex: UInt64(data.count))
        line.put("\r\n")
        line.put(data)
        line.put("\r\n")
        out.commit(line.count)
    }

    /// Writes the last chunk and the trailer section, without the lines that are dropped.
    static func writeLastChunk(trailers: Ref<Head>?, into out: inout ByteQueue) {
        guard let trailers else { return out.append("0\r\n\r\n") }
        writeLastChunk(trailers[], into: &out)
    }

    private static func writeLastChunk(_ trailers: borrowing Head, into out: inout ByteQueue) {
        let section = FieldSection(trailers)
        var line = unsafe RawWriter(out.reserve(section.size + 5))
        line.put("0\r\n")
        section.write(trailers, to: &line)
        line.put("\r\n")
        out.commit(line.count)
    }
}

/// The size of a head's forwarded field lines, taken before they are written.
private struct FieldSection {
    /// At most this many bytes.
    let size: Int
    private let cookieLines: Int

    @inline(__always)
    init(_ head: borrowing Head) {
        var size = 0
        var cookies = 0
        for index in 0..<head.fields.count {
            let line = head.fields[index]
            guard !line.isDropped else { continue }
            // ": " and CRLF; joined cookies need less.
            size &+= Int(line.nameCount) &+ Int(line.valueCount) &+ 4
            if line.name == .cookie { cookies &+= 1 }
        }
        self.size = size
        cookieLines = cookies
    }

    /// Writes the lines; those that stand together in the head's text as they are to be written, as
    /// an HTTP/1 parser leaves them, are copied together.
    @inline(__always)
    func write(_ head: borrowing Head, to out: inout RawWriter) {
        let text = head.text.bytes
        var runStart = 0
        var runEnd = 0
        var cookiesLeft = cookieLines
        for index in 0..<head.fields.count {
            let line = head.fields[index]
            guard !line.isDropped else { continue }
            if line.name == .cookie, cookieLines > 1 {
                out.put(text.slice(runStart, count: runEnd &- runStart))
                runEnd = runStart
                if cookiesLeft == cookieLines {
                    putCookies(head, to: &out)
                    cookiesLeft = 0
                }
                continue
            }
            let start = Int(line.nameStart)
            let end = Int(line.valueStart) &+ Int(line.valueCount) &+ 2
            let isWritable = Self.isWritable(text, line, end)
            if isWritable, start == runEnd, runEnd > runStart {
                runEnd = end
                continue
            }
            out.put(text.slice(runStart, count: runEnd &- runStart))
            runStart = start
            runEnd = end
            if !isWritable {
                out.put(head.name(line))
                out.put(": ")
                out.put(head.value(line))
                out.put("\r\n")
                runEnd = runStart
            }
        }
        out.put(text.slice(runStart, count: runEnd &- runStart))
    }

    /// Whether a line stands in the text as `name: value CRLF`.
    @inline(__always)
    private static func isWritable(_ text: Bytes, _ line: FieldLine, _ end: Int) -> Bool {
        let nameEnd = Int(line.nameStart) &+ Int(line.nameCount)
        return nameEnd &+ 2 == Int(line.valueStart) && end <= text.count
            && text[nameEnd] == UInt8(ascii: ":") && text[nameEnd &+ 1] == ASCII.space
            && text[end &- 2] == ASCII.carriageReturn && text[end &- 1] == ASCII.lineFeed
    }

    @inline(never)
    private func putCookies(_ head: borrowing Head, to out: inout RawWriter) {
        var isFirst = true
        for index in 0..<head.fields.count {
            let line = head.fields[index]
            guard line.name == .cookie, !line.isDropped else { continue }
            out.put(isFirst ? "cookie: " : "; ")
            out.put(head.value(line))
            isFirst = false
        }
        out.put("\r\n")
    }
}

/// A position in reserved memory; whoever reserved it has counted what will be put there.
@safe
private struct RawWriter {
    private let start: UnsafeMutablePointer<UInt8>
    private var place: UnsafeMutablePointer<UInt8>

    @inline(__always)
    init(_ start: UnsafeMutablePointer<UInt8>) {
        unsafe self.start = start
        unsafe place = start
    }

    @inline(__always)
    var count: Int { unsafe place - start }

    @inline(__always)
    mutating func put(_ bytes: Bytes) {
        unsafe copyMemory(place, bytes.base, bytes.count)
        unsafe place += bytes.count
    }

    @inline(__always)
    mutating func put(_ text: StaticString) { put(Bytes(text)) }

    @inline(__always)
    mutating func put(_ byte: UInt8) {
        unsafe place.pointee = byte
        unsafe place += 1
    }

    mutating func put(hex value: UInt64) {
        var shift = value == 0 ? 0 : (63 - value.leadingZeroBitCount) & ~3
        while shift >= 0 {
            let digit = UInt8(truncatingIfNeeded: value >> UInt64(shift)) & 15
            put(digit < 10 ? 0x30 + digit : 0x57 + digit)
            shift -= 4
        }
    }

    @inline(__always)
    mutating func putField(_ name: StaticString, _ value: Bytes) {
        put(name)
        put(value)
        put("\r\n")
    }

    /// The status line with the registered phrase; three digits, as every codec guarantees.
    @inline(__always)
    mutating func putStatusLine(_ status: UInt16) {
        if status == 200 { return put("HTTP/1.1 200 OK\r\n") }
        put("HTTP/1.1 ")
        unsafe place += writeDecimal(UInt64(status), to: place)
        put(UInt8(ascii: " "))
        put(Status.reasonPhrase(status))
        put("\r\n")
    }

    @inline(__always)
    mutating func putFraming(_ framing: Framing) {
        switch framing {
        case .none, .untilClose: break
        case .chunked: put("transfer-encoding: chunked\r\n")
        case .length(let length):
            put("content-length: ")
            unsafe place += writeDecimal(length, to: place)
            put("\r\n")
        }
    }
}
