// A head as plain values, to compare what two readings of it made.

@testable import Edge

/// Everything that a parser derived from one head.
struct HeadImage: Equatable {
    var method: [UInt8]
    var target: [UInt8]
    var authority: [UInt8]
    var upgrade: [UInt8]
    var version: Version
    var framing: Framing
    var announcedLength: UInt64?
    var status: UInt16
    var flags: [Bool]
    var fields: [Field]

    struct Field: Equatable {
        var name: [UInt8]
        var value: [UInt8]
        var known: FieldName
        var isDropped: Bool
    }

    init(_ head: borrowing Head) {
        method = head.bytes(head.methodText).array
        target = head.bytes(head.target).array
        authority = head.bytes(head.authority).array
        upgrade = head.bytes(head.upgrade).array
        version = head.version
        framing = head.framing
        announcedLength = head.announcedLength
        status = head.status
        flags = [
            head.isSecure, head.expectsContinue, head.acceptsTrailers, head.isPersistent,
            head.nominatesFields,
        ]
        fields = []
        for index in 0..<head.fields.count {
            let line = head.fields[index]
            fields.append(
                Field(
                    name: head.name(line).array, value: head.value(line).array, known: line.name,
                    isDropped: line.isDropped))
        }
    }

    /// Names in lower case and values of the lines that go on, sorted, without `names`.
    ///
    /// Several Cookie lines count as the one that writers make of them.
    func forwarded(without names: Set<FieldName>) -> [String] {
        var cookies: [String] = []
        var lines: [String] = []
        for field in fields where !field.isDropped && !names.contains(field.known) {
            let value = String(decoding: field.value, as: UTF8.self)
            if field.known == .cookie {
                cookies.append(value)
            } else {
                let name = String(decoding: field.name, as: UTF8.self).lowercased()
                lines.append("\(name): \(value)")
            }
        }
        if !cookies.isEmpty {
            // Behind an empty one at the end the blank is no part of the value any more.
            let joined = cookies.joined(separator: "; ")
            lines.append("cookie: \(joined.hasSuffix("; ") ? String(joined.dropLast()) : joined)")
        }
        return lines.sorted()
    }
}

/// What became of an input.
enum ParseOutcome: Equatable {
    case head(HeadImage, consumed: Int)
    case incomplete
    case refused(UInt16)
}

/// A worker's memory for one input; `finish` finds what was not given back.
struct FuzzMemory: ~Copyable {
    let buffers: Ref<BufferPool>
    let heads: Ref<HeadPool>
    let http2: Ref<HTTP2Memory>

    init() {
        buffers = .allocate(BufferPool())
        heads = .allocate(HeadPool(pool: buffers))
        http2 = .allocate(HTTP2Memory())
    }

    /// Ends the memory, after all that used it.
    consuming func finish() throws(FuzzFailure) {
        let left = (buffers[].bytesInUse, heads[].inUse, http2[].bytesInUse)
        heads.destroy()
        http2.destroy()
        buffers.destroy()
        try require(
            left == (0, 0, 0), "kept: \(left.0) octets, \(left.1) heads, \(left.2) of HTTP/2")
    }
}
