internal import APIClient
internal import Base

/// `kv metadata get`, `put`, `patch` and `delete`: three requests to one path.
enum KVMetadataGetCommand: CommandDefinition {
    static let name = "kv metadata get"
    static let synopsis = "Retrieve key metadata from the KV store"
    static let operands = "KEY"
    static let named = OperandKind.key
    static let count: ClosedRange<Int>? = 1...1
    static let shared = SharedFlags.all
    static let flags: [any AnyFlag] = [KVPath.mountFlag]

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let path = try KVMetadata.path(call)
        let found = try call.api("Error reading \(path)") { (client) throws(APIError) in try client.read(path)
        }
        guard let found else { throw .failed("No value found at \(path)") }
        let output = call.output
        if !output.field.isEmpty || !output.isTable || found.wrapInfo != nil { return output.secret(found) }
        let data = found.data?.tree ?? .object([])
        guard let versions = data["versions"], !versions.isNull else {
            throw .failed("No value found at \(path)")
        }
        output.warnings(of: found)
        let rest = JSONValue.object(data.members.filter { $0.0 != "versions" })
        output.say(Table.heading("Metadata", over: rest))
        output.data(rest)
        for (name, version) in versions.members.sorted(by: { Int($0.0) ?? 0 < Int($1.0) ?? 0 }) {
            output.say("\n" + Table.heading("Version \(name)", over: version))
            output.data(version)
        }
        return 0
    }
}

enum KVMetadata {
    static func path(_ call: Invocation) throws(CommandFailure) -> String {
        let key = try KVPath(call.arguments[0], call)
        guard key.isVersioned else { throw .usage("Metadata not supported on KV Version 1") }
        return key.api("metadata")
    }

    static let casRequired = Flag<Bool?>(
        optionalSwitch: "cas-required", "Writes must name the version that they replace.")
    static let maxVersions = Flag<Int>(
        "max-versions", default: -1, "Versions to keep; 0 is the mount's setting.")
    static let deleteAfter = Flag<Duration?>(
        "delete-version-after", "Time after which a new version is deleted.")
    static let custom = Flag<[String: String]>(
        map: "custom-metadata", "Free text to keep with the key, as name=value. Repeatable.")
    static let flags: [any AnyFlag] = [casRequired, maxVersions, deleteAfter, custom, KVPath.mountFlag]

    static func body(_ call: Invocation) -> [(String, JSONValue)] {
        var body: [(String, JSONValue)] = []
        if call[maxVersions] >= 0 { body.append(("max_versions", .int(call[maxVersions]))) }
        if let flag = call[casRequired] { body.append(("cas_required", .bool(flag))) }
        if let span = call[deleteAfter] { body.append(("delete_version_after", .string(span.goText))) }
        if !call[custom].isEmpty { body.append(("custom_metadata", .map(call[custom]))) }
        return body
    }
}

enum KVMetadataPutCommand: CommandDefinition {
    static let name = "kv metadata put"
    static let synopsis = "Set or update key settings in the KV store"
    static let operands = "KEY"
    static let named = OperandKind.key
    static let count: ClosedRange<Int>? = 1...1
    static let shared = SharedFlags.all
    static let flags = KVMetadata.flags

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let path = try KVMetadata.path(call)
        let written = try call.api("Error writing data to \(path)") { (client) throws(APIError) in
            try client.write(path, KVMetadata.body(call).asObject)
        }
        return call.output.written(written, at: path)
    }
}

enum KVMetadataPatchCommand: CommandDefinition {
    static let name = "kv metadata patch"
    static let synopsis = "Patch key settings in the KV store"
    static let operands = "KEY"
    static let named = OperandKind.key
    static let count: ClosedRange<Int>? = 1...1
    static let shared = SharedFlags.all
    static let removed = Flag<[String]>(
        list: "remove-custom-metadata", "Name of a custom entry to remove. Repeatable.")
    static let flags: [any AnyFlag] = KVMetadata.flags + [removed]

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let path = try KVMetadata.path(call)
        var body = KVMetadata.body(call).filter { $0.0 != "custom_metadata" }
        let custom =
            call[KVMetadata.custom].map { ($0.key, JSONValue.string($0.value)) }
            + call[removed].map { ($0, .null) }
        if !custom.isEmpty { body.append(("custom_metadata", custom.asObject)) }
        let written = try call.api("Error writing data to \(path)") { (client) throws(APIError) in
            client.envelope(
                try client.call(
                    "PATCH", path, body: body.asObject.encoded(), contentType: "application/merge-patch+json")
            )
        }
        return call.output.written(written, at: path)
    }
}

enum KVMetadataDeleteCommand: CommandDefinition {
    static let name = "kv metadata delete"
    static let synopsis = "Delete all versions and metadata of a key in the KV store"
    static let operands = "KEY"
    static let named = OperandKind.key
    static let count: ClosedRange<Int>? = 1...1
    static let shared = SharedFlags.all
    static let flags: [any AnyFlag] = [KVPath.mountFlag]

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let path = try KVMetadata.path(call)
        let answer = try call.api("Error deleting \(path)") { (client) throws(APIError) in
            try client.delete(path)
        }
        return DeleteCommand.deleted(answer, path, call)
    }
}
