import Testing

/// What the style guide says and a test can see.
@Suite struct StyleTests {
    /// Type endings that say nothing.
    static let emptyNames = ["Manager", "Helper", "Helpers", "Utils", "Util", "Common"]

    @Test func filesAreShort() {
        expectNone(
            Tree.shared.swift.filter { $0.lines.count > 801 }.map { "\($0.path): \($0.lines.count - 1)" },
            "Files stop at 800 lines.")
    }

    /// Lines over 110 columns that are still to be mended: the number may only fall.
    private static let longLines = 43

    @Test func linesAreShort() {
        let long = Tree.shared.swift.flatMap { file in
            file.lines.enumerated().filter { $0.element.count > 110 && !$0.element.isTestVector }
                .map { "\(file.place($0.offset + 1)): \($0.element.count)" }
        }
        #expect(long.count <= Self.longLines, "Lines stop at 110 columns: \(long)")
    }

    @Test func functionsAreShort() {
        expectNone(
            Tree.shared.sources.flatMap { file in
                functions(in: file).filter { $0.length > 70 }.map { "\(file.place($0.number)): \($0.length)" }
            }, "Functions stop at 70 lines.")
    }

    @Test func nothingInSourcesMayCrash() {
        expectNone(places(of: ["try!", "as!", "fatalError("]), "Throw for the world's mistakes.")
    }

    @Test func nothingInSourcesIsLeftForLater() {
        var found: [String] = []
        for file in Tree.shared.sources {
            for (index, line) in file.lines.enumerated() {
                for word in ["TODO", "FIXME", "XXX"] where String(line).mentions(word) {
                    found.append("\(file.place(index + 1)): \(word)")
                }
            }
        }
        expectNone(found, "Do it, or file it as an issue.")
    }

    @Test func typeNamesSayWhatTheyAre() {
        expectNone(
            Tree.shared.sources.flatMap { file in
                file.code.compactMap { number, text in
                    guard let name = declaredType(text), Self.emptyNames.contains(where: name.hasSuffix),
                        name != "TokenHelper"  // the field's own word
                    else { return nil }
                    return "\(file.place(number)): \(name)"
                }
            }, "These endings say nothing: \(Self.emptyNames).")
    }

    @Test func theTreeIsFormatted() throws {
        let result = try Tree.shared.run([
            "swift", "format", "lint", "--strict", "--recursive", "--parallel", "Package.swift", "Sources",
            "Tests",
        ])
        #expect(
            result.status == 0,
            "run `make format`; it cannot mend all of this:\n\(result.output.suffix(4000))")
    }

    // MARK: -

    private func places(of words: [String]) -> [String] {
        Tree.shared.sources.flatMap { file in
            file.code.flatMap { number, text in
                words.filter { text.contains($0) }.map { "\(file.place(number)): \($0)" }
            }
        }
    }

    struct Function {
        let number: Int
        let length: Int
    }

    /// Formatted code closes a function with a brace below the column where its first line began.
    private func functions(in file: Tree.File) -> [Function] {
        var found: [Function] = []
        for (index, line) in file.lines.enumerated() {
            let indent = line.prefix { $0 == " " }
            let words = line.beforeComment.split(separator: " ")
            guard let at = words.firstIndex(where: { $0 == "func" || $0.hasPrefix("init(") }),
                words[..<at].allSatisfy({ $0.first == "@" || modifiers.contains($0.prefix { $0 != "(" }) }),
                words.last != "}"
            else { continue }
            let close = "\(indent)}"
            guard
                let end = file.lines[(index + 1)...].firstIndex(where: { $0 == close || isNext($0, indent) }),
                file.lines[end] == close
            else { continue }
            found.append(Function(number: index + 1, length: end - index + 1))
        }
        return found
    }

    private let modifiers: Set<Substring> = [
        "package", "private", "fileprivate", "internal", "public", "static", "final", "mutating", "override",
        "nonisolated", "consuming", "borrowing", "convenience", "required", "class", "isolated",
    ]

    /// A declaration at the same column: the one before had no body of its own (a protocol's requirement).
    private func isNext(_ line: Substring, _ indent: Substring) -> Bool {
        line.hasPrefix(indent) && !line.hasPrefix("\(indent) ")
            && line.dropFirst(indent.count).split(separator: " ").contains {
                $0 == "func" || $0.hasPrefix("init(")
            }
    }
}

/// The name of the type that a line declares.
func declaredType(_ text: Substring) -> String? {
    let words = text.split { !($0.isLetter || $0.isNumber || $0 == "_") }
    for (at, word) in words.enumerated()
    where ["struct", "class", "enum", "actor", "protocol"].contains(word) {
        guard at + 1 < words.count, words[at + 1].first?.isUppercase == true else { continue }
        return String(words[at + 1])
    }
    return nil
}

extension Substring {
    /// One long literal: a key, a token, a ciphertext. Breaking it would make it harder to check.
    var isTestVector: Bool {
        split { $0 == " " || $0 == "\"" }.contains { $0.count > 60 }
    }
}
