// An address as text, in place: written once per connection, read for every log line.

/// `127.0.0.1:80` or `[::1]:80`; the peer of a unix-domain socket is `unix`.
struct AddressText: BitwiseCopyable {
    /// 1 + 45 + 1 + 1 + 5 bytes at most.
    fileprivate(set) var text: [56 of UInt8] = .init(repeating: 0)
    private(set) var count: UInt8 = 0
    /// Where the address without port and brackets stands.
    private(set) var hostStart: UInt8 = 0
    private(set) var hostCount: UInt8 = 0

    /// No address: empty.
    init() {}

    init(_ address: SocketAddress) {
        var span = text.mutableSpan
        unsafe span.withUnsafeMutableBufferPointer { buffer in
            guard let base = buffer.baseAddress else { return }
            let isV6 = address.family == .v6
            if isV6 {
                unsafe base[0] = UInt8(ascii: "[")
                hostStart = 1
            }
            let host = unsafe address.write(to: base + Int(hostStart))
            hostCount = UInt8(host)
            var end = Int(hostStart) + host
            if isV6 {
                unsafe base[end] = UInt8(ascii: "]")
                end += 1
            }
            if address.family != .unix {
                unsafe base[end] = UInt8(ascii: ":")
                end += unsafe 1 + writeDecimal(UInt64(address.port), to: base + end + 1)
            }
            count = UInt8(end)
        }
    }
}

extension Ref<AddressText> {
    /// The whole text; valid as long as what holds it.
    var bytes: Bytes { slice(0, Int(self[].count)) }

    /// The address alone.
    var host: Bytes { slice(Int(self[].hostStart), Int(self[].hostCount)) }

    private func slice(_ start: Int, _ count: Int) -> Bytes {
        unsafe withUnsafeMutablePointer(to: &pointer.pointee.text) { text in
            let base = unsafe UnsafeRawPointer(text).assumingMemoryBound(to: UInt8.self)
            return unsafe Bytes(base + start, count: count)
        }
    }
}
