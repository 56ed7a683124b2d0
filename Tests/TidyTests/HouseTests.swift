import Foundation
import Testing

/// The tree as a whole: plug-ins are registered, copies are equal, links lead somewhere, and nothing in it
/// belongs to one machine.
@Suite struct HouseTests {
    /// Where plug-ins live, and what each of them conforms to.
    static let plugins = [
        "SecretsEngines": "SecretsEngine", "AuthMethods": "AuthMethod", "Seals": "Seal",
        "StorageBackends": "StorageBackend", "AuditDevices": "AuditDevice",
    ]

    @Test func everyPluginIsInTheCatalog() throws {
        let text = Tree.shared.text("Sources/Server/Catalog.swift")
        let catalog = try #require(text, "there is no Sources/Server/Catalog.swift")
        for (target, kind) in Self.plugins {
            for (folder, files) in folders(of: target) {
                let conforming = files.flatMap { types(in: $0, conformingTo: kind) }
                let all = files.flatMap { $0.code.compactMap { declaredType($0.text) } }
                let known = conforming.isEmpty ? all : conforming
                #expect(
                    known.contains { catalog.mentions($0) },
                    "\(folder): none of \(known.sorted()) is in Server/Catalog.swift")
            }
        }
    }

    @Test func copiesOfTheSharedTestsAreEqualToTheirSource() throws {
        let result = try Tree.shared.run(["scripts/sync-shared", "--check"])
        #expect(result.status == 0, "\(result.output)")
    }

    @Test func nothingBelongsToOneMachine() {
        // Put together from pieces, so that this file does not find itself.
        let banned = [
            "/ro" + "ot/", "/ho" + "me/", "/wo" + "rk/", "/opt/" + "swift", ".py" + "env",
            "deb.deb" + "ian.org",
            "py" + "pi.org", "pythonho" + "sted.org", "registry.np" + "mjs", "/tmp/sl" + "ices",
        ]
        var found: [String] = []
        for file in Tree.shared.files {
            for (index, line) in file.lines.enumerated() {
                for word in banned where line.contains(word) {
                    found.append("\(file.place(index + 1)) names \(word)")
                }
            }
        }
        expectNone(found, "These exist on one machine only.")
    }

    @Test func linksInTheDocumentsLeadSomewhere() {
        for file in Tree.shared.files where file.path.hasSuffix(".md") {
            let folder = (file.path as NSString).deletingLastPathComponent
            for (index, line) in file.lines.enumerated() {
                for link in line.matches(of: /\]\(([^)#\s]+)[^)]*\)/).map(\.1) where !link.contains("://") {
                    let target = ((folder as NSString).appendingPathComponent(String(link)) as NSString)
                    // Not asked within the macro, which would print the whole tree.
                    let isThere = Tree.shared.exists(target.standardizingPath)
                    #expect(
                        isThere,
                        "\(file.place(index + 1)) leads to \(link), which is not there")
                }
            }
        }
    }

    @Test func whatIsRunCanBeRun() {
        for path in [
            "scripts/bootstrap", "scripts/test", "scripts/bench", "scripts/release", "scripts/sync-shared",
        ] {
            let full = Tree.shared.root.appending(path: path).path(percentEncoded: false)
            #expect(
                FileManager.default.isExecutableFile(atPath: full), "\(path) is missing or not executable")
        }
        #expect(Tree.shared.exists(".ci/run"))
    }

    @Test func everyTargetWithCodeIsInTheManifest() throws {
        let text = Tree.shared.text("Package.swift")
        let manifest = try #require(text)
        for target in Set(Tree.shared.sources.filter { !$0.path.hasPrefix("Sources/C/") }.map(\.target)) {
            #expect(manifest.contains("\"\(target)\""), "Sources/\(target) has no target in Package.swift")
        }
    }

    // MARK: -

    /// The files of each plug-in: a folder of the target, or one file right in it. What lies right in a
    /// target that has folders too is what its plug-ins share.
    private func folders(of target: String) -> [String: [Tree.File]] {
        let prefix = "Sources/\(target)/"
        var found: [String: [Tree.File]] = [:]
        for file in Tree.shared.sources where file.path.hasPrefix(prefix) {
            let parts = file.path.dropFirst(prefix.count).split(separator: "/")
            found[parts.count > 1 ? prefix + parts[0] : file.path, default: []].append(file)
        }
        let kind = Self.plugins[target, default: ""]
        return found.filter { name, files in
            !name.hasSuffix(".swift") || !types(in: files[0], conformingTo: kind).isEmpty
        }
    }

    private func types(in file: Tree.File, conformingTo kind: String) -> [String] {
        file.code.compactMap { _, text in
            guard let name = declaredType(text), let colon = text.firstIndex(of: ":") else { return nil }
            return String(text[colon...]).mentions(kind) ? name : nil
        }
    }
}

extension String {
    /// The word stands here, and not as a part of a longer one.
    func mentions(_ word: String) -> Bool {
        split { !($0.isLetter || $0.isNumber || $0 == "_") }.contains(Substring(word))
    }
}
