// From a neutral head to nghttp2's name-value list (RFC 9113 §8.2, §8.3).

import CNGHTTP2

/// Builds the list of one field section in the worker's scratch.
///
/// nghttp2 copies values, and names (in lower case) unless they are ours, when the list is
/// submitted, and decides itself what the dynamic table never holds (authorization, short cookies).
@safe
struct HTTP2FieldList: ~Copyable {
    let base: UnsafeMutablePointer<nghttp2_nv>
    private let digits: UnsafeMutablePointer<UInt8>
    private(set) var count = 0

    init(_ memory: Ref<HTTP2Memory>) {
        unsafe base = memory[].fields
        unsafe digits = memory[].digits
    }

    @inline(__always)
    mutating func add(
        _ name: Bytes, _ value: Bytes, flags: nghttp2_nv_flag = NGHTTP2_NV_FLAG_NONE
    ) {
        guard count < HTTP2Memory.fieldCapacity else { return }
        unsafe (base + count).initialize(
            to: nghttp2_nv(
                name: UnsafeMutablePointer(mutating: name.base),
                value: UnsafeMutablePointer(mutating: value.base),
                namelen: name.count, valuelen: value.count,
                flags: UInt8(truncatingIfNeeded: flags.rawValue)))
        count &+= 1
    }

    /// A name in lower case that lives as long as the process: nghttp2 keeps its address.
    @inline(__always)
    mutating func add(_ name: StaticString, _ value: Bytes) {
        add(Bytes(name), value, flags: NGHTTP2_NV_FLAG_NO_COPY_NAME)
    }

    /// `:status` in three digits.
    mutating func addStatus(_ status: UInt16) {
        let length = unsafe writeDecimal(UInt64(status), to: digits)
        unsafe add(":status", Bytes(digits, count: length))
    }

    mutating func addContentLength(_ framing: Framing) {
        guard case .length(let bytes) = framing else { return }
        let length = unsafe writeDecimal(bytes, to: digits + 8)
        unsafe add("content-length", Bytes(digits + 8, count: length))
    }

    /// The head's lines, without those dropped and those that HTTP/2 forbids or this list derives.
    @inline(__always)
    mutating func addLines(_ head: borrowing Head) {
        for index in 0..<head.fields.count {
            let line = head.fields[index]
            if line.isDropped || line.name != .other && Self.isDerived(line.name) { continue }
            if let name = line.name.text {
                add(name, head.value(line))
            } else {
                add(head.name(line), head.value(line))
            }
        }
    }

    /// RFC 9113 §8.2.2, and what pseudo-fields and framing say already.
    private static func isDerived(_ name: FieldName) -> Bool {
        switch name {
        case .connection, .keepAlive, .proxyConnection, .transferEncoding, .upgrade,
            .http2Settings, .host, .te, .contentLength:
            true
        default: false
        }
    }
}
