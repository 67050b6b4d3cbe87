// Frames found in what a client sends, however it is cut, and streams that are closed.

import Testing

@testable import Edge

private func frame(_ type: UInt8, _ flags: UInt8, _ stream: UInt8, _ payload: [UInt8]) -> [UInt8] {
    [0, UInt8(payload.count >> 8), UInt8(payload.count & 255), type, flags, 0x80, 0, 0, stream]
        + payload
}

private let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)

/// Calls with each frame that is found in pieces of so many octets.
private func find(
    _ input: [UInt8], in reader: inout HTTP2FrameReader, by size: Int,
    _ found: (HTTP2FrameHeader) -> Void
) {
    for start in stride(from: 0, to: input.count, by: size) {
        let piece = Array(input[start..<min(start + size, input.count)])
        piece.withBytes { bytes in
            var position = 0
            while let frame = reader.next(bytes, &position) {
                #expect(frame.start >= 0 && frame.start <= position)
                found(frame)
            }
            #expect(position == piece.count)
        }
    }
}

@Suite("Frames of an HTTP/2 client") struct HTTP2ClientFramesTests {
    @Test("frames are found however the input is cut", arguments: [1, 2, 3, 8, 9, 10, 13, 14, 999])
    func cut(size: Int) {
        let input =
            preface + frame(4, 0, 0, []) + frame(1, 5, 1, Array(repeating: 9, count: 300))
            + frame(2, 0, 3, [0x80, 0, 0, 7, 9]) + frame(2, 0, 5, [1, 2, 3])
            + frame(0, 1, 1, [1, 2, 3]) + frame(8, 0, 0, [0, 0, 0, 1])
        var reader = HTTP2FrameReader(.server)
        var found: [[Int]] = []
        find(input, in: &reader, by: size) { frame in
            found.append([
                Int(frame.type), Int(frame.flags), Int(frame.stream), frame.length,
                frame.isDependency ? Int(frame.dependency) : -1,
            ])
        }
        #expect(
            found == [
                [4, 0, 0, 0, -1], [1, 5, 1, 300, -1], [2, 0, 3, 5, 7], [2, 0, 5, 3, -1],
                [0, 1, 1, 3, -1], [8, 0, 0, 4, -1],
            ])
    }

    @Test("streams that were opened or passed over must be open; those reset here need not be")
    func streams() {
        let input =
            preface + frame(0, 0, 1, []) + frame(1, 5, 7, []) + frame(0, 0, 7, [])
            + frame(1, 5, 3, []) + frame(1, 5, 9, []) + frame(1, 5, 9, []) + frame(0, 0, 2, [])
        var needs: [Bool] = []
        var reader = HTTP2FrameReader(.server)
        var frames = HTTP2ClientFrames()
        find(input, in: &reader, by: 999) { frame in
            needs.append(frames.needsOpenStream(frame))
        }
        #expect(needs == [false, false, true, true, false, true, false])
        #expect(frames.faultOfClosed(5) == HTTP2Code.protocolError)
        #expect(frames.faultOfClosed(7) == HTTP2Code.streamClosed)
        frames.forgive(7)
        find(frame(0, 0, 7, []) + frame(0, 0, 9, []), in: &reader, by: 999) { frame in
            #expect(frames.needsOpenStream(frame) == (frame.stream == 9))
        }
    }

    @Test("what is wrong by itself")
    func faults() {
        let input =
            preface + frame(2, 0, 0, [0, 0, 0, 1, 9]) + frame(2, 0, 5, [0, 0, 0, 5, 9])
            + frame(2, 0, 5, [0, 0, 0, 7, 9]) + frame(9, 4, 1, Array(repeating: 0, count: 16_384))
            + frame(9, 4, 1, Array(repeating: 0, count: 16_385))
        var faults: [UInt32?] = []
        var reader = HTTP2FrameReader(.server)
        let frames = HTTP2ClientFrames()
        find(input, in: &reader, by: 999) { frame in faults.append(frames.fault(frame)) }
        let illegal = HTTP2Code.protocolError
        #expect(faults == [illegal, illegal, nil, nil, HTTP2Code.frameSizeError])
    }

    @Test("a frame that may close its stream is noted, and one that is SETTINGS says so")
    func notes() {
        let inputs: [([UInt8], Bool, Bool)] = [
            (frame(3, 0, 1, [0, 0, 0, 8]), true, false), (frame(0, 1, 1, []), true, false),
            (frame(1, 5, 1, []), true, false), (frame(0, 8, 1, [0]), false, false),
            (frame(4, 0, 0, []), false, true), (frame(4, 1, 0, []), false, false),
            (frame(6, 1, 0, Array(repeating: 0, count: 8)), false, false),
        ]
        var reader = HTTP2FrameReader(.server)
        find(preface, in: &reader, by: 24) { _ in }
        for (input, closes, settles) in inputs {
            var frames = HTTP2ClientFrames()
            find(input, in: &reader, by: 3) { frame in
                frames.note(frame)
                #expect(frame.isSettings == settles)
            }
            #expect(frames.mayHaveClosed == closes)
        }
    }
}
