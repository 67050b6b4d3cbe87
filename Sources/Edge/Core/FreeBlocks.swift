// Memory blocks of one size that wait to be used again.

/// A stack of addresses beside the blocks, rather than a list through them.
///
/// Under load a block has left the cache by the time it is wanted again: following a link in it
/// would stall on that, whereas its next user begins by writing, which does not.
@safe
struct FreeBlocks: ~Copyable {
    private let places: UnsafeMutablePointer<UnsafeMutableRawPointer>
    private let capacity: Int
    private var count = 0

    /// Room for `capacity` addresses; the system gives pages for those that are used.
    init(capacity: Int) {
        self.capacity = capacity
        unsafe places = .allocate(capacity: capacity)
    }

    deinit { unsafe places.deallocate() }

    /// The block that was added last; nil when there is none.
    @inline(__always)
    mutating func pop() -> UnsafeMutableRawPointer? {
        guard count > 0 else { return nil }
        count &-= 1
        return unsafe places[count]
    }

    /// Lends each block, for an owner that ends.
    func forEach(_ body: (UnsafeMutableRawPointer) -> Void) {
        for index in 0..<count { unsafe body(places[index]) }
    }

    /// False when there is no room: the block stays its giver's.
    @inline(__always)
    mutating func push(_ block: UnsafeMutableRawPointer) -> Bool {
        guard count < capacity else { return false }
        unsafe (places + count).initialize(to: block)
        count &+= 1
        return true
    }
}
