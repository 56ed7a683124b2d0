import Base
import PluginKit

/// Version 2's routes, and what stands outside of them.
extension KVEngine {
    static let path = Field<String>(required: "path", "Path of the secret.")
    static let version = Field<Int>("version", default: 0, "Version to read; 0 is the current one.")
    static let depth = Field<Int>("depth", default: 0, "Levels of nesting to show; 0 is all.")
    static let data = Field<RawJSON>("data", "The secret: an object of names and values.")
    static let options = Field<RawJSON>(
        "options", "`cas`: write only when this is the current version; 0: when there is none.")
    static let versions = Field<[String]>("versions", "Numbers of the versions.")
    static let maxVersions = Field<Int>(
        "max_versions", "Versions to keep; 0 leaves it to the mount, and there to 10.")
    static let casRequired = Field<Bool>("cas_required", "Whether every write must state `cas`.")
    static let deleteVersionAfter = Field<Duration>(
        "delete_version_after", "Time after which a new version deletes itself; 0s is never.")
    static let customMetadata = Field<RawJSON>(
        "custom_metadata", "Up to 64 names and texts of the user's own.")

    static var versionedRoutes: [Route<Self>] {
        [
            Route(
                .read, "data/*path", "Read a secret.", fields: path, version, run: Self.readData),
            Route(
                .update, "data/*path", "Write a new version of a secret.", fields: path, data, options,
                exists: Self.secretExists, run: Self.writeData),
            Route(
                .patch, "data/*path", "Write a new version as a merge patch (RFC 7386) of the current one.",
                fields: path, data, options, run: Self.patchData),
            Route(
                .delete, "data/*path", "Delete the current version; it can be undeleted.", fields: path,
                run: Self.deleteCurrent),
            Route(
                .read, "metadata/*path", "Read a secret's metadata and the state of its versions.",
                fields: path, run: Self.readMetadata),
            Route(
                .list, "metadata/*path", "List the names in a folder.", fields: path, run: Self.listSecrets),
            Route(
                .update, "metadata/*path", "Set a secret's metadata.",
                fields: path, maxVersions, casRequired, deleteVersionAfter, customMetadata,
                exists: Self.secretExists, run: Self.writeMetadata),
            Route(
                .patch, "metadata/*path", "Change a secret's metadata by a merge patch (RFC 7386).",
                fields: path, maxVersions, casRequired, deleteVersionAfter, customMetadata,
                run: Self.patchMetadata),
            Route(
                .delete, "metadata/*path", "Delete a secret for good: metadata and all versions.",
                fields: path, run: Self.deleteSecret),
            Route(
                .read, "subkeys/*path", "Read a secret's names without its values.", fields: path, version,
                depth, run: Self.readSubkeys),
            Route(
                .update, "delete/*path", "Delete versions; they can be undeleted.", fields: path, versions,
                run: Self.deleteVersions),
            Route(
                .update, "undelete/*path", "Bring deleted versions back.", fields: path, versions,
                run: Self.undeleteVersions),
            Route(
                .update, "destroy/*path", "Destroy the values of versions for good.", fields: path, versions,
                run: Self.destroyVersions),
            Route(.read, "config", "Read the mount's settings.", run: Self.readConfig),
            Route(
                .update, "config", "Change the mount's settings.",
                fields: maxVersions, casRequired, deleteVersionAfter, run: Self.writeConfig),
            Route(.list, "*path", "No such path.", .hidden, fields: path, run: Self.refusePath),
            Route(.read, "*path", "No such path.", .hidden, fields: path, run: Self.refusePath),
            Route(.update, "*path", "No such path.", .hidden, fields: path, run: Self.refusePath),
            Route(.patch, "*path", "No such path.", .hidden, fields: path, run: Self.refusePath),
            Route(.delete, "*path", "No such path.", .hidden, fields: path, run: Self.refusePath),
            Route(.read, "", "No such path.", .hidden, run: Self.refusePath),
            Route(.update, "", "No such path.", .hidden, run: Self.refusePath),
        ]
    }

    private static let prefixes: Set<Substring> = [
        "data", "metadata", "subkeys", "delete", "undelete", "destroy", "config",
    ]

    /// A path that version 2 does not have is most often a version 1 path: 404 with a hint.
    @Sendable func refusePath(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        let path = request.path
        let first = path.prefix { $0 != "/" }
        let isFolder = path.utf8.count == first.utf8.count + 1
        if Self.prefixes.contains(first), first == "config" ? path == first || isFolder : path != first {
            switch request.operation {
            case .read where isFolder: throw .notFound
            case .create where isFolder, .update where isFolder:
                throw .badRequest("cannot write to a path ending in '/'")
            default: throw .unsupportedOperation
            }
        }
        var response = LogicalResponse(warnings: [
            "This is not a path of a KV version 2 mount: secrets are read and written below data/, and "
                + "listed below metadata/. With the command line, use \"kv get\" and its kin."
        ])
        response.status = 404
        return response
    }
}
