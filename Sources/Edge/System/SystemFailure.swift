// What a failed system call leaves behind.

import CLinux
import Glibc

/// The error number of a system call, with the call's name.
struct SystemFailure: Error, BitwiseCopyable, CustomStringConvertible {
    let code: Int32
    let call: StaticString

    var description: String { "\(call): \(Self.text(code))" }

    /// The system's text for an error number, for the control plane.
    static func text(_ code: Int32) -> String {
        guard let text = unsafe strerror(code) else { return "error \(code)" }
        return unsafe String(cString: text)
    }
}
