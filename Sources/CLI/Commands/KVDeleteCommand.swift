internal import APIClient
internal import Base

enum KVDeleteCommand: CommandDefinition {
    static let name = "kv delete"
    static let synopsis = "Delete versions in the KV store"
    static let operands = "KEY"
    static let named = OperandKind.key
    static let details = """
        Deletes the newest version, or those that -versions names. On version 2 of the engine they can
        be brought back with "kv undelete".
        """
    static let count: ClosedRange<Int>? = 1...1
    static let shared = SharedFlags.all
    static let versions = Flag<[String]>(
        list: "versions", commas: true, "Numbers of the versions, with commas between.")
    static let flags: [any AnyFlag] = [versions, KVPath.mountFlag]

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let key = try KVPath(call.arguments[0], call)
        let answer: Secret?
        if key.isVersioned, !call[versions].isEmpty {
            let body = try KVVersions.body(call[versions])
            answer = try call.api("Error deleting \(key.path)") { (client) throws(APIError) in
                try client.write(key.api("delete"), body)
            }
        } else {
            answer = try call.api("Error deleting \(key.path)") { (client) throws(APIError) in
                try client.delete(key.api("data"))
            }
        }
        return DeleteCommand.deleted(answer, key.path, call)
    }
}

/// What undelete, destroy and delete of single versions share.
enum KVVersions {
    static func body(_ versions: [String]) throws(CommandFailure) -> JSONValue {
        for version in versions {
            guard let number = Int(version), number > 0 else {
                throw .usage(
                    "-versions: \"\(version)\" is not a version's number (expected whole numbers from 1)")
            }
        }
        return ["versions": .strings(versions)]
    }

    static func change(
        _ word: String, _ versions: [String], _ call: Invocation
    ) throws(CommandFailure) -> Int32 {
        guard !versions.isEmpty else {
            throw .usage(
                "No versions provided, use the \"-versions\" flag to specify the version to \(word).")
        }
        let body = try body(versions)
        let key = try KVPath(call.arguments[0], call)
        guard key.isVersioned else {
            throw .usage("\(word.prefix(1).uppercased() + word.dropFirst()) not supported on KV Version 1")
        }
        let path = key.api(word)
        let written = try call.api("Error writing data to \(path)") { (client) throws(APIError) in
            try client.write(path, body)
        }
        return call.output.written(written, at: path)
    }
}
