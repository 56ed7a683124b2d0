package import Base

/// An OpenAPI 3.0 description of mounts, made from their routes and nothing else.
package struct OpenAPI: Sendable {
    /// One mount, or the sum of what a kind of mount has.
    package struct Mount: Sendable {
        /// `secret/`, `auth/userpass/`; with `{name}` where a client has to fill in.
        package let path: String
        /// `kv`, `system`: the tag of its operations.
        package let type: String
        package let routes: [RouteDescription]
        /// The mount's real path, when `path` has a placeholder for it.
        package let exampleMount: String?

        package init(path: String, type: String, routes: [RouteDescription], exampleMount: String? = nil) {
            self.path = path
            self.type = type
            self.routes = routes.filter { !$0.traits.contains(.hidden) }
            self.exampleMount = exampleMount
        }
    }

    private let mounts: [Mount]
    private let version: String

    /// - Parameter version: of the API.
    package init(mounts: [Mount], version: String) {
        self.mounts = mounts
        self.version = version
    }

    /// The whole document.
    package var document: JSONValue { document(paths: mounts.flatMap(Self.paths)) }

    /// The document of what meets one path below a mount.
    package static func document(of path: String, in mount: Mount, version: String) -> JSONValue {
        let matching = mount.routes.filter { $0.meets(path) }
        let narrowed = Mount(path: mount.path, type: mount.type, routes: matching)
        return OpenAPI(mounts: [narrowed], version: version).document
    }

    private func document(paths: [(String, JSONValue)]) -> JSONValue {
        var seen: Set<String> = []
        return [
            "openapi": "3.0.2",
            "info": [
                "title": "Holdfast HTTP API",
                "description":
                    "A secrets manager that speaks the HTTP API of Vault. All paths stand below /v1/.",
                "version": .string(version),
                "license": [
                    "name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0",
                ],
            ],
            "paths": .object(paths.filter { seen.insert($0.0).inserted }),
        ]
    }

    // MARK: Paths

    /// The path items of a mount, in the order of their first routes.
    private static func paths(of mount: Mount) -> [(String, JSONValue)] {
        var order: [String] = []
        var grouped: [String: [RouteDescription]] = [:]
        for route in mount.routes {
            let path = mount.path + route.openAPIPath
            if grouped[path] == nil { order.append(path) }
            grouped[path, default: []].append(route)
        }
        return order.map { path in ("/" + path, item(path, grouped[path] ?? [], mount)) }
    }

    private static func item(_ path: String, _ routes: [RouteDescription], _ mount: Mount) -> JSONValue {
        var members: [(String, JSONValue)] = [("description", .string(routes[0].summary))]
        let parameters = mountParameters(mount) + pathParameters(routes)
        if !parameters.isEmpty { members.append(("parameters", .array(parameters))) }
        if routes.contains(where: { $0.traits.contains(.sudo) }) { members.append(("x-vault-sudo", true)) }
        if routes.allSatisfy({ $0.traits.contains(.unauthenticated) }) {
            members.append(("x-vault-unauthenticated", true))
        }
        let isListed = routes.contains { $0.operation == .list }
        if let read = routes.first(where: { $0.operation == .read })
            ?? routes.first(where: { $0.operation == .list })
        {
            let list = isListed ? (read.operation == .list ? ListParameter.required : .optional) : .none
            members.append(("get", operation(read, path, mount, list)))
        }
        for (verb, wanted) in [("post", Operation.update), ("patch", .patch), ("delete", .delete)] {
            guard let route = routes.first(where: { $0.operation == wanted }) else { continue }
            members.append((verb, operation(route, path, mount, .none)))
        }
        return .object(members)
    }

    private enum ListParameter { case none, optional, required }

    private static func operation(
        _ route: RouteDescription, _ path: String, _ mount: Mount, _ list: ListParameter
    ) -> JSONValue {
        var members: [(String, JSONValue)] = [
            ("summary", .string(route.summary)), ("operationId", .string(identifier(route, path))),
            ("tags", [.string(mount.type)]),
        ]
        let inPath = Set(route.pattern.parameterNames)
        let fields = route.fields.filter { !inPath.contains($0.name) }
        let hasBody = route.operation == .update || route.operation == .patch
        var parameters = hasBody ? [] : fields.map { parameter($0, "query") }
        if list != .none {
            parameters.append([
                "name": "list", "in": "query", "required": .bool(list == .required),
                "description": "\"true\" asks for a list.", "schema": ["type": "string", "enum": ["true"]],
            ])
        }
        if !parameters.isEmpty { members.append(("parameters", .array(parameters))) }
        if hasBody, !fields.isEmpty {
            let schema = objectSchema(fields)
            members.append(
                ("requestBody", ["content": ["application/json": ["schema": schema]], "required": true]))
        }
        members.append(("responses", ["200": ["description": "OK"]]))
        return .object(members)
    }

    /// `secret-data-path-read`: the words of the path, then the operation.
    private static func identifier(_ route: RouteDescription, _ path: String) -> String {
        let words = path.split { !($0.isLetter || $0.isNumber || $0 == "_") }
        return (words.map(String.init) + [route.operation.rawValue]).joined(separator: "-")
    }

    // MARK: Parameters and schemas

    private static func mountParameters(_ mount: Mount) -> [JSONValue] {
        guard let real = mount.exampleMount, let open = mount.path.firstIndex(of: "{"),
            let close = mount.path.firstIndex(of: "}")
        else { return [] }
        return [
            [
                "name": .string(String(mount.path[mount.path.index(after: open)..<close])), "in": "path",
                "required": true, "description": "Where the mount is.",
                "schema": ["type": "string", "default": .string(real)],
            ]
        ]
    }

    private static func pathParameters(_ routes: [RouteDescription]) -> [JSONValue] {
        routes[0].pattern.parameterNames.map { name in
            let field = routes.flatMap(\.fields).first { $0.name == name }
            return parameter(
                field ?? FieldDescription(name: name, type: "string", summary: "", isRequired: true), "path")
        }
    }

    private static func parameter(_ field: FieldDescription, _ place: String) -> JSONValue {
        [
            "name": .string(field.name), "in": .string(place),
            "required": .bool(place == "path" || field.isRequired), "description": .string(field.summary),
            "schema": schema(field.type),
        ]
    }

    private static func objectSchema(_ fields: [FieldDescription]) -> JSONValue {
        let properties = fields.map { field -> (String, JSONValue) in
            guard case .object(let members) = schema(field.type) else { return (field.name, .object([])) }
            return (field.name, .object(members + [("description", .string(field.summary))]))
        }
        var members: [(String, JSONValue)] = [("type", "object"), ("properties", .object(properties))]
        let required = fields.filter(\.isRequired).map(\.name)
        if !required.isEmpty { members.append(("required", .strings(required))) }
        return .object(members)
    }

    /// The JSON schema of a field's type.
    private static func schema(_ type: String) -> JSONValue {
        switch type {
        case "string", "integer", "boolean", "number": ["type": .string(type)]
        case "duration": ["type": "string", "format": "duration"]
        case "array": ["type": "array", "items": ["type": "string"]]
        case "map": ["type": "object", "additionalProperties": ["type": "string"]]
        case "object": ["type": "object"]
        default: .object([])
        }
    }
}

extension RouteDescription {
    /// Whether a request for this path, of whatever kind, may come here.
    package func meets(_ path: String) -> Bool {
        pattern.match(path, isList: false) != nil
            || operation == .list && pattern.match(path, isList: true) != nil
    }

    /// The path below the mount with `{name}` for what varies. A list has a slash at its end.
    fileprivate var openAPIPath: String {
        let path = pattern.segments.map { segment in
            switch segment {
            case .literal(let text): text
            case .one(let name), .rest(let name): "{\(name)}"
            }
        }.joined(separator: "/")
        return path.isEmpty || operation != .list ? path : path + "/"
    }
}

extension PathPattern {
    /// The names that the pattern captures, in their order.
    package var parameterNames: [String] {
        segments.compactMap { segment in
            switch segment {
            case .literal: nil
            case .one(let name), .rest(let name): name
            }
        }
    }
}
