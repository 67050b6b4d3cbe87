// The kernel's list of what this process has open.

import CLinux
import Glibc

/// The process's own descriptor table, as /proc shows it.
enum DescriptorTable {
    private static let folder = "/proc/self/fd"

    /// Every open descriptor but the one of this look; nil where /proc is missing.
    static func numbers() -> [Int32]? {
        guard let directory = unsafe opendir(folder) else { return nil }
        defer { unsafe closedir(directory) }
        let own = unsafe dirfd(directory)
        var found: [Int32] = []
        while let entry = unsafe readdir(directory) {
            let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) {
                unsafe $0.withMemoryRebound(to: CChar.self, capacity: 256) {
                    unsafe String(cString: $0)
                }
            }
            if let number = Int32(name), number != own { found.append(number) }
        }
        return found
    }

    /// What a descriptor stands for, such as `socket:[4242]`; nil when it is closed.
    static func link(_ descriptor: Int32) -> String? {
        var text = [UInt8](repeating: 0, count: 512)
        let count = unsafe text.withUnsafeMutableBytes { place in
            unsafe place.withMemoryRebound(to: CChar.self) { characters in
                guard let base = characters.baseAddress else { return 0 }
                return unsafe readlink("\(folder)/\(descriptor)", base, characters.count)
            }
        }
        return count > 0 ? String(decoding: text[..<count], as: UTF8.self) : nil
    }

    /// Takes what is open at the start for the process's own.
    static func keepInherited() {
        for descriptor in numbers() ?? [] { KnownDescriptors.add(descriptor) }
    }
}
