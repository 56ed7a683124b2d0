import Base
import Core
import Foundation
import PluginKit
import StorageBackends
import SystemAPI

@testable import Server

/// `docs/reference/` and `docs/api/openapi.json`, as the routes of everything in the catalog make them.
struct ReferencePages {
    /// Each file's text by its path in the tree.
    let files: [String: String]

    init() throws {
        let mounts = try Self.mounts()
        var files = ["docs/reference/README.md": Self.index(mounts)]
        for mount in mounts { files["docs/reference/\(mount.page).md"] = Self.page(mount) }
        let document = APIDescription.openAPI(of: mounts.map(\.mount), isGeneric: true)
        let parsed = try JSONSerialization.jsonObject(with: Data(document.encoded()))
        let pretty = try JSONSerialization.data(
            withJSONObject: parsed, options: [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes])
        files["docs/api/openapi.json"] = String(decoding: pretty, as: UTF8.self) + "\n"
        self.files = files
    }

    private struct Described {
        let page: String
        let title: String
        let summary: String
        let mount: Mount
    }

    /// Options that make an engine another one.
    private static let variants: [String: [(suffix: String, options: [String: String])]] = [
        "kv": [("-v1", ["version": "1"]), ("-v2", ["version": "2"])]
    ]

    /// Every mount that a server can have, each once, from a node of a cluster: it has the most endpoints.
    private static func mounts() throws -> [Described] {
        let log = Log(level: .error)
        let directory = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        var configuration = ServerConfiguration()
        configuration.storage = BackendConfiguration(
            type: RaftBackend.type, options: ["path": directory.path, "node_id": "n"],
            body: HCLObject(members: []), position: HCLPosition(line: 0, column: 0))
        var listener = Server.ListenerConfiguration(kind: .tcp, address: "127.0.0.1:0")
        listener.clusterAddress = "127.0.0.1:0"
        listener.isTLSDisabled = true
        configuration.listeners = [listener]
        let node = try Node(configuration, log: log)
        defer {
            node.core.seal()
            node.core.backend.close()
        }
        let keys = try node.seal.initialize(shares: 1, threshold: 1)
        try node.seal.enter(share: Hex.encode(keys.shares[0]))
        var found: [Described] = []
        for mount in node.core.mounts.current.mounts where !mount.routes.routes.isEmpty {
            let name = mount.entry.apiPath.split(separator: "/").joined(separator: "-")
            found.append(
                Described(
                    page: name, title: mount.apiPath, summary: mount.entry.description, mount: mount))
        }
        for type in Catalog.secretsEngines {
            found += try describe(node, .secret, type.type, "secrets", type.summary)
        }
        for type in Catalog.authMethods {
            found += try describe(node, .auth, type.type, "auth", type.summary)
        }
        return found.sorted { $0.page < $1.page }
    }

    private static func describe(
        _ node: Node, _ kind: MountKind, _ type: String, _ prefix: String, _ summary: String
    ) throws -> [Described] {
        try (variants[type] ?? [("", [:])]).map { suffix, options in
            var entry = MountEntry(
                kind: kind, path: "\(type)\(suffix)/", type: type, description: "", random: SystemRandom())
            entry.options = options
            let mount = try node.core.mounts.build(entry)
            return Described(
                page: "\(prefix)-\(type)\(suffix)", title: "\(type)\(suffix)", summary: summary, mount: mount)
        }
    }

    // MARK: Text

    private static let notice =
        "Made from the routes by `make reference`; do not edit. All paths stand below `/v1/`.\n"

    private static func index(_ mounts: [Described]) -> String {
        var text = "# The API\n\n\(notice)\n"
        for mount in mounts { text += "- [\(mount.title)](\(mount.page).md): \(mount.summary)\n" }
        text += "\nThe same as an OpenAPI document: [openapi.json](../api/openapi.json).\n"
        return text
    }

    private static func page(_ described: Described) -> String {
        var text = "# \(described.title)\n\n\(described.summary)\n\n\(notice)"
        let routes = described.mount.routes.routes.map(\.description)
            .filter { !$0.traits.contains(.hidden) }
        var order: [String] = []
        for route in routes where !order.contains(route.pattern.description) {
            order.append(route.pattern.description)
        }
        for pattern in order {
            text += "\n## `\(described.mount.apiPath)\(pattern)`\n\n"
            let here = routes.filter { $0.pattern.description == pattern }
            text += "| request | what it does | needs |\n|--|--|--|\n"
            for route in here { text += "| \(verb(route)) | \(cell(route.summary)) | \(needs(route)) |\n" }
            text += table(of: here)
        }
        return text
    }

    private static func table(of routes: [RouteDescription]) -> String {
        var fields: [FieldDescription] = []
        for field in routes.flatMap(\.fields) where !fields.contains(where: { $0.name == field.name }) {
            fields.append(field)
        }
        if fields.isEmpty { return "" }
        var text = "\n| field | type | meaning |\n|--|--|--|\n"
        for field in fields {
            let required = field.isRequired ? ", required" : ""
            text += "| `\(field.name)` | \(field.type)\(required) | \(cell(field.summary)) |\n"
        }
        return text
    }

    private static func verb(_ route: RouteDescription) -> String {
        switch route.operation {
        case .read, .help: "GET"
        case .list: "LIST"
        case .create, .update: "POST"
        case .patch: "PATCH"
        case .delete: "DELETE"
        }
    }

    private static func needs(_ route: RouteDescription) -> String {
        let traits = route.traits
        if traits.contains(.whileSealed) { return "nothing, also while sealed" }
        if traits.contains(.unauthenticated) { return "nothing" }
        if traits.contains(.optionalToken) { return "nothing; a token shows more" }
        return traits.contains(.sudo) ? "a token with sudo" : "a token"
    }

    private static func cell(_ text: String) -> String { text.replacingOccurrences(of: "|", with: "\\|") }
}
