// The process's own limits and figures.

import CLinux
import Glibc

/// What the system says of this process.
enum SystemProcess {
    /// Raises the soft limit of open descriptors to the hard one and returns it.
    static func raiseDescriptorLimit() -> Int {
        var limit = rlimit()
        guard unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else {
            return 1024
        }
        limit.rlim_cur = limit.rlim_max
        _ = unsafe setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        _ = unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        return Int(clamping: limit.rlim_cur)
    }

    static var identifier: Int32 { getpid() }

    /// Bytes of memory that the process may use: its control group's limit, or the machine's own.
    static func availableMemory() -> Int {
        var bytes = sysconf(Int32(_SC_PHYS_PAGES)) * sysconf(Int32(_SC_PAGESIZE))
        for path in ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"] {
            guard let text = FileSystem.read(path),
                let limit = Int(String(decoding: text.filter(ASCII.isDigit), as: UTF8.self))
            else { continue }
            bytes = min(bytes, limit)
        }
        return max(bytes, 64 << 20)
    }

    /// 64 bits from the system's random source.
    static func randomSeed() -> UInt64 {
        var generator = SystemRandomNumberGenerator()
        return generator.next()
    }
}

/// Files, as far as the control plane writes them.
enum FileSystem {
    /// The whole content of a file; nil when it cannot be read.
    static func read(_ path: String) -> [UInt8]? {
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { Socket.close(descriptor) }
        var content: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = unsafe piece.withUnsafeMutableBytes {
                unsafe Glibc.read(descriptor, $0.baseAddress, $0.count)
            }
            if count < 0 {
                if edge_errno() == EINTR { continue }
                return nil
            }
            if count == 0 { return content }
            content.append(contentsOf: piece[..<count])
        }
    }

    /// Writes a file so that whoever sees its name sees all of it.
    static func writeAtomically(_ bytes: [UInt8], to path: String) throws(SystemFailure) {
        let temporary = path + ".new"
        let descriptor = unsafe open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw SystemFailure(code: edge_errno(), call: "open") }
        defer { Socket.close(descriptor) }
        do throws(SystemFailure) {
            try write(bytes, to: descriptor)
            guard unsafe rename(temporary, path) == 0 else {
                throw SystemFailure(code: edge_errno(), call: "rename")
            }
        } catch {
            unsafe unlink(temporary)
            throw error
        }
    }

    private static func write(_ bytes: [UInt8], to descriptor: Int32) throws(SystemFailure) {
        var written = 0
        while written < bytes.count {
            let count = unsafe bytes.withUnsafeBytes {
                unsafe Glibc.write(
                    descriptor, $0.baseAddress.map { unsafe $0 + written }, $0.count - written)
            }
            if count < 0, edge_errno() == EINTR { continue }
            guard count > 0 else { throw SystemFailure(code: edge_errno(), call: "write") }
            written += count
        }
    }
}

/// The channel of errors before there is a log.
enum StandardError {
    static func write(_ text: String) {
        let bytes = Array(text.utf8)
        _ = unsafe bytes.withUnsafeBytes { unsafe Glibc.write(2, $0.baseAddress, $0.count) }
    }
}
