// Civil time for log lines, without a conversion per line.

/// Year, month and day of days since 1970-01-01, in the proleptic Gregorian calendar.
struct CivilDate: Equatable, Sendable {
    let year: Int
    let month: Int
    let day: Int

    /// By eras of 400 years that begin on 1 March, so that the leap day comes last.
    init(daysSinceEpoch: Int) {
        let days = daysSinceEpoch + 719_468
        let era = (days >= 0 ? days : days - 146_096) / 146_097
        let dayOfEra = days - era * 146_097
        let yearOfEra =
            (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shifted = (5 * dayOfYear + 2) / 153
        day = dayOfYear - (153 * shifted + 2) / 5 + 1
        month = shifted < 10 ? shifted + 3 : shifted - 9
        year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
    }
}

/// The text of the current second, kept until the second changes.
///
///     rfc3339: 2026-01-01T00:00:00     common: 01/Jan/2026:00:00:00 +0000
struct CivilClock {
    private var second = Int64.min
    private var day = Int64.min
    private(set) var rfc3339: [20 of UInt8] = .init(repeating: 0)
    private(set) var common: [26 of UInt8] = .init(repeating: 0)

    static var rfc3339Count: Int { 19 }
    static var commonCount: Int { 26 }

    /// Turns the clock to `time`, clamped to the years 1970…9999; returns its milliseconds.
    @inline(__always)
    mutating func turn(to time: WallTime) -> Int {
        let nanoseconds = max(0, time.nanoseconds)
        let (now, rest) = nanoseconds.quotientAndRemainder(dividingBy: 1_000_000_000)
        if now != second { turn(toSecond: now) }
        return Int(rest / 1_000_000)
    }

    @inline(never)
    private mutating func turn(toSecond now: Int64) {
        second = now
        if now / 86_400 != day {
            day = now / 86_400
            turn(toDay: Int(day))
        }
        let ofDay = Int(now % 86_400)
        put(ofDay / 3600, at: 11, 12)
        put(ofDay / 60 % 60, at: 14, 15)
        put(ofDay % 60, at: 17, 18)
    }

    private mutating func turn(toDay day: Int) {
        let date = CivilDate(daysSinceEpoch: day)
        let year = min(date.year, 9999)
        Self.fill(&rfc3339, "0000-00-00T00:00:00")
        Self.fill(&common, "00/xxx/0000:00:00:00 +0000")
        rfc3339[0] = Self.digit(year / 1000)
        rfc3339[1] = Self.digit(year / 100 % 10)
        rfc3339[2] = Self.digit(year / 10 % 10)
        rfc3339[3] = Self.digit(year % 10)
        rfc3339[5] = Self.digit(date.month / 10)
        rfc3339[6] = Self.digit(date.month % 10)
        rfc3339[8] = Self.digit(date.day / 10)
        rfc3339[9] = Self.digit(date.day % 10)
        common[0] = rfc3339[8]
        common[1] = rfc3339[9]
        let months = Bytes("JanFebMarAprMayJunJulAugSepOctNovDec")
        for index in 0..<3 { common[3 + index] = months[(date.month - 1) * 3 + index] }
        for index in 0..<4 { common[7 + index] = rfc3339[index] }
    }

    /// Two digits at the same place of the time of day in both texts, one byte apart.
    private mutating func put(_ value: Int, at tens: Int, _ ones: Int) {
        rfc3339[tens] = Self.digit(value / 10)
        rfc3339[ones] = Self.digit(value % 10)
        common[tens + 1] = rfc3339[tens]
        common[ones + 1] = rfc3339[ones]
    }

    private static func digit(_ value: Int) -> UInt8 { UInt8(truncatingIfNeeded: 0x30 + value) }

    private static func fill<let count: Int>(_ target: inout [count of UInt8], _ text: StaticString)
    {
        let bytes = Bytes(text)
        for index in 0..<bytes.count { target[index] = bytes[index] }
    }
}
