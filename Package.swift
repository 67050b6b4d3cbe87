// swift-tools-version: 6.2
import PackageDescription

let strict: [SwiftSetting] = [
    .strictMemorySafety(),
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
]

/// The fuzzer is built for itself: `Fuzz/run` sets this, and the tests compile the same targets.
let fuzzes = Context.environment["EDGE_FUZZ"] != nil
let unfuzzed = ["Seeds", "Findings", "Dictionaries", "CFuzzer", "run", "make-seeds"]

let package = Package(
    name: "edge-proxy",
    products: [.executable(name: "edge-proxy", targets: ["edge-proxy"])],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
    ],
    targets: [
        .systemLibrary(name: "COpenSSL", pkgConfig: "openssl", providers: [.apt(["libssl-dev"])]),
        .systemLibrary(
            name: "CNGHTTP2", pkgConfig: "libnghttp2", providers: [.apt(["libnghttp2-dev"])]),
        .systemLibrary(
            name: "CCares", pkgConfig: "libcares", providers: [.apt(["libc-ares-dev"])]),
        .systemLibrary(name: "CLinux"),
        .target(
            name: "Edge",
            dependencies: [
                "COpenSSL", "CNGHTTP2", "CCares", "CLinux", "Yams",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "DequeModule", package: "swift-collections"),
                .product(name: "HeapModule", package: "swift-collections"),
            ],
            swiftSettings: strict),
        .executableTarget(
            name: "edge-proxy",
            dependencies: [
                "Edge", .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: strict),
        .testTarget(name: "EdgeTests", dependencies: ["Edge"], swiftSettings: strict),
        .testTarget(name: "TidyTests", swiftSettings: strict),
    ]
)

if fuzzes {
    package.targets += [
        .systemLibrary(name: "CFuzzer", path: "Fuzz/CFuzzer"),
        .executableTarget(
            name: "edge-fuzz", dependencies: ["Edge", "CFuzzer"], path: "Fuzz",
            exclude: unfuzzed + ["Tests"], sources: ["Targets", "Driver"], swiftSettings: strict),
    ]
} else {
    package.targets.append(
        .testTarget(
            name: "FuzzTests", dependencies: ["Edge"], path: "Fuzz",
            exclude: unfuzzed + ["Driver"], sources: ["Targets", "Tests"], swiftSettings: strict))
}
