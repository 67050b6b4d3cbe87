// Memory blocks in powers of two, recycled by one worker.

/// Free lists of memory blocks, one per size from 2 KiB to 2 MiB; owned by one worker.
///
///     class 0: 2 KiB   class 1: 4 KiB   …   class 10: 2 MiB
///
/// A queue that runs empty gives its block back at once, so an idle connection holds none. Blocks
/// beyond `Limits.pooledBytes` go back to the system.
@safe
struct BufferPool: ~Copyable {
    static let smallest = 2048
    static let classes = 11

    /// Bytes lent to queues and heads right now; the base of the memory metrics.
    private(set) var bytesInUse = 0
    private(set) var bytesFree = 0
    private var free = [11 of FreeBlocks] { index in
        FreeBlocks(capacity: Limits.pooledBytes / BufferPool.size(of: index))
    }

    /// The class that holds `bytes`; nil when that is more than the largest block.
    @inline(__always)
    static func sizeClass(for bytes: Int) -> Int? {
        guard bytes > smallest else { return 0 }
        let index = Int.bitWidth - (bytes - 1).leadingZeroBitCount - 11
        return index < classes ? index : nil
    }

    @inline(__always)
    static func size(of sizeClass: Int) -> Int { smallest << sizeClass }

    /// Lends an uninitialised block of `size(of: sizeClass)` bytes.
    mutating func take(_ sizeClass: Int) -> UnsafeMutablePointer<UInt8> {
        let size = Self.size(of: sizeClass)
        bytesInUse += size
        if let block = unsafe free[sizeClass].pop() {
            bytesFree -= size
            return unsafe block.assumingMemoryBound(to: UInt8.self)
        }
        let block = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: 16)
        return unsafe block.bindMemory(to: UInt8.self, capacity: size)
    }

    /// Takes a block back.
    mutating func give(_ block: UnsafeMutablePointer<UInt8>, _ sizeClass: Int) {
        let size = Self.size(of: sizeClass)
        bytesInUse -= size
        guard bytesFree + size <= Limits.pooledBytes,
            unsafe free[sizeClass].push(UnsafeMutableRawPointer(block))
        else { return unsafe block.deallocate() }
        bytesFree += size
    }

    /// Frees every block that is not lent out.
    mutating func drain() {
        for index in 0..<Self.classes {
            while let block = unsafe free[index].pop() { unsafe block.deallocate() }
        }
        bytesFree = 0
    }

    deinit {
        for index in 0..<Self.classes { unsafe free[index].forEach { unsafe $0.deallocate() } }
    }
}
