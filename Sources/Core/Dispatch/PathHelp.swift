import Base
import PluginKit

/// The answer to a request for help (Vault API: `?help=1`): what a mount has, or what one path takes. All of
/// it is read from the routes.
enum PathHelp {
    /// - Parameter path: below the mount; empty for the mount itself.
    /// - Throws: `.unsupportedPath` when no route meets the path.
    static func answer(_ mount: Mount, _ path: String, _ fullPath: String) throws(VaultError)
        -> LogicalResponse
    {
        let routes = mount.routes.routes.map(\.description).filter { !$0.traits.contains(.hidden) }
        let described = OpenAPI.Mount(path: mount.apiPath, type: mount.entry.type, routes: routes)
        if path.isEmpty {
            let document = OpenAPI(mounts: [described], version: Version.api).document
            return response(text(of: mount, routes), document)
        }
        let matching = routes.filter { $0.meets(path) }
        guard !matching.isEmpty else { throw .unsupportedPath }
        let document = OpenAPI.document(of: path, in: described, version: Version.api)
        return response(text(of: matching, fullPath), document)
    }

    private static func response(_ help: String, _ document: JSONValue) -> LogicalResponse {
        .plain(["help": .string(help), "see_also": nil, "openapi": document])
    }

    private static func text(of mount: Mount, _ routes: [RouteDescription]) -> String {
        let kind = mount.entry.kind == .auth ? "auth method" : "secrets engine"
        var lines = ["## DESCRIPTION", "", "The \(mount.entry.type) \(kind) at \(mount.apiPath)."]
        if !mount.entry.description.isEmpty { lines.append(mount.entry.description) }
        lines += ["", "## PATHS", ""]
        lines.append("Ask for the help of any path that fits one of these patterns to see what it takes.")
        lines.append("Your policies decide which of them you may use.")
        var seen: Set<String> = []
        for route in routes where seen.insert(route.pattern.description).inserted {
            lines += ["", "    \(route.pattern)"]
            for other in routes where other.pattern.description == route.pattern.description {
                lines.append("        \(other.operation.rawValue): \(other.summary)")
            }
        }
        return lines.joined(separator: "\n") + "\n"
    }

    private static func text(of routes: [RouteDescription], _ fullPath: String) -> String {
        var lines = [
            "Request:        \(fullPath)", "Matching Route: \(routes[0].pattern)", "", routes[0].summary, "",
        ]
        var fields: [FieldDescription] = []
        for field in routes.flatMap(\.fields) where !fields.contains(where: { $0.name == field.name }) {
            fields.append(field)
        }
        if !fields.isEmpty {
            lines.append("## PARAMETERS")
            for field in fields.sorted(by: { $0.name < $1.name }) {
                lines += ["", "    \(field.name) (\(field.type))\(field.isRequired ? ", required" : "")"]
                lines.append("        \(field.summary)")
            }
            lines.append("")
        }
        lines += ["## OPERATIONS", ""]
        for route in routes {
            let sudo = route.traits.contains(.sudo) ? " (needs sudo)" : ""
            lines.append("    \(route.operation.rawValue): \(route.summary)\(sudo)")
        }
        return lines.joined(separator: "\n") + "\n"
    }
}
