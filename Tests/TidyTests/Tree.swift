import Foundation
import Testing

/// The repository as files and lines, read once. Tidy's tests only look; they need nothing that is built.
struct Tree: Sendable {
    /// One text file.
    struct File: Sendable {
        /// From the repository's root: `Sources/Base/Clock.swift`.
        let path: String
        let lines: [Substring]

        var isSwift: Bool { path.hasSuffix(".swift") }
        /// `Base` of `Sources/Base/Clock.swift`.
        var target: String { path.split(separator: "/").dropFirst().first.map(String.init) ?? "" }

        /// Every line with its number, without what follows `//`.
        var code: [(number: Int, text: Substring)] {
            lines.enumerated().map { ($0.offset + 1, $0.element.beforeComment) }
        }

        func place(_ number: Int) -> String { "\(path):\(number)" }
    }

    /// What is not ours, or not kept.
    static let skipped: Set<String> = [
        ".git", ".build", ".deps", ".venv", "dist", "__pycache__", "Tests/System/conformance",
        "Tests/System/faults",
    ]

    static let shared = Tree()

    let root: URL
    let files: [File]

    private init() {
        // Links are followed first, so that a package that borrows this folder still sees its home.
        root = URL(filePath: #filePath).resolvingSymlinksInPath()
            .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        var found: [File] = []
        Self.collect(root, "", &found)
        files = found.sorted { $0.path < $1.path }
    }

    var sources: [File] { files.filter { $0.isSwift && $0.path.hasPrefix("Sources/") } }
    var swift: [File] {
        files.filter { $0.isSwift && ($0.path.hasPrefix("Sources/") || $0.path.hasPrefix("Tests/")) }
    }

    func text(_ path: String) -> String? {
        files.first { $0.path == path }.map { $0.lines.joined(separator: "\n") }
    }

    func exists(_ path: String) -> Bool {
        FileManager.default.fileExists(atPath: root.appending(path: path).path(percentEncoded: false))
    }

    /// Runs a program in the repository's root. Gives its exit status and all that it printed.
    func run(_ arguments: [String]) throws -> (status: Int32, output: String) {
        let process = Process()
        let pipe = Pipe()
        process.executableURL = URL(filePath: "/usr/bin/env")
        process.arguments = arguments
        process.currentDirectoryURL = root
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = pipe
        process.standardError = pipe
        try process.run()
        let output = try pipe.fileHandleForReading.readToEnd() ?? Data()
        process.waitUntilExit()
        return (process.terminationStatus, String(decoding: output, as: UTF8.self))
    }

    private static func collect(_ root: URL, _ folder: String, _ found: inout [File]) {
        let here = folder.isEmpty ? root : root.appending(path: folder)
        let names =
            (try? FileManager.default.contentsOfDirectory(atPath: here.path(percentEncoded: false))) ?? []
        for name in names {
            let path = folder.isEmpty ? name : "\(folder)/\(name)"
            guard !skipped.contains(name), !skipped.contains(path) else { continue }
            var isFolder: ObjCBool = false
            let full = root.appending(path: path).path(percentEncoded: false)
            _ = FileManager.default.fileExists(atPath: full, isDirectory: &isFolder)
            if isFolder.boolValue {
                collect(root, path, &found)
            } else if let data = FileManager.default.contents(atPath: full),
                let text = String(validating: data, as: UTF8.self)
            {
                found.append(
                    File(path: path, lines: text.split(separator: "\n", omittingEmptySubsequences: false)))
            }
        }
    }
}

extension Substring {
    /// The line up to `//`, unless that stands in a string (as in an address).
    var beforeComment: Substring {
        var quoted = false
        var previous: Character = " "
        for index in indices {
            let character = self[index]
            if character == "\"", previous != "\\" { quoted.toggle() }
            if character == "/", previous == "/", !quoted { return self[..<self.index(before: index)] }
            previous = character
        }
        return self
    }

    var trimmed: Substring {
        var rest = self
        while rest.first == " " { rest.removeFirst() }
        while rest.last == " " { rest.removeLast() }
        return rest
    }
}

/// One failure for all that a rule found, so that a long list stays readable.
func expectNone(
    _ problems: [String], _ rule: Comment, sourceLocation: SourceLocation = #_sourceLocation
) {
    let shown = problems.prefix(40).joined(separator: "\n")
    let more = problems.count > 40 ? "\nand \(problems.count - 40) more" : ""
    let isClean = problems.isEmpty
    #expect(isClean, "\(rule) \(problems.count) places:\n\(shown)\(more)", sourceLocation: sourceLocation)
}
