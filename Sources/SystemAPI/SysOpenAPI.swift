package import Base
package import Core
package import PluginKit

/// `sys/internal/specs/openapi`: the API of all mounts in which the caller may do anything.
package struct SysOpenAPI: Sendable {
    private let active: @Sendable () -> ActiveCore?

    package init(active: @escaping @Sendable () -> ActiveCore?) { self.active = active }

    private static let generic = Field<Bool>(
        "generic_mount_paths", default: false, "Name mounts by their type, {kv_mount_path}, and not by path.")
    private static let context = Field<String>("context", "Kept for compatibility.")

    package static var routes: [Route<Self>] {
        [.read, .update].map {
            Route(
                $0, "internal/specs/openapi", "The API of this server as an OpenAPI document.",
                .optionalToken,
                fields: generic, context, run: Self.document)
        }
    }

    private func document(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        guard let active = active() else { throw .sealed }
        let isGeneric = try request[Self.generic]
        let isKnown = !request.client.storageID.isEmpty
        let acl = isKnown ? try active.acl(of: request.client, in: tx) : nil
        let mounts = active.mounts.current.mounts.filter { acl?.grantsAnything(below: $0.apiPath) ?? false }
        return .plain(APIDescription.openAPI(of: mounts, isGeneric: isGeneric))
    }
}

/// Mounts as the OpenAPI document and the reference pages name them.
package enum APIDescription {
    /// - Parameter isGeneric: whether mounts that may be anywhere are named by their type.
    package static func openAPI(of mounts: [Mount], isGeneric: Bool) -> JSONValue {
        let described = mounts.map { mount in
            let routes = mount.routes.routes.map(\.description)
            guard isGeneric, !MountRegistry.isBuiltIn(mount.entry) else {
                return OpenAPI.Mount(path: mount.apiPath, type: mount.entry.type, routes: routes)
            }
            let name = String(mount.entry.type.map { $0 == "-" ? "_" : $0 }) + "_mount_path"
            let place = mount.entry.kind.apiPrefix + "{\(name)}/"
            return OpenAPI.Mount(
                path: place, type: mount.entry.type, routes: routes,
                exampleMount: String(mount.entry.path.dropLast()))
        }
        return OpenAPI(mounts: described, version: Version.api).document
    }
}
