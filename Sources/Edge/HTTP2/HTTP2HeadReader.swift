// From decoded field lines to a neutral head (RFC 9113 §8.2, §8.3).

/// Fills one head from the lines of one field section.
///
/// nghttp2 has already checked what is common to all HTTP/2 messages: names in lower case, legal
/// bytes, no connection-specific fields, pseudo-fields first, known, once, and complete.
struct HTTP2HeadReader: BitwiseCopyable {
    enum Section: UInt8 { case request, response, trailers }
    enum Fault: UInt8 { case none, headTooLarge, targetTooLong, unknownExpectation, malformed }

    let section: Section
    private(set) var fault = Fault.none
    /// Octets of names and values so far, those beyond the limit included.
    private(set) var octets = 0
    private var host = TextRange()
    private var contentLength: UInt64?
    private var cookieLine = -1

    init(_ section: Section) { self.section = section }

    /// Adds a line; false when the section has grown beyond all measure and must be abandoned.
    @inline(__always)
    mutating func add(_ name: Bytes, _ value: Bytes, to head: inout Head) -> Bool {
        octets &+= name.count &+ value.count &+ 32
        guard fault == .none, !name.isEmpty else { return octets <= Limits.hpackBombBytes }
        guard head.text.count + name.count + value.count + 2 <= Limits.headBytes else {
            fault = name.equals(":path") ? .targetTooLong : .headTooLarge
            return true
        }
        if name[0] == UInt8(ascii: ":") {
            addPseudo(name, value, to: &head)
        } else if section == .trailers {
            addTrailer(name, value, to: &head)
        } else {
            addField(name, value, to: &head)
        }
        return true
    }

    private mutating func addPseudo(_ name: Bytes, _ value: Bytes, to head: inout Head) {
        switch name.count {
        case 5:
            guard value.count <= Limits.targetBytes else {
                fault = .targetTooLong
                return
            }
            head.target = head.append(value)
        case 7 where name[1] == UInt8(ascii: "m"):
            head.method = Method(value)
            head.methodText = head.append(value)
        case 7 where name[2] == UInt8(ascii: "t"):
            head.status = UInt16(truncatingIfNeeded: value.decimal() ?? 0)
        case 7: head.isSecure = value.equalsIgnoringCase("https")
        case 9: head.upgrade = head.append(value)
        case 10: head.authority = head.append(value)
        default: fault = .malformed
        }
    }

    private mutating func addField(_ name: Bytes, _ value: Bytes, to head: inout Head) {
        let known = FieldName(name)
        if known == .cookie, cookieLine >= 0 { return joinCookie(value, in: &head) }
        guard head.fields.count < Limits.headFields,
            head.appendField(name, value, known: known)
        else {
            fault = .headTooLarge
            return
        }
        switch known {
        case .other: break
        case .cookie: cookieLine = head.fields.count - 1
        case .contentLength:
            guard let length = value.decimal() else {
                fault = .malformed
                return
            }
            contentLength = length
        case .host:
            let line = head.fields[head.fields.count - 1]
            guard host.isEmpty else {
                fault = .malformed
                return
            }
            host = TextRange(start: Int(line.valueStart), count: Int(line.valueCount))
        case .te: head.acceptsTrailers = value.equalsIgnoringCase("trailers")
        case .expect where section == .request:
            // As strict as HTTP/1, whose services may be the next to read it.
            if head.expectsContinue {
                fault = .malformed
                return
            }
            head.expectsContinue = value.equalsIgnoringCase("100-continue")
            if !head.expectsContinue { fault = .unknownExpectation }
        default: break
        }
    }

    /// Framing, routing and connection fields mean nothing in trailers, or harm (RFC 9110 §6.5.1).
    private mutating func addTrailer(_ name: Bytes, _ value: Bytes, to head: inout Head) {
        guard FieldRole.isAdmittedInTrailers(name, known: FieldName(name)) else { return }
        guard head.fields.count < Limits.headFields,
            head.appendField(name, value, known: .other)
        else {
            fault = .headTooLarge
            return
        }
    }

    /// RFC 9113 §8.2.3: crumbs of one cookie become one line for whoever comes next.
    private mutating func joinCookie(_ value: Bytes, in head: inout Head) {
        let line = head.fields[cookieLine]
        var start = Int(line.valueStart)
        let count = Int(line.valueCount)
        if start + count != head.text.count {
            guard head.text.count + count + value.count + 2 <= Limits.headBytes else {
                fault = .headTooLarge
                return
            }
            // Room first, so that the source does not move while it is copied.
            _ = unsafe head.text.reserve(count)
            let old = head.value(line)
            start = Int(head.append(old).start)
        }
        head.text.append("; ")
        head.text.append(value)
        head.fields[cookieLine].valueStart = UInt32(truncatingIfNeeded: start)
        head.fields[cookieLine].valueCount = UInt32(truncatingIfNeeded: count + 2 + value.count)
    }

    /// Derives what depends on the whole section.
    ///
    /// Returns the code to reset the stream with; nil when the head is good, or is a request that
    /// can be answered with the status now in the head.
    mutating func finish(_ head: inout Head, endsStream: Bool) -> UInt32? {
        head.version = .http2
        head.isPersistent = true
        if let contentLength {
            head.framing = .length(contentLength)
        } else {
            head.framing = endsStream ? .none : .chunked
        }
        switch section {
        case .trailers:
            return fault == .none ? nil : HTTP2Code.enhanceYourCalm
        case .response:
            guard fault == .none else {
                return fault == .malformed ? HTTP2Code.protocolError : HTTP2Code.enhanceYourCalm
            }
            // 101 does not exist in HTTP/2 (RFC 9113 §8.6).
            let isKnown = head.status >= 100 && head.status < 1000 && head.status != 101
            return isKnown ? nil : HTTP2Code.protocolError
        case .request:
            switch fault {
            case .malformed: return HTTP2Code.protocolError
            case .headTooLarge: head.status = 431
            case .targetTooLong: head.status = 414
            case .unknownExpectation: head.status = 417
            case .none: return checkRequest(&head)
            }
            return nil
        }
    }

    private func checkRequest(_ head: inout Head) -> UInt32? {
        if head.authority.isEmpty {
            head.authority = host
        } else if !host.isEmpty,
            !head.bytes(head.authority).equalsIgnoringASCIICase(head.bytes(host))
        {
            return HTTP2Code.protocolError
        }
        // RFC 9113 §8.3.1: no user information in :authority, nor what would make two hosts of it.
        guard AuthorityGrammar.isValid(head.bytes(head.authority)) else {
            return HTTP2Code.protocolError
        }
        if head.method == .connect, head.upgrade.isEmpty {
            head.status = 501
            return nil
        }
        return isTarget(head.bytes(head.target), head.method) ? nil : HTTP2Code.protocolError
    }

    /// Origin form, or `*` of OPTIONS (RFC 9113 §8.3.1), without fragment and control bytes.
    private func isTarget(_ target: Bytes, _ method: Method) -> Bool {
        guard !target.isEmpty else { return false }
        guard target[0] == UInt8(ascii: "/") else {
            return method == .options && target.equals("*")
        }
        for index in 0..<target.count
        where !ASCII.isTarget(target[index]) || target[index] == UInt8(ascii: "#") {
            return false
        }
        return true
    }
}
