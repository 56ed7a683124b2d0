internal import APIClient
internal import Base

enum VersionHistoryCommand: CommandDefinition {
    static let name = "version-history"
    static let synopsis = "Prints the version history of the target server"
    static let details = "Every version that has run on this storage, and since when."

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let found = try call.api("Error reading version history") { (client) throws(APIError) in
            try client.list("sys/version-history")
        }
        guard let found, let keys = found.keys else {
            throw .failed("Error reading version history: the server keeps none")
        }
        if !call.output.isTable { return call.output.secret(found) }
        var rows = [["Version", "Installation Time", "Build Date"]]
        for key in keys.compactMap(\.string) {
            let entry = found.data?["key_info"]?[key]
            rows.append([
                key, entry?["timestamp_installed"]?.string ?? "", entry?["build_date"]?.string ?? "",
            ])
        }
        call.output.say(Table.text(rows))
        return 0
    }
}
