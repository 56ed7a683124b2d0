// swift-tools-version: 6.2
import PackageDescription

// The house, as docs/architecture.md draws it. Each Swift target lists every module that it imports:
// `--explicit-target-dependency-import-check error` and Tests/Tidy hold it to that.

let settings: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .treatAllWarnings(as: .error),
]

/// For the few targets that every request passes through, whose classes each belong to one thread: a release
/// build leaves out the run-time checks of overlapping access, a tenth of a read's time. Debug builds keep
/// them (docs/decisions/007).
let hotPath: [SwiftSetting] =
    settings + [.unsafeFlags(["-enforce-exclusivity=unchecked"], .when(configuration: .release))]

func library(
    _ name: String, _ dependencies: [String] = [], settings: [SwiftSetting] = settings
) -> Target {
    .target(name: name, dependencies: dependencies.map { .byName(name: $0) }, swiftSettings: settings)
}
func cLibrary(_ name: String, pkgConfig: String? = nil) -> Target {
    .systemLibrary(name: name, path: "Sources/C/\(name)", pkgConfig: pkgConfig)
}
func tests(_ name: String, _ dependencies: [String], resources: [Resource] = []) -> Target {
    .testTarget(
        name: name, dependencies: dependencies.map { .byName(name: $0) }, resources: resources,
        swiftSettings: settings)
}

let package = Package(
    name: "holdfast",
    products: [.executable(name: "holdfast", targets: ["holdfast"])],
    targets: [
        // C libraries: a module map and inline shims each, no logic.
        cLibrary("CPosix"),
        cLibrary("CCrypto"),
        cLibrary("CSSL"),
        cLibrary("CLMDB"),
        cLibrary("CCurl"),
        cLibrary("CRNP"),
        cLibrary("CNGHTTP2", pkgConfig: "libnghttp2"),
        cLibrary("CZlib"),
        cLibrary("CPKCS11"),
        .target(name: "CWipingAllocator", path: "Sources/C/CWipingAllocator"),
        // The files of ui/, by C23's #embed.
        .target(
            name: "CWebUI", path: "Sources/C/CWebUI", cSettings: [.unsafeFlags(["-std=c23", "-Werror"])]),
        // Built by scripts/raftcore from Sources/C/raftcore.
        .binaryTarget(name: "CRaftCore", path: ".deps/RaftCore.artifactbundle"),

        // The waist and what stands under it.
        library("Base", ["CPosix"]),
        library("Crypto", ["Base", "CCrypto", "CRNP", "CPosix"]),
        library("PluginKit", ["Base"], settings: hotPath),
        library("NodeStore", ["Base", "CLMDB", "CPosix"], settings: hotPath),
        library("Consensus", ["Base", "CRaftCore", "CPosix"]),
        library("Net", ["Base", "Crypto", "CSSL", "CCurl", "CNGHTTP2", "CPosix"], settings: hotPath),

        library("Archives", ["Base", "Crypto", "CZlib"]),

        // The core.
        library("Barrier", ["PluginKit", "Crypto", "Base"], settings: hotPath),
        library("Core", ["Barrier", "PluginKit", "Crypto", "Base", "CPosix"], settings: hotPath),
        library("SystemAPI", ["Core", "Barrier", "PluginKit", "Crypto", "Base"]),

        // Clients of other people's APIs.
        library("Upstream", ["Net", "Crypto", "Base", "CPKCS11", "CPosix"]),

        // Plug-ins: leaves that know nothing of the core.
        library("SecretsEngines", ["PluginKit", "Crypto", "Base"]),
        library("AuthMethods", ["PluginKit", "Crypto", "Base"]),
        library("StorageBackends", ["PluginKit", "NodeStore", "Consensus", "Base", "CPosix"]),
        library("AuditDevices", ["PluginKit", "Base"]),
        library("Seals", ["PluginKit", "Upstream", "Crypto", "Base"]),

        // What a user runs.
        library(
            "Server",
            [
                "SystemAPI", "Core", "Barrier", "SecretsEngines", "AuthMethods", "StorageBackends",
                "AuditDevices", "Seals", "Consensus", "Archives", "PluginKit", "Net", "Crypto", "Base",
                "CPosix", "CWebUI",
            ]),
        library("APIClient", ["Net", "Base"]),
        library("CLI", ["APIClient", "Archives", "Net", "Base", "CPosix"]),
        .executableTarget(
            name: "holdfast", dependencies: ["CLI", "Server", "Base", "CWipingAllocator"],
            exclude: ["link"],
            swiftSettings: settings,
            // Swift's runtime is linked in: `swift test` knows no option for it, and the CLI starts faster
            // so.
            linkerSettings: [
                .unsafeFlags([
                    "-static-stdlib", "-use-ld=lld",
                    // 72,000 places to relocate in 14 KB instead of 1.2 MB.
                    "-Xlinker", "-z", "-Xlinker", "pack-relative-relocs",
                    "-Xlinker", "--version-script=Sources/holdfast/link/exports.map",
                    "-LSources/holdfast/link",
                ])
            ]),

        // Tests.
        library("TestKit", ["PluginKit", "Consensus", "Base"]),
        tests("BaseTests", ["Base", "TestKit"]),
        tests("CryptoTests", ["Crypto", "Base", "TestKit"]),
        tests("ArchivesTests", ["Archives", "Crypto", "Base", "TestKit"]),
        tests("PluginKitTests", ["PluginKit", "Base", "TestKit"]),
        tests("NodeStoreTests", ["NodeStore", "Base", "TestKit"]),
        tests("ConsensusTests", ["Consensus", "Base", "TestKit"]),
        tests("Simulation", ["Consensus", "Base", "TestKit"]),
        tests("NetTests", ["Net", "Crypto", "Base", "CPosix", "TestKit"]),
        tests("BarrierTests", ["Barrier", "PluginKit", "Crypto", "Base", "TestKit"]),
        tests("CoreTests", ["Core", "Barrier", "StorageBackends", "PluginKit", "Crypto", "Base", "TestKit"]),
        tests(
            "SystemAPITests",
            [
                "SystemAPI", "Core", "Barrier", "SecretsEngines", "AuthMethods", "Seals", "PluginKit",
                "Crypto", "Base", "TestKit",
            ]),
        tests("SecretsEnginesTests", ["SecretsEngines", "PluginKit", "Crypto", "Base", "TestKit"]),
        tests("AuthMethodsTests", ["AuthMethods", "PluginKit", "Crypto", "Base", "TestKit"]),
        tests(
            "StorageBackendsTests",
            ["StorageBackends", "Consensus", "NodeStore", "PluginKit", "Base", "TestKit"]),
        tests("UpstreamTests", ["Upstream", "Net", "Base", "TestKit"]),
        tests("SealsTests", ["Seals", "Upstream", "PluginKit", "Crypto", "Base", "TestKit"]),
        tests("AuditDevicesTests", ["AuditDevices", "PluginKit", "Base", "TestKit"]),
        tests(
            "ServerTests",
            [
                "Server", "SystemAPI", "Core", "Barrier", "StorageBackends", "Consensus", "PluginKit", "Net",
                "Base", "TestKit",
            ]),
        tests("CLITests", ["CLI", "APIClient", "Base", "TestKit"]),
        tests("TidyTests", []),
    ]
)
