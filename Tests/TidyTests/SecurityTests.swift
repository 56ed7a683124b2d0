import Foundation
import Testing

/// docs/security/known-vulnerabilities.md: it has every row of the catalogue, and the tests it names exist.
@Suite struct SecurityTests {
    private static let page = "docs/security/known-vulnerabilities.md"
    /// The rows of the sections that the page answers for.
    private static let rows = Set(1...31).union(71...105)

    private struct Row {
        let place: String
        let number: Int
        let answer: String
        /// What stands between backquotes and looks like a test.
        var references: [String] {
            answer.matches(of: /`([^`]+)`/).map { String($0.1) }.filter {
                $0.hasPrefix("hostile ") || $0.hasPrefix("stage ")
                    || $0.wholeMatch(of: /\w+Tests\/\w+\.\w+/) != nil
            }
        }
    }

    private func table() throws -> [Row] {
        let file = try #require(Tree.shared.files.first { $0.path == Self.page })
        return file.lines.enumerated().compactMap { index, line in
            let cells = line.split(separator: "|").map(\.trimmed)
            guard line.hasPrefix("|"), cells.count == 3, let number = Int(cells[0]) else { return nil }
            return Row(place: file.place(index + 1), number: number, answer: String(cells[2]))
        }
    }

    @Test func everyRowIsThereOnceAndHasAnAnswer() throws {
        let table = try table()
        #expect(table.map(\.number) == Self.rows.sorted())
        expectNone(
            table.filter { $0.references.isEmpty && !$0.answer.contains("Cannot apply") }.map(\.place),
            "A row names a test, or says why it cannot apply.")
    }

    @Test func everyTestThatIsNamedExists() throws {
        let cases = try hostileCases()
        let stages = try systemStages()
        var missing: [String] = []
        for row in try table() {
            for reference in row.references where !exists(reference, cases, stages) {
                missing.append("\(row.place): \(reference)")
            }
        }
        expectNone(missing, "These tests do not exist, or are left out of the run.")
    }

    /// The check itself: a name that is nearly right is not found.
    @Test func namesThatAreNearlyRightAreNotFound() throws {
        let cases = try hostileCases()
        let stages = try systemStages()
        for reference in [
            "hostile path/list-*", "stage proxy: PROXY protocol", "stage leak", "stage audit: full disk",
            "TidyTests/SecurityTests.namesThatAreNearlyRightAreNotFound",
        ] {
            #expect(exists(reference, cases, stages), "\(reference)")
        }
        for reference in [
            "hostile path/lost-*", "hostile web/csp-9", "stage proxies: PROXY protocol", "stage proxy: PROXY",
            "stage leaks", "stage audit: full disks", "TidyTests/SecurityTests.exists",
            "TidyTests/StyleTests.namesThatAreNearlyRightAreNotFound",
            "TidyTests/SecurityTests.namesThatAreNearly",
        ] {
            #expect(!exists(reference, cases, stages), "\(reference)")
        }
        // A case that is known to fail holds nothing.
        let rules = try json("Tests/System/hostile-exceptions.json")
        for name in (try #require(rules["cases"] as? [String: String])).keys {
            #expect(!exists("hostile \(name)", cases, stages), "\(name)")
        }
    }

    // MARK: -

    private func exists(_ reference: String, _ cases: [String], _ stages: [String: String]) -> Bool {
        if reference.hasPrefix("hostile ") {
            let pattern = reference.dropFirst("hostile ".count)
            guard let star = pattern.firstIndex(of: "*") else { return cases.contains(String(pattern)) }
            return cases.contains { $0.hasPrefix(pattern[..<star]) }
        }
        if reference.hasPrefix("stage ") {
            let parts = reference.dropFirst("stage ".count).split(separator: ": ", maxSplits: 1)
            guard let name = parts.first, let text = stages[String(name)] else { return false }
            guard parts.count == 2 else { return true }
            let function = parts[1].replacing(" ", with: "_")
            return text.contains("\"\(parts[1])\"") || text.contains("def \(function)(")
        }
        let parts = reference.split { $0 == "/" || $0 == "." }
        guard parts.count == 3, let text = Tree.shared.text("Tests/\(parts[0])/\(parts[1]).swift") else {
            return false
        }
        return isTest(String(parts[2]), in: text)
    }

    /// `@Test` stands before the function: on its line, or above it with nothing but arguments in between.
    private func isTest(_ name: String, in text: String) -> Bool {
        guard let function = text.firstRange(of: "func \(name)(") else { return false }
        let before = text[..<function.lowerBound]
        guard let mark = before.ranges(of: "@Test").last else { return false }
        return !before[mark.upperBound...].contains("func ")
    }

    /// `class/id` of the cases that must pass.
    private func hostileCases() throws -> [String] {
        let corpus = try json("Tests/System/faults/hostile_public.json")
        let rules = try json("Tests/System/hostile-exceptions.json")
        let excepted = try #require(rules["cases"] as? [String: String])
        let cases = try #require(corpus["cases"] as? [[String: Any]])
        return cases.compactMap { entry in
            guard let kind = entry["class"] as? String, let id = entry["id"] as? String else { return nil }
            return "\(kind)/\(id)"
        }.filter { excepted[$0] == nil }
    }

    /// The text of each stage's script; empty for those whose script is not ours.
    private func systemStages() throws -> [String: String] {
        let found = Tree.shared.text("Tests/System/run")
        let run = try #require(found)
        var stages: [String: String] = [:]
        for stage in run.split(separator: "Stage(\"").dropFirst() {
            let name = String(stage.prefix { $0 != "\"" })
            let script = stage.firstMatch(of: /(?:own\(|HERE \/ )"(\w+\.py)"/).map { String($0.1) }
            stages[name] = script.flatMap { Tree.shared.text("Tests/System/\($0)") } ?? ""
        }
        return stages
    }

    private func json(_ path: String) throws -> [String: Any] {
        let data = try Data(contentsOf: Tree.shared.root.appending(path: path))
        return try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
    }
}
