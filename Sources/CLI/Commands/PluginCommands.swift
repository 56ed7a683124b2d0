internal import APIClient
internal import Base

/// `plugin list`, `info`, `register`, `deregister` and `reload`.
enum PluginListCommand: CommandDefinition {
    static let name = "plugin list"
    static let synopsis = "Lists available plugins"
    static let operands = "[TYPE]"
    static let details = "TYPE is auth, database or secret; all of them by default."
    static let count: ClosedRange<Int>? = 0...1
    static let detailed = Flag<Bool>(switch: "detailed", "Show version and deprecation status too.")
    static let flags: [any AnyFlag] = [detailed]

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let type = try call.arguments.first.map { (word) throws(CommandFailure) in
            try PluginType.checked(word)
        }
        let found = try call.api("Error listing available plugins") { (client) throws(APIError) in
            try client.read("sys/plugins/catalog")
        }
        guard let data = found?.data else {
            throw .failed("Error listing available plugins: the server shows no catalog")
        }
        let details = (data["detailed"]?.elements ?? []).filter {
            type == nil || $0["type"]?.string == type
        }
        let types = PluginType.all.filter { type == nil || type == $0 }
        guard call.output.isTable else {
            if call[detailed] { return call.output.data(.array(details.map(\.tree))) }
            return call.output.data(.object(types.map { ($0, .strings(data[$0]?.strings ?? [])) }))
        }
        if call[detailed] {
            var rows = [["Name", "Type", "Version", "Deprecation Status"]]
            for plugin in details {
                rows.append(
                    ["name", "type", "version", "deprecation_status"].map { plugin[$0]?.string ?? "" })
            }
            call.output.say(Table.text(rows))
        } else if let type {
            call.output.say(Table.text([["Plugins"]] + (data[type]?.strings ?? []).map { [$0] }))
        } else {
            let rows = types.flatMap { type in (data[type]?.strings ?? []).map { [$0, type] } }
            call.output.say(Table.text([["Name", "Type"]] + rows))
        }
        return 0
    }
}

/// The kinds of plug-in that the catalog knows.
enum PluginType {
    static let all = ["auth", "database", "secret"]

    static func checked(_ word: String) throws(CommandFailure) -> String {
        let type = word.trimmed.lowercased()
        guard all.contains(type) else {
            throw .usage("\"\(word)\" is not a supported plugin type (expected auth, database or secret)")
        }
        return type
    }
}

enum PluginInfoCommand: CommandDefinition {
    static let name = "plugin info"
    static let synopsis = "Read information about a plugin in the catalog"
    static let operands = "TYPE NAME"
    static let count: ClosedRange<Int>? = 2...2
    static let shared = SharedFlags.all
    static let version = Flag<String>("version", "Version of the plug-in; the built-in one by default.")
    static let flags: [any AnyFlag] = [version]

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let type = try PluginType.checked(call.arguments[0])
        let name = KVPath.sanitized(call.arguments[1])
        let query = call[version].isEmpty ? [] : [("version", call[version])]
        let what = "Error reading plugin named \(name)"
        let found = try call.api(what) { (client) throws(APIError) in
            try client.read("sys/plugins/catalog/\(type)/\(name)", query: query)
        }
        guard let found, let data = found.data else { throw .failed("\(what): there is none in the catalog") }
        let tree = data.tree
        if !call.output.field.isEmpty { return call.output.rawField(tree[call.output.field]) }
        return call.output.data(tree)
    }
}

enum PluginRegisterCommand: CommandDefinition {
    static let name = "plugin register"
    static let synopsis = "Registers a new plugin in the catalog"
    static let operands = "TYPE NAME"
    static let details =
        "The plug-ins of this server are built in: it refuses others. For servers that take them."
    static let count: ClosedRange<Int>? = 2...2
    static let shared = SharedFlags.http
    static let sha256 = Flag<String>("sha256", "SHA-256 of the plug-in's binary, in hexadecimal.")
    static let command = Flag<String>("command", "Name of the binary; the plug-in's name by default.")
    static let arguments = Flag<[String]>(list: "args", commas: true, "Arguments of the binary.")
    static let environment = Flag<[String]>(list: "env", "Variable of the binary, as NAME=value. Repeatable.")
    static let version = Flag<String>("version", "Version of the plug-in.")
    static let flags: [any AnyFlag] = [sha256, command, arguments, environment, version]

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let type = try PluginType.checked(call.arguments[0])
        let name = KVPath.sanitized(call.arguments[1])
        if call[sha256].isEmpty { throw .usage("SHA256 is required for all plugins, please provide -sha256") }
        let body: JSONValue = [
            "type": .string(type), "sha256": .string(call[sha256]),
            "command": .string(call[command].isEmpty ? name : call[command]),
            "args": .strings(call[arguments]), "env": .strings(call[environment]),
            "version": .string(call[version]),
        ]
        _ = try call.api("Error registering plugin \(name)") { (client) throws(APIError) in
            try client.write("sys/plugins/catalog/\(type)/\(name)", body)
        }
        call.output.say("Success! Registered plugin: \(name)")
        return 0
    }
}

enum PluginDeregisterCommand: CommandDefinition {
    static let name = "plugin deregister"
    static let synopsis = "Deregister an existing plugin in the catalog"
    static let operands = "TYPE NAME"
    static let count: ClosedRange<Int>? = 2...2
    static let shared = SharedFlags.http
    static let version = Flag<String>("version", "Version of the plug-in.")
    static let flags: [any AnyFlag] = [version]

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let type = try PluginType.checked(call.arguments[0])
        let name = KVPath.sanitized(call.arguments[1])
        let query = call[version].isEmpty ? [] : [("version", call[version])]
        _ = try call.api("Error deregistering plugin named \(name)") { (client) throws(APIError) in
            try client.delete("sys/plugins/catalog/\(type)/\(name)", query: query)
        }
        call.output.say("Success! Deregistered \(type) plugin: \(name)")
        return 0
    }
}

enum PluginReloadCommand: CommandDefinition {
    static let name = "plugin reload"
    static let synopsis = "Reload mounted plugin backend"
    static let shared = SharedFlags.http
    static let plugin = Flag<String>("plugin", "Name of the plug-in whose mounts are reloaded.")
    static let mounts = Flag<[String]>(
        list: "mounts", commas: true, "Paths of the mounts to reload; either these or -plugin.")
    static let scope = Flag<String>("scope", "global: on every node of the cluster.")
    static let flags: [any AnyFlag] = [plugin, mounts, scope]

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let isByName = !call[plugin].isEmpty
        if isByName == !call[mounts].isEmpty {
            throw .usage(
                isByName
                    ? "Must specify only one of -plugin and -mounts"
                    : "No plugins specified, must specify exactly one of -plugin or -mounts")
        }
        if !["", "global"].contains(call[scope]) {
            throw .usage("Invalid reload scope: \(call[scope]) (expected global or nothing)")
        }
        var body: [(String, JSONValue)] =
            isByName ? [("plugin", .string(call[plugin]))] : [("mounts", .strings(call[mounts]))]
        if !call[scope].isEmpty { body.append(("scope", .string(call[scope]))) }
        let answer = try call.api("Error reloading plugin/mounts") { (client) throws(APIError) in
            try client.write("sys/plugins/reload/backend", body.asObject)
        }
        let what = isByName ? "plugin: \(call[plugin])" : "mounts: [\(call[mounts].joined(separator: " "))]"
        if let id = answer?.data?["reload_id"]?.string, !call[scope].isEmpty {
            call.output.say("Success! Reloading \(what), reload_id: \(id)")
        } else {
            call.output.say("Success! Reloaded \(what)")
        }
        return 0
    }
}
