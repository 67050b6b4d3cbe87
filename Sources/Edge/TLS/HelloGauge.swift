// How large the ClientHellos of a handshake say they are, known before OpenSSL makes room for them.

/// Follows the plaintext records at the beginning of a handshake up to the second message's header.
///
/// OpenSSL takes up to 128 KiB for a ClientHello as soon as its four bytes of header are there, so
/// that thousands of clients could hold much memory with a few bytes each. A second ClientHello is
/// one only if we ask for it (HelloRetryRequest, RFC 8446 §4.1.4); else what stands there may be
/// ciphertext.
struct HelloGauge: BitwiseCopyable {
    /// 16 KiB of ClientHello: the largest in use, with key shares against quantum computers and a
    /// ticket, have less than 4.
    static let mostBytes = 16 * 1024

    private var record: UInt64 = 0
    private var recordBytes: UInt8 = 0
    private var recordLeft = 0
    private var isHandshake = false
    private var message: UInt32 = 0
    private var messageBytes: UInt8 = 0
    private var messageLeft = 0
    private var messages: UInt8 = 0
    /// The first message is a ClientHello that is too large.
    private(set) var isFirstTooLarge = false
    /// The second message looks like one.
    private(set) var isSecondTooLarge = false

    /// Takes in what was received.
    mutating func read(_ bytes: Bytes) {
        var index = 0
        while index < bytes.count, messages < 2 {
            if recordLeft == 0 {
                record = record << 8 | UInt64(bytes[index])
                recordBytes += 1
                index += 1
                guard recordBytes == 5 else { continue }
                recordBytes = 0
                recordLeft = Int(record & 0xFFFF)
                isHandshake = record >> 32 & 0xFF == 22
                continue
            }
            let piece = min(recordLeft, bytes.count - index)
            if isHandshake { readMessages(bytes.slice(index, count: piece)) }
            recordLeft -= piece
            index += piece
        }
    }

    private mutating func readMessages(_ bytes: Bytes) {
        var index = 0
        while index < bytes.count, messages < 2 {
            if messageLeft > 0 {
                let piece = min(messageLeft, bytes.count - index)
                messageLeft -= piece
                index += piece
                continue
            }
            message = message << 8 | UInt32(bytes[index])
            messageBytes += 1
            index += 1
            guard messageBytes == 4 else { continue }
            messageBytes = 0
            messageLeft = Int(message & 0xFF_FFFF)
            if message >> 24 == 1, messageLeft > Self.mostBytes {
                if messages == 0 { isFirstTooLarge = true } else { isSecondTooLarge = true }
            }
            messages += 1
        }
    }
}
