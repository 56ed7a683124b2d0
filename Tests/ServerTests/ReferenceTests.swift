import Base
import Foundation
import PluginKit
import Testing

/// The reference pages and the OpenAPI document in the tree are what the routes make today.
/// `make reference` writes them: it runs this suite with HOLDFAST_WRITE_REFERENCE=1.
@Suite struct ReferenceTests {
    private static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent()

    @Test func theReferenceIsWhatTheRoutesSay() throws {
        let pages = try ReferencePages()
        if ProcessInfo.processInfo.environment["HOLDFAST_WRITE_REFERENCE"] == "1" {
            try write(pages)
        }
        for (path, text) in pages.files.sorted(by: { $0.key < $1.key }) {
            let stored = try? String(contentsOf: Self.root.appending(path: path), encoding: .utf8)
            #expect(stored == text, "\(path) is stale: run `make reference`")
        }
        #expect(Set(stored()) == Set(pages.files.keys), "pages of what is gone: run `make reference`")
    }

    @Test func everyOperationHasAnIdentifierOfItsOwn() throws {
        let text = try #require(try ReferencePages().files["docs/api/openapi.json"])
        let document = try RawJSON(validating: Array(text.utf8))
        var identifiers: [String] = []
        for (_, item) in document["paths"]?.members ?? [] {
            for verb in ["get", "post", "patch", "delete"] {
                if let id = item[verb]?["operationId"]?.string { identifiers.append(id) }
            }
        }
        #expect(identifiers.count > 100)
        #expect(Set(identifiers).count == identifiers.count)
    }

    private func write(_ pages: ReferencePages) throws {
        for path in stored() { try FileManager.default.removeItem(at: Self.root.appending(path: path)) }
        for (path, text) in pages.files {
            let file = Self.root.appending(path: path)
            try FileManager.default.createDirectory(
                at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
            try Data(text.utf8).write(to: file)
        }
    }

    /// The generated files that are there.
    private func stored() -> [String] {
        ["docs/reference", "docs/api"].flatMap { folder in
            let full = Self.root.appending(path: folder).path(percentEncoded: false)
            let names = (try? FileManager.default.contentsOfDirectory(atPath: full)) ?? []
            return names.map { "\(folder)/\($0)" }
        }
    }
}
