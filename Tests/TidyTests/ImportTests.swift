import Testing

/// The direction of imports, as docs/architecture.md draws it: a narrow waist that everything may know,
/// plug-ins as leaves that know nothing of the core, one composition root that knows all.
@Suite struct ImportTests {
    /// Which modules of ours each target may import. What is not in a row is forbidden.
    static let allowed: [String: Set<String>] = [
        "Base": ["CPosix"],
        "Crypto": ["Base", "CCrypto", "CRNP", "CPosix"],
        "PluginKit": ["Base"],
        "NodeStore": ["Base", "CLMDB", "CPosix"],
        "Net": ["Base", "Crypto", "CSSL", "CCurl", "CNGHTTP2", "CPosix"],
        "Archives": ["Base", "Crypto", "CZlib"],
        "Upstream": ["Net", "Crypto", "Base", "CPKCS11", "CPosix"],
        "Consensus": ["Base", "CRaftCore", "CPosix"],
        "Barrier": ["PluginKit", "Crypto", "Base"],
        "Core": ["Barrier", "PluginKit", "Crypto", "Base", "CPosix"],
        "SystemAPI": ["Core", "Barrier", "PluginKit", "Crypto", "Base"],
        "SecretsEngines": ["PluginKit", "Crypto", "Upstream", "Base"],
        "AuthMethods": ["PluginKit", "Crypto", "Upstream", "Base"],
        "Seals": ["PluginKit", "Crypto", "Upstream", "Base"],
        "AuditDevices": ["PluginKit", "Crypto", "Upstream", "Base"],
        "StorageBackends": [
            "PluginKit", "Crypto", "Upstream", "NodeStore", "Consensus", "Base", "CPosix",
        ],
        "Server": [
            "SystemAPI", "Core", "Barrier", "SecretsEngines", "AuthMethods", "Seals", "AuditDevices",
            "StorageBackends", "Consensus", "Archives", "PluginKit", "Net", "Upstream", "Crypto", "Base",
            "CPosix",
            "CWebUI",
        ],
        "APIClient": ["Net", "Base"],
        "CLI": ["APIClient", "Archives", "Net", "Base", "CPosix"],
        "Operator": ["APIClient", "Upstream", "Net", "Base", "CPosix"],
        "TestKit": ["PluginKit", "Consensus", "Base"],
        "holdfast": ["CLI", "Operator", "Server", "Base", "CWipingAllocator"],
    ]

    /// What comes with the toolchain and may be used anywhere. Foundation is not among it: it is large,
    /// slow on the hot path, and would make copies of secrets that nobody can wipe.
    static let system: Set<String> = ["Glibc", "Swift", "Synchronization"]

    /// One Swift target stands before each C library.
    static let soleImporter = [
        "CLMDB": "NodeStore", "CCrypto": "Crypto", "CRNP": "Crypto", "CSSL": "Net", "CCurl": "Net",
        "CNGHTTP2": "Net", "CRaftCore": "Consensus", "CZlib": "Archives", "CPKCS11": "Upstream",
        "CWipingAllocator": "holdfast", "CWebUI": "Server",
    ]

    struct Import {
        let module: String
        let place: String
    }

    static func imports(of file: Tree.File) -> [Import] {
        file.code.compactMap { number, text in
            let words = text.split(separator: " ")
            guard let at = words.firstIndex(of: "import"), at + 1 < words.count,
                words[..<at].allSatisfy({
                    $0.hasPrefix("@") || ["package", "internal", "private", "public"].contains($0)
                })
            else { return nil }
            let kinds: Set<Substring> = [
                "struct", "class", "enum", "protocol", "func", "let", "var", "typealias",
            ]
            let name = kinds.contains(words[at + 1]) && at + 2 < words.count ? words[at + 2] : words[at + 1]
            return Import(module: String(name.prefix { $0 != "." }), place: file.place(number))
        }
    }

    @Test func importsOnlyPointTheWayThatTheHouseAllows() {
        var wrong: [String] = []
        for file in Tree.shared.sources where !file.path.hasPrefix("Sources/C/") {
            guard let row = Self.allowed[file.target]?.union(Self.system) else {
                wrong.append("\(file.path): target \(file.target) has no row in the table")
                continue
            }
            for found in Self.imports(of: file) where !row.contains(found.module) {
                wrong.append("\(found.place): \(file.target) must not import \(found.module)")
            }
        }
        expectNone(wrong, "See docs/architecture.md.")
    }

    @Test func everyCLibraryHasOneImporter() {
        for file in Tree.shared.sources {
            for found in Self.imports(of: file) {
                if let owner = Self.soleImporter[found.module] {
                    #expect(file.target == owner, "\(found.place): only \(owner) imports \(found.module)")
                }
            }
        }
    }

    @Test func noTargetIsNamedAsOneOfItsTypes() {
        for file in Tree.shared.sources {
            for (number, text) in file.code {
                for kind in ["struct", "class", "enum", "actor", "protocol"] {
                    let words = text.split { !($0.isLetter || $0.isNumber || $0 == "_") }
                    guard let at = words.firstIndex(of: Substring(kind)), at + 1 < words.count else {
                        continue
                    }
                    #expect(words[at + 1] != file.target, "\(file.place(number)): named as its module")
                }
            }
        }
    }

    @Test func theDirectionTableHasNoCycle() {
        var done: Set<String> = []
        var rest = Set(Self.allowed.keys)
        while let leaf = rest.first(where: { Self.allowed[$0, default: []].isDisjoint(with: rest) }) {
            rest.remove(leaf)
            done.insert(leaf)
        }
        #expect(rest.isEmpty, "these import each other: \(rest.sorted())")
    }
}
