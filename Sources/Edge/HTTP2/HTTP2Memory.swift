// What all HTTP/2 sessions of a worker share: memory, callbacks, options, scratch.

import CNGHTTP2
import Glibc

/// One per worker: nghttp2's allocator and the immutable objects that sessions are made from.
///
/// Blocks carry their size in front and go back to a free list per class; two classes per power of
/// two (48, 64, 96, … 4096 octets). In steady state a request reaches libc not once.
///
/// Blocks above 8 KiB have pages of their own: nghttp2 gives each session room for a whole frame,
/// 16 KiB, of which heads and frame headers touch the first page only.
@safe
struct HTTP2Memory: ~Copyable {
    private static let headerBytes = 16
    /// Where in its header a block that is withheld names the next one.
    private static let linkOffset = 8
    private static let classes = 16
    private static let largest = 4096
    private static let leastMapped = 8192
    private static let pageBytes = 4096
    /// What a session's room for a frame takes, in pages.
    private static let frameBytes = 5 * pageBytes

    /// Octets in blocks that nghttp2 and the event queues hold now, large ones included.
    ///
    /// A session that moves takes its blocks along: only the sum over all workers is exact.
    private(set) var bytesInUse = 0
    private(set) var bytesFree = 0
    private var free = [16 of FreeBlocks] { index in
        FreeBlocks(capacity: Limits.http2PooledBlocks)
    }
    private var freeFrames = FreeBlocks(capacity: Limits.pooledFrames)
    /// A block was wanted in vain: the session under way has to end, and then calls `recover`.
    private(set) var isExhausted = false
    /// Blocks given back since then, as they were.
    private var withheld: UnsafeMutableRawPointer?
    /// Streams of all sessions that play one role.
    var serverStreams = StreamTally()
    var clientStreams = StreamTally()

    let callbacks: OpaquePointer
    let options: OpaquePointer
    /// Room for the field lines of one head and its pseudo-fields.
    let fields: UnsafeMutablePointer<nghttp2_nv>
    /// Room for a status code and a content length in digits.
    let digits: UnsafeMutablePointer<UInt8>

    static let fieldCapacity = FieldTable.capacity + 8

    init() {
        unsafe withheld = nil
        unsafe callbacks = makeHTTP2Callbacks()
        unsafe options = makeHTTP2Options()
        unsafe fields = .allocate(capacity: Self.fieldCapacity)
        unsafe digits = .allocate(capacity: 32)
    }

    deinit {
        for index in 0..<Self.classes { unsafe free[index].forEach { unsafe Glibc.free($0) } }
        unsafe freeFrames.forEach { _ = unsafe munmap($0, Self.frameBytes) }
        unsafe nghttp2_session_callbacks_del(callbacks)
        unsafe nghttp2_option_del(options)
        unsafe fields.deallocate()
        unsafe digits.deallocate()
    }

    /// The class whose blocks hold `bytes`, header included: even ones are powers of two from 32,
    /// odd ones half as much again.
    @inline(__always)
    private static func sizeClass(_ bytes: Int) -> Int {
        guard bytes > 32 else { return 0 }
        let exponent = Int.bitWidth - 1 - (bytes - 1).leadingZeroBitCount
        let isUpperHalf = (bytes - 1) >> (exponent - 1) & 1 == 1
        return (exponent - 5) * 2 + (isUpperHalf ? 2 : 1)
    }

    @inline(__always)
    private static func size(_ sizeClass: Int) -> Int {
        let base = 32 << (sizeClass / 2)
        return sizeClass & 1 == 0 ? base : base + base / 2
    }

    /// A block of at least `count` octets, uninitialised; nil when the system has none, and what is
    /// given back is then withheld until `recover`.
    mutating func take(_ count: Int) -> UnsafeMutableRawPointer? {
        let wanted = count &+ Self.headerBytes
        var size = wanted
        if wanted <= Self.largest {
            let index = Self.sizeClass(wanted)
            size = Self.size(index)
            if let block = unsafe free[index].pop() {
                unsafe block.storeBytes(of: size, as: Int.self)
                bytesFree &-= size
                bytesInUse &+= size
                return unsafe block + Self.headerBytes
            }
        }
        guard let block = unsafe wanted < Self.leastMapped ? malloc(size) : mapped(&size) else {
            isExhausted = true
            return nil
        }
        unsafe block.storeBytes(of: size, as: Int.self)
        bytesInUse &+= size
        return unsafe block + Self.headerBytes
    }

    /// Whole pages for a large block, whose size they set.
    @inline(never)
    private mutating func mapped(_ size: inout Int) -> UnsafeMutableRawPointer? {
        size = (size + Self.pageBytes - 1) & ~(Self.pageBytes - 1)
        if size == Self.frameBytes, let pages = unsafe freeFrames.pop() { return unsafe pages }
        let pages = unsafe mmap(
            nil, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        return unsafe pages == MAP_FAILED ? nil : pages
    }

    /// Takes a block back.
    mutating func give(_ pointer: UnsafeMutableRawPointer) {
        let block = unsafe pointer - Self.headerBytes
        guard !isExhausted else { return unsafe withhold(block) }
        let size = unsafe block.load(as: Int.self)
        bytesInUse &-= size
        guard size <= Self.largest, bytesFree &+ size <= Limits.http2PooledBytes,
            unsafe free[Self.sizeClass(size)].push(block)
        else { return unsafe giveToSystem(block, size) }
        bytesFree &+= size
    }

    private mutating func giveToSystem(_ block: UnsafeMutableRawPointer, _ size: Int) {
        guard size >= Self.leastMapped else { return unsafe Glibc.free(block) }
        if size == Self.frameBytes, unsafe freeFrames.push(block) { return }
        _ = unsafe munmap(block, size)
    }

    /// Keeps a block from everybody, with its contents.
    ///
    /// Where memory is short, nghttp2 is not to be trusted with what it has freed: up to 1.52 a
    /// DATA frame that found no room in its queue is freed and stays with its stream, at whose end
    /// it is read and freed again. A size below zero tells that a block was given back before.
    @inline(never)
    private mutating func withhold(_ block: UnsafeMutableRawPointer) {
        let size = unsafe block.load(as: Int.self)
        guard size > 0 else { return }
        unsafe block.storeBytes(of: -size, as: Int.self)
        unsafe block.storeBytes(
            of: withheld, toByteOffset: Self.linkOffset, as: UnsafeMutableRawPointer?.self)
        unsafe withheld = block
    }

    /// Takes back what was withheld: the session that lacked a block is gone.
    mutating func recover() {
        isExhausted = false
        while let block = unsafe withheld {
            unsafe withheld = block.load(
                fromByteOffset: Self.linkOffset, as: UnsafeMutableRawPointer?.self)
            let size = unsafe -block.load(as: Int.self)
            unsafe block.storeBytes(of: size, as: Int.self)
            unsafe give(block + Self.headerBytes)
        }
    }

    /// A block of `count` octets with the contents of `pointer`'s, which ends.
    mutating func resize(_ pointer: UnsafeMutableRawPointer, _ count: Int)
        -> UnsafeMutableRawPointer?
    {
        let usable = unsafe (pointer - Self.headerBytes).load(as: Int.self) - Self.headerBytes
        if count <= usable { return unsafe pointer }
        guard let larger = unsafe take(count) else { return nil }
        unsafe larger.copyMemory(from: pointer, byteCount: usable)
        unsafe give(pointer)
        return unsafe larger
    }
}

/// Streams that began and ended, ever: requests delivered by servers, submitted by clients.
struct StreamTally: BitwiseCopyable {
    var opened: UInt64 = 0
    var closed: UInt64 = 0
}

/// nghttp2's view of the memory of the worker that a session is in, which it finds by the session's
/// core: nghttp2 copies the struct, not what it points at.
func makeHTTP2Allocator(_ core: Ref<HTTP2Core>) -> nghttp2_mem {
    unsafe nghttp2_mem(
        mem_user_data: UnsafeMutableRawPointer(core.pointer),
        malloc: { size, user in
            guard let user = unsafe user else { return nil }
            return unsafe memory(user)[].take(size)
        },
        free: { pointer, user in
            guard let pointer = unsafe pointer, let user = unsafe user else { return }
            unsafe memory(user)[].give(pointer)
        },
        calloc: { count, size, user in
            guard let user = unsafe user else { return nil }
            let (bytes, overflow) = count.multipliedReportingOverflow(by: size)
            guard !overflow, let block = unsafe memory(user)[].take(bytes) else { return nil }
            unsafe memset(block, 0, bytes)
            return unsafe block
        },
        realloc: { pointer, size, user in
            guard let user = unsafe user else { return nil }
            let memory = unsafe memory(user)
            guard let pointer = unsafe pointer else { return unsafe memory[].take(size) }
            return unsafe memory[].resize(pointer, size)
        })
}

@inline(__always)
private func memory(_ user: UnsafeMutableRawPointer) -> Ref<HTTP2Memory> {
    unsafe user.assumingMemoryBound(to: HTTP2Core.self).pointee.memory
}

/// The options of every session: manual windows, no memory of closed streams, flood limits.
private func makeHTTP2Options() -> OpaquePointer {
    var made: OpaquePointer?
    guard unsafe nghttp2_option_new(&made) == 0, let options = unsafe made else {
        preconditionFailure("no memory for HTTP/2 options")
    }
    unsafe nghttp2_option_set_no_auto_window_update(options, 1)
    unsafe nghttp2_option_set_no_closed_streams(options, 1)
    unsafe nghttp2_option_set_max_reserved_remote_streams(options, 0)
    unsafe nghttp2_option_set_peer_max_concurrent_streams(options, UInt32(Limits.presumedStreams))
    unsafe nghttp2_option_set_max_outbound_ack(options, Limits.queuedAcknowledgements)
    unsafe nghttp2_option_set_max_settings(options, Limits.settingsEntries)
    // nghttp2 counts each piece in which a header comes; `FrameMeter` counts frames, and is first.
    unsafe nghttp2_option_set_max_continuations(options, 64 * Limits.continuations)
    unsafe nghttp2_option_set_stream_reset_rate_limit(
        options, UInt64(Limits.streamResetBurst), UInt64(Limits.streamResetsPerSecond))
    return unsafe options
}
