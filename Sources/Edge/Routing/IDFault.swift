// Why an id was refused, in the words that the client gets to read.

/// What is wrong with a request's id; each is answered 400.
enum IDFault: Error {
    case missing, duplicate, empty, encodedName, encodedValue
    case signed, leadingZero, notANumber, tooLarge
    case tooLong, mismatch, notAName

    /// The sentence for an id of a query parameter.
    var inQuery: StaticString {
        switch self {
        case .missing: "the query parameter with the id is missing"
        case .duplicate: "the query parameter with the id is given more than once"
        case .empty: "the id in the query is empty"
        case .encodedName: "the name of the id's query parameter is percent-encoded"
        case .encodedValue: "the id in the query is percent-encoded"
        case .signed: "the id in the query has a sign"
        case .leadingZero: "the id in the query has a leading zero"
        case .notANumber: "the id in the query is not a decimal number"
        case .tooLarge: "the id in the query is too large"
        case .tooLong: "the id in the query is too long"
        case .mismatch, .notAName: "the id in the query does not match the route's pattern"
        }
    }

    /// The sentence for an id of a path segment.
    var inSegment: StaticString {
        switch self {
        case .missing, .duplicate: "the path segment with the id is missing"
        case .empty: "the id in the path is empty"
        case .encodedName, .encodedValue: "the id in the path is percent-encoded"
        case .signed: "the id in the path has a sign"
        case .leadingZero: "the id in the path has a leading zero"
        case .notANumber: "the id in the path is not a decimal number"
        case .tooLarge: "the id in the path is too large"
        case .tooLong: "the id in the path is too long"
        case .mismatch, .notAName: "the id in the path does not match the route's pattern"
        }
    }

    /// The sentence for an id of a field.
    var inField: StaticString {
        switch self {
        case .missing: "the field with the id is missing"
        case .duplicate: "the field with the id is given more than once"
        case .empty: "the id in the field is empty"
        case .encodedName, .encodedValue: "the id in the field is percent-encoded"
        case .signed: "the id in the field has a sign"
        case .leadingZero: "the id in the field has a leading zero"
        case .notANumber: "the id in the field is not a decimal number"
        case .tooLarge: "the id in the field is too large"
        case .tooLong: "the id in the field is too long"
        case .mismatch, .notAName: "the id in the field does not match the route's pattern"
        }
    }

    /// The sentence for an id of the host's first label.
    var inHost: StaticString {
        switch self {
        case .missing, .duplicate: "the host with the id is missing"
        case .empty: "the id in the host is empty"
        case .encodedName, .encodedValue: "the id in the host is percent-encoded"
        case .signed: "the id in the host has a sign"
        case .leadingZero: "the id in the host has a leading zero"
        case .notANumber: "the id in the host is not a decimal number"
        case .tooLarge: "the id in the host is too large"
        case .tooLong: "the id in the host is too long"
        case .mismatch: "the id in the host does not match the route's pattern"
        case .notAName: "the host is an address, not a name with the id"
        }
    }
}
