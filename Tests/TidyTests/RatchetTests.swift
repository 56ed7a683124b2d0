import Testing

/// Counts of what we want less of. A test fails when a count rises above its limit; when it has fallen,
/// lower the limit here, so that it never rises again.
@Suite struct RatchetTests {
    /// `@unchecked Sendable` in Sources: a promise that the compiler cannot check.
    static let uncheckedSendable = 15
    /// `nonisolated(unsafe)` in Sources.
    static let nonisolatedUnsafe = 8
    /// `package` types and functions without a `///` comment.
    static let undocumentedDeclarations = 104
    /// `package` properties and initializers without one; many say all by their names.
    static let undocumentedMembers = 538

    @Test func uncheckedSendableIsRareAndExplained() {
        var count = 0
        var unexplained: [String] = []
        for file in Tree.shared.sources {
            for (number, text) in file.code where text.contains("@unchecked Sendable") {
                count += 1
                if !hasComment(at: number, in: file, saying: "// SAFETY:") {
                    unexplained.append(file.place(number))
                }
            }
        }
        expectNone(unexplained, "Say under `// SAFETY:` why the compiler may trust this.")
        check(count, Self.uncheckedSendable, "@unchecked Sendable")
    }

    @Test func nonisolatedUnsafeIsRare() {
        let count = Tree.shared.sources.reduce(0) { sum, file in
            sum + file.code.count { $0.text.contains("nonisolated(unsafe)") }
        }
        check(count, Self.nonisolatedUnsafe, "nonisolated(unsafe)")
    }

    @Test func packageDeclarationsAreDocumented() {
        var members = 0
        var others: [String] = []
        for file in Tree.shared.sources {
            for (number, text) in file.code {
                guard let kind = packageDeclaration(text), !isDocumented(number, in: file) else { continue }
                if ["let", "var", "init", "subscript", "case"].contains(kind) {
                    members += 1
                } else {
                    others.append("\(file.place(number)): \(text.trimmed)")
                }
            }
        }
        check(others.count, Self.undocumentedDeclarations, "undocumented package types and functions", others)
        check(members, Self.undocumentedMembers, "undocumented package members")
    }

    private func check(_ count: Int, _ limit: Int, _ what: String, _ places: [String] = []) {
        #expect(
            count <= limit,
            "\(what): \(count), and no more than \(limit) are allowed\n\(places.prefix(40).joined(separator: "\n"))"
        )
        if count < limit {
            Issue.record("\(what): only \(count) are left; lower the limit from \(limit)", severity: .warning)
        }
    }

    /// `func`, `struct`, `let`, … when the line declares something `package`; nil for what needs no comment:
    /// imports, extensions, and what a standard protocol demands.
    private func packageDeclaration(_ text: Substring) -> String? {
        let words = text.trimmed.split(separator: " ")
        guard let start = words.firstIndex(of: "package"),
            words[..<start].allSatisfy({ $0.first == "@" || $0 == "nonisolated" })
        else { return nil }
        let kinds: Set<Substring> = [
            "func", "struct", "class", "enum", "actor", "protocol", "typealias", "let", "var", "init",
            "subscript", "case",
        ]
        for (at, word) in words.enumerated().dropFirst(start + 1) {
            let head = word.prefix { $0.isLetter }
            if head == "import" || head == "extension" { return nil }
            if head == "init" { return "init" }
            guard kinds.contains(head) else { continue }
            let next = at + 1 < words.count ? words[at + 1] : ""
            if head == "class", kinds.contains(next) { continue }
            let name = next.prefix { $0 != "(" && $0 != ":" && $0 != "<" }
            let demanded: Set<Substring> = [
                "description", "debugDescription", "hash", "==", "", "next", "makeIterator", "encode",
                "errorDescription",
            ]
            return demanded.contains(name) ? nil : String(head)
        }
        return nil
    }

    private func isDocumented(_ number: Int, in file: Tree.File) -> Bool {
        var at = number - 2
        while at >= 0, file.lines[at].trimmed.first == "@" { at -= 1 }
        return at >= 0 && file.lines[at].trimmed.hasPrefix("///")
    }

    /// In the comment right above the declaration, or right under its first line.
    private func hasComment(at number: Int, in file: Tree.File, saying word: String) -> Bool {
        var at = number - 2
        while at >= 0, file.lines[at].trimmed.hasPrefix("//") || file.lines[at].trimmed.first == "@" {
            if file.lines[at].contains(word) { return true }
            at -= 1
        }
        return file.lines.dropFirst(number).prefix(2).contains { $0.contains(word) }
    }
}
