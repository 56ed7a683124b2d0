import Testing

/// Every key that the configuration readers know stands in docs/configuration.md.
@Suite struct ConfigurationPageTests {
    @Test func everyConfigurationKeyIsDocumented() throws {
        let page = try #require(Tree.shared.text("docs/configuration.md"))
        var keys: [String] = []
        for file in Tree.shared.sources where file.path.hasPrefix("Sources/Server/Configuration/") {
            for line in file.lines {
                guard let key = knownKey(line.trimmed) else { continue }
                keys.append(key)
            }
        }
        #expect(keys.count > 60, "The readers are no longer where this test looks for their keys.")
        expectNone(
            keys.filter { !page.contains("`\($0)`") },
            "Give each of these keys of the configuration its row in docs/configuration.md.")
    }

    /// `ui` of `case "ui": \.isUIEnabled`: the one shape in which the readers name a key that has a meaning.
    private func knownKey(_ line: Substring) -> String? {
        guard line.hasPrefix("case \""), line.contains("\":") else { return nil }
        let name = line.dropFirst(6).prefix { $0 != "\"" }
        let isKey = name.allSatisfy { $0.isLowercase || $0 == "_" } && !["tcp", "unix"].contains(name)
        return isKey && !name.isEmpty ? String(name) : nil
    }
}
