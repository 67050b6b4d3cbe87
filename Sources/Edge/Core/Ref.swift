// A typed, pinned address: how one part of a worker points at the state of another.

/// The address of a value that lives in a slab slot or in memory that its owner never moves.
///
/// Copies freely and costs no reference counting; `ref[]` is the value itself, in place. A `Ref` is
/// valid until the end of the loop iteration in which its slot was retired (`Slab.retire`): stale
/// events meet a dead but initialised value, never freed memory.
@safe
struct Ref<Value: ~Copyable>: BitwiseCopyable {
    let pointer: UnsafeMutablePointer<Value>

    @inline(__always)
    init(_ pointer: UnsafeMutablePointer<Value>) { unsafe self.pointer = pointer }

    @inline(__always)
    subscript() -> Value {
        _read { yield unsafe pointer.pointee }
        nonmutating _modify { yield unsafe &pointer.pointee }
    }

    /// Allocates a value that lives as long as its worker, or until `destroy`.
    static func allocate(_ value: consuming Value) -> Ref {
        let pointer = UnsafeMutablePointer<Value>.allocate(capacity: 1)
        unsafe pointer.initialize(to: value)
        return unsafe Ref(pointer)
    }

    /// Ends a value made by `allocate`.
    func destroy() {
        unsafe pointer.deinitialize(count: 1)
        unsafe pointer.deallocate()
    }
}

extension Ref: Equatable where Value: ~Copyable {
    @inline(__always)
    static func == (left: Ref, right: Ref) -> Bool { unsafe left.pointer == right.pointer }
}
