// Message content: any split gives the same data, and what is written decodes to it again.

@testable import Edge

enum ChunksFuzz {
    /// What a decoder made of an input.
    struct Decoded: Equatable {
        var data: [UInt8] = []
        var trailers: [UInt8]?
        var rest: [UInt8] = []
        var isComplete = false
        var refused: UInt16?
    }

    static func run(_ bytes: [UInt8]) throws(FuzzFailure) {
        var input = FuzzInput(bytes)
        let framing: Framing =
            switch input.byte() & 7 {
            case 0: .none
            case 1: .length(UInt64(input.byte()))
            case 2: .length(UInt64(input.long()) << 32 | UInt64(input.long()))
            case 3: .untilClose
            default: .chunked
            }
        let choices = input.cuts(of: 256)
        let text = input.rest()
        let whole = decode(text, framing, cuts: [])
        let pieces = decode(text, framing, cuts: choices.map { $0 * text.count / 256 })
        try compare(whole, pieces)
        guard whole.refused == nil else { return }
        let memory = FuzzMemory()
        try encode(whole, memory.buffers)
        if let section = whole.trailers { try checkTrailers(section, whole.data, memory.buffers) }
        try memory.finish()
    }

    /// Feeds pieces that end at `cuts`, keeping unconsumed bytes as a connection's input would.
    private static func decode(_ input: [UInt8], _ framing: Framing, cuts: [Int]) -> Decoded {
        var decoder = HTTP1BodyDecoder(framing)
        var decoded = Decoded()
        var queue: [UInt8] = []
        var fed = 0
        for cut in cuts + [input.count] {
            queue += input[fed..<cut]
            fed = cut
            var consumed = 0
            do throws(MalformedMessage) {
                // The exact size lets the sanitizer see reads past the end.
                try Array(queue[...]).withBytes { (bytes) throws(MalformedMessage) in
                    try take(bytes, &decoder, &consumed, into: &decoded)
                }
            } catch {
                decoded.refused = error.status
                return decoded
            }
            queue.removeFirst(consumed)
        }
        decoded.rest = queue
        decoded.isComplete = decoder.isComplete
        return decoded
    }

    private static func take(
        _ bytes: Bytes, _ decoder: inout HTTP1BodyDecoder, _ consumed: inout Int,
        into decoded: inout Decoded
    ) throws(MalformedMessage) {
        while true {
            switch try decoder.decode(bytes, consumed: &consumed) {
            case .needsMore: return
            case .data(let data): decoded.data += data.array
            case .end(let trailers):
                guard let trailers else { return }
                decoded.trailers =
                    bytes.slice(Int(trailers.start), count: Int(trailers.count)).array
                return
            }
        }
    }

    private static func compare(_ whole: Decoded, _ pieces: Decoded) throws(FuzzFailure) {
        // A fault ends the reading at once; what was handed out before it depends on nothing.
        try require(whole == pieces, "whole: \(whole)\npieces: \(pieces)")
        try require(whole.data.isEmpty || whole.refused == nil || pieces.refused != nil, "verdict")
    }

    /// Content in chunks of our own decodes to itself.
    private static func encode(_ decoded: Decoded, _ pool: Ref<BufferPool>) throws(FuzzFailure) {
        var out = ByteQueue(pool: pool)
        decoded.data.withBytes {
            let half = $0.count / 2
            HTTP1Writer.writeChunk($0.prefix(half), into: &out)
            HTTP1Writer.writeChunk($0.dropFirst(half), into: &out)
        }
        HTTP1Writer.writeLastChunk(trailers: nil, into: &out)
        let again = decode(out.bytes.array, .chunked, cuts: [])
        try require(
            again == Decoded(data: decoded.data, isComplete: true), "re-encoded: \(again)")
    }

    /// A trailer section that is accepted is forwarded as one that is accepted and says the same.
    private static func checkTrailers(
        _ section: [UInt8], _ data: [UInt8], _ pool: Ref<BufferPool>
    ) throws(FuzzFailure) {
        let trailers = Ref.allocate(Head(pool: pool))
        defer { trailers.destroy() }
        guard parse(section, into: trailers) else { return }
        let image = HeadImage(trailers[])
        var out = ByteQueue(pool: pool)
        HTTP1Writer.writeLastChunk(trailers: trailers, into: &out)
        let again = decode(out.bytes.array, .chunked, cuts: [])
        try require(again.isComplete && again.rest.isEmpty && again.data.isEmpty, "\(again)")
        let read = Ref.allocate(Head(pool: pool))
        defer { read.destroy() }
        try require(parse(again.trailers ?? [], into: read), "trailers that cannot be read again")
        try require(
            HeadImage(read[]).forwarded(without: []) == image.forwarded(without: []),
            "\(HeadImage(read[]))\ninstead of \(image)")
    }

    private static func parse(_ section: [UInt8], into head: Ref<Head>) -> Bool {
        do throws(MalformedMessage) {
            try section.withBytes { (bytes) throws(MalformedMessage) in
                try HTTP1TrailerParser.parse(bytes, into: &head[])
            }
            return true
        } catch { return false }
    }
}
