// Asking for memory before it is used.

import CLinux

/// Has the processor fetch the half KiB from `place` on into its caches; never faults.
@inline(__always)
func prefetch(_ place: UnsafeRawPointer) { unsafe edge_prefetch(place) }
