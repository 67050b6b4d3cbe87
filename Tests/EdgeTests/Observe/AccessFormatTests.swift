import Testing

@testable import Edge

/// The texts of an exchange as strings or bytes, lent to a call.
struct SampleTexts {
    var client = Array("127.0.0.1:5000".utf8)
    var method = Array("GET".utf8)
    var host = Array("localhost:8443".utf8)
    var target = Array("/api/x?id=42".utf8)
    var id = Array("42".utf8)
    var upstream = Array("id-42.apps:80".utf8)
    var upstreamAddress = Array("127.0.0.2:80".utf8)
    var userAgent = Array("curl/7.88".utf8)

    static var empty: SampleTexts {
        SampleTexts(
            client: [], method: [], host: [], target: [], id: [], upstream: [],
            upstreamAddress: [], userAgent: [])
    }

    func lend<Result>(_ body: (AccessTexts) -> Result) -> Result {
        let all = [client, method, host, target, id, upstream, upstreamAddress, userAgent]
        return all.joined().map { $0 }.withBytes { bytes in
            var start = 0
            func next(_ text: [UInt8]) -> Bytes {
                defer { start += text.count }
                return bytes.slice(start, count: text.count)
            }
            var texts = AccessTexts()
            texts.client = next(client)
            texts.method = next(method)
            texts.host = next(host)
            texts.target = next(target)
            texts.id = next(id)
            texts.upstream = next(upstream)
            texts.upstreamAddress = next(upstreamAddress)
            texts.userAgent = next(userAgent)
            return body(texts)
        }
    }
}

extension AccessRecord {
    static var sample: AccessRecord {
        var record = AccessRecord()
        record.start = WallTime(nanoseconds: 1_767_225_600_007_999_999)
        record.status = 200
        record.sent = 128
        record.attempts = 1
        record.version = .http2
        record.upstreamVersion = .http11
        record.tls = .tls13
        record.isReused = true
        record.queue = .zero
        record.dial = .zero
        record.response = .microseconds(1204)
        record.total = .microseconds(1391)
        return record
    }
}

@Suite("Access log lines") struct AccessFormatTests {
    static func line(
        _ form: AccessFormat, _ record: AccessRecord, _ texts: SampleTexts
    ) -> [UInt8] {
        var clock = CivilClock()
        return texts.lend { texts in
            let buffer = UnsafeMutablePointer<UInt8>.allocate(capacity: AccessFormat.mostBytes)
            defer { unsafe buffer.deallocate() }
            let end = unsafe form.write(record, texts.bounded, &clock, to: buffer)
            return unsafe Bytes(buffer, count: end - buffer).array
        }
    }

    static func text(
        _ form: AccessFormat, _ record: AccessRecord, _ texts: SampleTexts
    ) -> String {
        String(decoding: line(form, record, texts), as: UTF8.self)
    }

    @Test("JSON with everything present")
    func jsonFull() {
        let expected = #"""
            {"time":"2026-01-01T00:00:00.007Z","client":"127.0.0.1:5000","method":"GET",\#
            "host":"localhost:8443","target":"/api/x?id=42","protocol":"HTTP/2.0",\#
            "tls":"TLSv1.3","status":200,"id":"42","upstream":"id-42.apps:80",\#
            "upstream_address":"127.0.0.2:80","upstream_protocol":"HTTP/1.1","reused":true,\#
            "attempts":1,"received":0,"sent":128,"queue_ms":0.0,"dial_ms":0.0,\#
            "response_ms":1.204,"total_ms":1.391,"error":null,"retry":null,\#
            "user_agent":"curl/7.88"}

            """#
        #expect(Self.text(.json, .sample, SampleTexts()) == expected)
    }

    @Test("JSON with everything absent")
    func jsonEmpty() {
        let expected = #"""
            {"time":"1970-01-01T00:00:00.000Z","client":null,"method":null,"host":null,\#
            "target":null,"protocol":"HTTP/1.1","tls":null,"status":null,"id":null,\#
            "upstream":null,"upstream_address":null,"upstream_protocol":null,"reused":null,\#
            "attempts":0,"received":0,"sent":0,"queue_ms":null,"dial_ms":null,\#
            "response_ms":null,"total_ms":null,"error":null,"retry":null,"user_agent":null}

            """#
        #expect(Self.text(.json, AccessRecord(), .empty) == expected)
    }

    @Test("JSON with an error and a retry")
    func jsonError() {
        var record = AccessRecord.sample
        record.status = 504
        record.error = .responseTimeout
        record.retry = .reusedAndNoBytesAndIdempotent
        record.isReused = false
        record.tls = .tls12
        record.version = .http10
        record.received = .max
        record.total = .seconds(60)
        let text = Self.text(.json, record, SampleTexts())
        #expect(text.contains(#""error":"http_response_timeout","#))
        #expect(text.contains(#""retry":"reused_and_no_bytes_and_idempotent","#))
        #expect(text.contains(#""reused":false,"#))
        #expect(text.contains(#""tls":"TLSv1.2","status":504"#))
        #expect(text.contains(#""received":18446744073709551615,"#))
        #expect(text.contains(#""total_ms":60000.0,"#))
        #expect(text.contains(#""protocol":"HTTP/1.0""#))
    }

    @Test(
        "milliseconds keep what is not zero",
        arguments: [
            (0, "0.0"), (999, "0.0"), (1000, "0.001"), (10_000, "0.01"), (100_000, "0.1"),
            (1_050_000, "1.05"), (-5, "0.0"), (Int64.max, "9223372036854.775"),
        ] as [(Int64, String)])
    func milliseconds(nanoseconds: Int64, expected: String) {
        var record = AccessRecord.sample
        record.total = Duration(nanoseconds: nanoseconds)
        #expect(Self.text(.json, record, SampleTexts()).contains("\"total_ms\":\(expected),"))
    }

    @Test("every byte at every offset is escaped as it must be")
    func escapes() {
        for byte in UInt8.min...UInt8.max {
            for offset in 0..<9 {
                var texts = SampleTexts()
                texts.target = [UInt8](repeating: 0x61, count: 9)
                texts.target[offset] = byte
                let line = Self.line(.json, .sample, texts)
                #expect(JSONChecker.accepts(line))
                let hex = (byte < 16 ? "0" : "") + String(byte, radix: 16)
                let form =
                    byte == 0x22 || byte == 0x5C
                    ? "\\" + String(Unicode.Scalar(byte))
                    : byte < 0x20 || byte > 0x7E
                        ? "\\u00" + hex : String(Unicode.Scalar(byte))
                let before = String(repeating: "a", count: offset)
                let after = String(repeating: "a", count: 8 - offset)
                let text = String(decoding: line, as: UTF8.self)
                #expect(text.contains("\"target\":\"\(before)\(form)\(after)\""))
            }
        }
    }

    @Test("random bytes still give valid JSON and one line", arguments: 0..<8)
    func random(seed: Int) {
        var state = UInt64(seed) &* 0x9E37_79B9_7F4A_7C15 | 1
        func next() -> UInt64 {
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            return state
        }
        func bytes(_ most: UInt64) -> [UInt8] {
            (0..<next() % most).map { _ in UInt8(truncatingIfNeeded: next() >> 20) }
        }
        for _ in 0..<12 {
            let texts = SampleTexts(
                client: bytes(40), method: bytes(40), host: bytes(400), target: bytes(3000),
                id: bytes(200), upstream: bytes(400), upstreamAddress: bytes(200),
                userAgent: bytes(400))
            var record = AccessRecord.sample
            record.sent = next()
            record.start = WallTime(nanoseconds: Int64(bitPattern: next()))
            record.response = Duration(nanoseconds: Int64(bitPattern: next()))
            for form in AccessFormat.allCases {
                let line = Self.line(form, record, texts)
                #expect(line.count <= AccessFormat.mostBytes)
                #expect(line.last == 0x0A)
                #expect(line.dropLast().allSatisfy { $0 >= 0x20 && $0 < 0x7F })
                if form == .json { #expect(JSONChecker.accepts(line)) }
            }
        }
    }

    @Test("the longest texts fit, and are cut")
    func longest() {
        let long = [UInt8](repeating: 0xFF, count: 70_000)
        let texts = SampleTexts(
            client: long, method: long, host: long, target: long, id: long, upstream: long,
            upstreamAddress: long, userAgent: long)
        let line = Self.line(.json, .sample, texts)
        #expect(line.count <= AccessFormat.mostBytes)
        #expect(line.count > AccessTexts.mostBytes * 6)
        #expect(JSONChecker.accepts(line))
    }

    @Test("common format")
    func common() {
        var record = AccessRecord.sample
        record.start = WallTime(nanoseconds: 1_791_640_536_000_000_000)
        record.sent = 2326
        var texts = SampleTexts()
        texts.target = Array("/x".utf8)
        #expect(
            Self.text(.common, record, texts)
                == "127.0.0.1 - - [10/Oct/2026:13:55:36 +0000] \"GET /x HTTP/2.0\" 200 2326\n")
        texts.client = Array("[2001:db8::1]:443".utf8)
        texts.target = Array("/\"\\\u{e9}\n".utf8)
        #expect(
            Self.text(.common, record, texts)
                == "2001:db8::1 - - [10/Oct/2026:13:55:36 +0000] "
                + "\"GET /\\\"\\\\\\xc3\\xa9\\x0a HTTP/2.0\" 200 2326\n")
        #expect(
            Self.text(.common, AccessRecord(), .empty)
                == "- - - [01/Jan/1970:00:00:00 +0000] \"-\" - 0\n")
    }

    @Test(
        "client addresses lose their port only",
        arguments: [
            ("10.0.0.1", "10.0.0.1"), ("unix:", "unix:"), ("unix:/run/x", "unix:/run/x"),
            (":80", ":80"), ("[]:1", "[]"), ("a:", "a:"),
        ])
    func clients(client: String, expected: String) {
        var texts = SampleTexts()
        texts.client = Array(client.utf8)
        #expect(Self.text(.common, .sample, texts).hasPrefix(expected + " - - ["))
    }
}

@Suite("Civil time") struct CivilClockTests {
    @Test(
        "days become dates",
        arguments: [
            (0, 1970, 1, 1), (59, 1970, 3, 1), (789, 1972, 2, 29), (11_016, 2000, 2, 29),
            (20_454, 2026, 1, 1), (47_540, 2100, 2, 28), (47_541, 2100, 3, 1), (-1, 1969, 12, 31),
            (2_932_896, 9999, 12, 31),
        ])
    func dates(days: Int, year: Int, month: Int, day: Int) {
        let date = CivilDate(daysSinceEpoch: days)
        #expect(date.year == year && date.month == month && date.day == day)
    }

    @Test("consecutive days differ by one day through four centuries")
    func consecutive() {
        var last = CivilDate(daysSinceEpoch: 0)
        for days in 1..<150_000 {
            let date = CivilDate(daysSinceEpoch: days)
            let isNextDay = date.month == last.month && date.day == last.day + 1
            let isNextMonth = date.day == 1 && last.day >= 28 && date.month == last.month % 12 + 1
            guard isNextDay || isNextMonth else {
                Issue.record("\(last) is followed by \(date)")
                return
            }
            last = date
        }
    }

    @Test("the clock turns forwards and backwards")
    func turns() {
        let texts = [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_767_225_599_999_999_999, "2025-12-31T23:59:59.999Z"),
            (1_767_225_600_000_000_000, "2026-01-01T00:00:00.000Z"),
            (951_868_799_012_000_000, "2000-02-29T23:59:59.012Z"),
            (-1, "1970-01-01T00:00:00.000Z"),
            (Int64.max, "2262-04-11T23:47:16.854Z"),
        ]
        for (nanoseconds, text) in texts + texts.reversed() {
            #expect(ControlLog.timestamp(WallTime(nanoseconds: nanoseconds)) == text)
        }
    }
}
