// The fuzzer: `edge-fuzz TARGET [libFuzzer options] [folders]`.

import CFuzzer
import Glibc

/// The target of this process; set before the first input.
private func one(_ data: UnsafePointer<UInt8>?, _ count: Int) -> Int32 {
    let input = unsafe data.map { unsafe Array(UnsafeBufferPointer(start: $0, count: count)) } ?? []
    do throws(FuzzFailure) {
        try chosen.run(input)
    } catch {
        fatalError("\(chosen.name): \(error.what)")
    }
    return 0
}

private func choose() -> FuzzTarget {
    let names = FuzzTarget.all.map(\.name)
    guard CommandLine.arguments.count > 1,
        let target = FuzzTarget.all.first(where: { $0.name == CommandLine.arguments[1] })
    else {
        print(names.joined(separator: "\n"))
        exit(CommandLine.arguments.count > 1 ? 64 : 0)
    }
    return target
}

private let chosen = choose()

// libFuzzer sees the arguments without the target's name.
private var count = CommandLine.argc - 1
private var arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>? =
    unsafe CommandLine.unsafeArgv + 1
unsafe CommandLine.unsafeArgv[1] = CommandLine.unsafeArgv[0]
exit(unsafe LLVMFuzzerRunDriver(&count, &arguments, one))
