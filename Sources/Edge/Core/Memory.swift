// The three C functions on raw memory that everything above Core does without.

import Glibc

/// Whether two runs of `count` bytes are equal.
@inline(__always)
func compareMemory(_ left: UnsafePointer<UInt8>, _ right: UnsafePointer<UInt8>, _ count: Int)
    -> Bool
{
    unsafe memcmp(left, right, count) == 0
}

/// The offset of the first `byte` in `count` bytes.
@inline(__always)
func indexInMemory(_ base: UnsafePointer<UInt8>, _ count: Int, _ byte: UInt8) -> Int? {
    guard let found = unsafe memchr(base, Int32(byte), count) else { return nil }
    return unsafe UnsafeRawPointer(found) - UnsafeRawPointer(base)
}

/// Copies `count` bytes between runs that do not overlap.
@inline(__always)
func copyMemory(_ target: UnsafeMutablePointer<UInt8>, _ source: UnsafePointer<UInt8>, _ count: Int)
{
    unsafe memcpy(target, source, count)
}
