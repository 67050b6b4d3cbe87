// The way of access records from a worker to the log's thread: one byte ring per worker.

import Synchronization

/// A ring with one writer (the worker) and one reader (the log's thread), without locks.
///
///     ┌ entry ──────────────────────────────────────────────────────┐
///     │ size u32 │ text lengths 8 × u16 │ AccessRecord │ texts │ pad │   8-byte aligned
///     └─────────────────────────────────────────────────────────────┘
///
/// An entry never wraps: what is left at the end of the memory is skipped by a size of 0. A full
/// ring drops the record and counts it; the worker never waits.
// Safety: positions are atomics with acquire/release order; each side's own state is touched by
// that side's thread only; memory is freed by the `AccessLog` that outlives the workers.
@safe
struct AccessRing: BitwiseCopyable, @unchecked Sendable {
    static let capacity = 1 << 20

    /// The positions, a cache line apart; both only grow.
    fileprivate struct Shared: ~Copyable {
        let written = Atomic<UInt64>(0)
        let pad0 = (0, 0, 0, 0, 0, 0, 0)
        let read = Atomic<UInt64>(0)
        let pad1 = (0, 0, 0, 0, 0, 0, 0)
    }

    fileprivate struct Writer {
        var written: UInt64 = 0
        var notified: UInt64 = 0
        /// The reader's position as last seen; looked up again only when the ring seems full.
        var read: UInt64 = 0
    }

    fileprivate let shared: UnsafeMutablePointer<Shared>
    private let writer: UnsafeMutablePointer<Writer>
    private let bell: AccessBell
    private let memory: UnsafeMutableRawPointer
    private let counters: WorkerCounters

    init(bell: AccessBell, counters: WorkerCounters) {
        unsafe shared = .allocate(capacity: 1)
        unsafe shared.initialize(to: Shared())
        unsafe writer = .allocate(capacity: 1)
        unsafe writer.initialize(to: Writer())
        unsafe memory = .allocate(byteCount: Self.capacity, alignment: 64)
        self.bell = bell
        self.counters = counters
    }

    /// Frees the ring; neither side may use it afterwards.
    func destroy() {
        unsafe shared.deinitialize(count: 1)
        unsafe shared.deallocate()
        unsafe writer.deallocate()
        unsafe memory.deallocate()
    }

    /// Whether records are wanted; when not, a worker spares itself the preparation.
    @inline(__always)
    var isEnabled: Bool { bell.isEnabled }

    // MARK: the worker's side

    /// Puts one exchange into the ring, or drops and counts it; nothing while the log is off.
    @inline(__always)
    func append(_ record: AccessRecord, _ texts: AccessTexts) {
        guard bell.isEnabled else { return }
        write(record, texts.bounded)
    }

    @inline(never)
    private func write(_ record: AccessRecord, _ texts: AccessTexts) {
        let size = AccessEntry.size(texts)
        guard let place = unsafe reserve(size) else {
            counters.add(.accessLogDropped)
            return
        }
        unsafe AccessEntry.write(record, texts, size: size, to: place)
        unsafe writer.pointee.written &+= UInt64(size)
        unsafe shared.pointee.written.store(writer.pointee.written, ordering: .releasing)
    }

    /// `size` bytes in one run; nil when the reader has not made room for them.
    @inline(__always)
    private func reserve(_ size: Int) -> UnsafeMutableRawPointer? {
        let offset = unsafe Int(writer.pointee.written & UInt64(Self.capacity - 1))
        let tail = Self.capacity - offset
        let needed = size <= tail ? size : tail + size
        let used = unsafe Int(writer.pointee.written &- writer.pointee.read)
        if Self.capacity - used < needed {
            unsafe writer.pointee.read = shared.pointee.read.load(ordering: .acquiring)
            let used = unsafe Int(writer.pointee.written &- writer.pointee.read)
            guard Self.capacity - used >= needed else { return nil }
        }
        guard size > tail else { return unsafe memory + offset }
        unsafe (memory + offset).storeBytes(of: 0, as: UInt32.self)
        unsafe writer.pointee.written &+= UInt64(tail)
        return unsafe memory
    }

    /// Wakes the log's thread if it sleeps and there is something new; once per loop iteration.
    @inline(__always)
    func flushNotice() {
        guard unsafe writer.pointee.written != writer.pointee.notified else { return }
        unsafe writer.pointee.notified = unsafe writer.pointee.written
        // Sequentially consistent, as is the sleeper's check of `isEmpty`: either it sees what was
        // written, or this thread sees that it sleeps.
        unsafe shared.pointee.written.store(
            writer.pointee.written, ordering: .sequentiallyConsistent)
        bell.ringIfAsleep()
    }

    // MARK: the log thread's side

    /// Whether nothing is left to read; in one order with `flushNotice`.
    var isEmpty: Bool {
        unsafe shared.pointee.written.load(ordering: .sequentiallyConsistent)
            == shared.pointee.read.load(ordering: .relaxed)
    }

    /// Hands each entry to `body` and frees its place; returns how many there were.
    func drain(_ body: (AccessRecord, AccessTexts) -> Void) -> Int {
        var position = unsafe shared.pointee.read.load(ordering: .relaxed)
        let end = unsafe shared.pointee.written.load(ordering: .acquiring)
        var count = 0
        while position != end {
            let offset = Int(position & UInt64(Self.capacity - 1))
            let entry = unsafe memory + offset
            let size = unsafe entry.load(as: UInt32.self)
            if size == 0 {
                position &+= UInt64(Self.capacity - offset)
            } else {
                unsafe body(AccessEntry.record(at: entry), AccessEntry.texts(at: entry))
                position &+= UInt64(size)
                count += 1
            }
            unsafe shared.pointee.read.store(position, ordering: .releasing)
        }
        return count
    }
}

/// The layout of one entry.
enum AccessEntry {
    private static var lengthsOffset: Int { 8 }
    private static var recordOffset: Int { 24 }
    private static var textsOffset: Int {
        recordOffset + (MemoryLayout<AccessRecord>.size + 7) / 8 * 8
    }

    /// Bytes of the entry of bounded texts, rounded up to 8.
    @inline(__always)
    static func size(_ texts: AccessTexts) -> Int {
        let first = texts.client.count &+ texts.method.count &+ texts.host.count
        let second = texts.target.count &+ texts.id.count &+ texts.upstream.count
        let third = texts.upstreamAddress.count &+ texts.userAgent.count
        return (textsOffset &+ first &+ second &+ third &+ 7) & ~7
    }

    @inline(__always)
    static func write(
        _ record: AccessRecord, _ texts: AccessTexts, size: Int, to place: UnsafeMutableRawPointer
    ) {
        unsafe place.storeBytes(of: UInt32(truncatingIfNeeded: size), as: UInt32.self)
        unsafe (place + recordOffset).storeBytes(of: record, as: AccessRecord.self)
        var cursor = textsOffset
        unsafe put(texts.client, 0, place, &cursor)
        unsafe put(texts.method, 1, place, &cursor)
        unsafe put(texts.host, 2, place, &cursor)
        unsafe put(texts.target, 3, place, &cursor)
        unsafe put(texts.id, 4, place, &cursor)
        unsafe put(texts.upstream, 5, place, &cursor)
        unsafe put(texts.upstreamAddress, 6, place, &cursor)
        unsafe put(texts.userAgent, 7, place, &cursor)
    }

    @inline(__always)
    private static func put(
        _ text: Bytes, _ index: Int, _ place: UnsafeMutableRawPointer, _ cursor: inout Int
    ) {
        unsafe (place + lengthsOffset + index * 2).storeBytes(
            of: UInt16(truncatingIfNeeded: text.count), as: UInt16.self)
        let target = unsafe (place + cursor).assumingMemoryBound(to: UInt8.self)
        unsafe copyMemory(target, text.base, text.count)
        cursor &+= text.count
    }

    @inline(__always)
    static func record(at place: UnsafeMutableRawPointer) -> AccessRecord {
        unsafe (place + recordOffset).load(as: AccessRecord.self)
    }

    /// The texts in place; valid until the entry's place is freed.
    @inline(__always)
    static func texts(at place: UnsafeMutableRawPointer) -> AccessTexts {
        var cursor = textsOffset
        var texts = AccessTexts()
        texts.client = unsafe take(0, place, &cursor)
        texts.method = unsafe take(1, place, &cursor)
        texts.host = unsafe take(2, place, &cursor)
        texts.target = unsafe take(3, place, &cursor)
        texts.id = unsafe take(4, place, &cursor)
        texts.upstream = unsafe take(5, place, &cursor)
        texts.upstreamAddress = unsafe take(6, place, &cursor)
        texts.userAgent = unsafe take(7, place, &cursor)
        return texts
    }

    @inline(__always)
    private static func take(
        _ index: Int, _ place: UnsafeMutableRawPointer, _ cursor: inout Int
    ) -> Bytes {
        let count = unsafe Int((place + lengthsOffset + index * 2).load(as: UInt16.self))
        let text = unsafe Bytes(
            UnsafePointer((place + cursor).assumingMemoryBound(to: UInt8.self)), count: count)
        cursor &+= count
        return text
    }
}
