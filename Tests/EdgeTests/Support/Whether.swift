// For expectations about noncopyable values.

/// Its argument: `#expect` cannot take apart a call on a value that cannot be copied.
func whether(_ fact: Bool) -> Bool { fact }
