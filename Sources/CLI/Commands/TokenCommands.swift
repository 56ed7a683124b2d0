internal import APIClient
internal import Base

/// `token create`, `lookup`, `renew`, `revoke` and `capabilities`.
enum TokenCreateCommand: CommandDefinition {
    static let name = "token create"
    static let synopsis = "Create a new token"
    static let details = """
        The new token is a child of the caller's and ends with it, unless -orphan is given.

            $ holdfast token create -policy=my-policy -ttl=30m -metadata=purpose=build
        """
    static let shared = SharedFlags.all
    static let id = Flag<String>("id", "The token's own value; made by the server by default. Needs sudo.")
    static let displayName = Flag<String>("display-name", "Name to show in logs and listings.")
    static let ttl = Flag<Duration?>("ttl", "First lifetime.")
    static let maxTTL = Flag<Duration?>("explicit-max-ttl", "Lifetime that no renewal passes.")
    static let period = Flag<Duration?>("period", "Lifetime of every renewal, without an end. Needs sudo.")
    static let renewable = Flag<Bool>(switch: "renewable", default: true, "Allow renewal up to the maximum.")
    static let orphan = Flag<Bool>(switch: "orphan", "Make it outlive the caller's token. Needs sudo.")
    static let noDefault = Flag<Bool>(switch: "no-default-policy", "Leave out the default policy.")
    static let useLimit = Flag<Int>("use-limit", "Number of requests that it is good for; 0 is no limit.")
    static let role = Flag<String>("role", "Token role to create it against.")
    static let type = Flag<String>("type", default: "service", "service or batch.")
    static let metadata = Flag<[String: String]>(
        map: "metadata", "Text to keep with it, as name=value. Repeatable.")
    static let policy = Flag<[String]>(
        list: "policy", "Policy that it carries. Repeatable; the caller's by default.")
    static let entityAlias = Flag<String>("entity-alias", "Alias to tie it to; needs -role.")
    static let flags: [any AnyFlag] = [
        id, displayName, ttl, maxTTL, period, renewable, orphan, noDefault, useLimit, role, type, metadata,
        policy,
        entityAlias,
    ]

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        var body: [(String, JSONValue)] = [
            ("renewable", .bool(call[renewable])), ("type", .string(call[type])),
        ]
        for (flag, name) in [(id, "id"), (displayName, "display_name"), (entityAlias, "entity_alias")]
        where !call[flag].isEmpty {
            body.append((name, .string(call[flag])))
        }
        for (flag, name) in [(ttl, "ttl"), (maxTTL, "explicit_max_ttl"), (period, "period")] {
            if let span = call[flag] { body.append((name, .string(span.goText))) }
        }
        if !call[policy].isEmpty { body.append(("policies", .strings(call[policy]))) }
        if !call[metadata].isEmpty { body.append(("meta", .map(call[metadata]))) }
        if call[noDefault] { body.append(("no_default_policy", true)) }
        if call[useLimit] != 0 { body.append(("num_uses", .int(call[useLimit]))) }
        if call[orphan] { body.append(("no_parent", true)) }
        let path = call[role].isEmpty ? "auth/token/create" : "auth/token/create/" + call[role]
        let made = try call.api("Error creating token") { (client) throws(APIError) in
            client.envelope(try client.call("POST", path, body: body.asObject.encoded()))
        }
        guard let made else { throw .failed("Error creating token: the answer is empty") }
        return call.output.secret(made)
    }
}

enum TokenLookupCommand: CommandDefinition {
    static let name = "token lookup"
    static let synopsis = "Display information about a token"
    static let operands = "[TOKEN | ACCESSOR]"
    static let details = "Without an argument, the caller's own token."
    static let count: ClosedRange<Int>? = nil
    static let shared = SharedFlags.all
    static let accessor = Flag<Bool>(switch: "accessor", "The argument is an accessor.")
    static let flags: [any AnyFlag] = [accessor]

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let subject = try TokenSubject(call, byAccessor: call[accessor])
        let found = try call.api("Error looking up token") { (client) throws(APIError) in
            switch subject {
            case .own: try client.read("auth/token/lookup-self")
            case .token(let token):
                client.envelope(
                    try client.call(
                        "POST", "auth/token/lookup", body: (["token": .string(token)] as JSONValue).encoded())
                )
            case .accessor(let accessor):
                client.envelope(
                    try client.call(
                        "POST", "auth/token/lookup-accessor",
                        body: (["accessor": .string(accessor)] as JSONValue).encoded()))
            }
        }
        guard let found else { throw .failed("Error looking up token: there is none") }
        return call.output.secret(found)
    }
}

enum TokenRenewCommand: CommandDefinition {
    static let name = "token renew"
    static let synopsis = "Renew a token lease"
    static let operands = "[TOKEN | ACCESSOR]"
    static let count: ClosedRange<Int>? = nil
    static let shared = SharedFlags.all
    static let accessor = Flag<Bool>(switch: "accessor", "The argument is an accessor.")
    static let increment = Flag<Duration?>("increment", aliases: ["i"], "Lifetime to ask for.")
    static let flags: [any AnyFlag] = [accessor, increment]

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let subject = try TokenSubject(call, byAccessor: call[accessor])
        var body: [(String, JSONValue)] = []
        if let span = call[increment] { body.append(("increment", .int(Int(span.wholeSeconds)))) }
        let path: String
        switch subject {
        case .own: path = "auth/token/renew-self"
        case .token(let token):
            path = "auth/token/renew"
            body.append(("token", .string(token)))
        case .accessor(let accessor):
            path = "auth/token/renew-accessor"
            body.append(("accessor", .string(accessor)))
        }
        let found = try call.api("Error renewing token") { (client) throws(APIError) in
            try client.write(path, body.asObject)
        }
        guard let found else { throw .failed("Error renewing token: the answer is empty") }
        return call.output.secret(found)
    }
}

enum TokenRevokeCommand: CommandDefinition {
    static let name = "token revoke"
    static let synopsis = "Revoke a token and its children"
    static let operands = "[TOKEN | ACCESSOR]"
    static let count: ClosedRange<Int>? = nil
    static let shared = SharedFlags.http
    static let accessor = Flag<Bool>(switch: "accessor", "The argument is an accessor.")
    static let own = Flag<Bool>(switch: "self", "Revoke the caller's own token.")
    static let mode = Flag<String>("mode", "orphan: spare its children. path: all tokens that the path made.")
    static let flags: [any AnyFlag] = [accessor, own, mode]

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let mode = call[mode]
        guard ["", "orphan", "path"].contains(mode) else {
            throw .usage("Invalid mode: \(mode) (expected orphan or path)")
        }
        try call.check(call[own] ? 0...0 : 1...1)
        if call[accessor], !mode.isEmpty || call[own] {
            throw .usage("Cannot use the -accessor flag together with -mode or -self")
        }
        if call[own], !mode.isEmpty { throw .usage("Cannot use the -self flag together with -mode") }
        let argument = call.arguments.first.map { String($0.trimmed) } ?? ""
        var path = "auth/token/revoke"
        var body: [(String, JSONValue)] = []
        if call[own] {
            path += "-self"
        } else if call[accessor] {
            path += "-accessor"
            body = [("accessor", .string(argument))]
        } else if mode == "path" {
            path = "sys/revoke-prefix/" + argument
        } else {
            if mode == "orphan" { path += "-orphan" }
            body = [("token", .string(argument))]
        }
        _ = try call.api("Error revoking token") { (client) throws(APIError) in
            try client.write(path, body.asObject)
        }
        call.output.say("Success! Revoked token (if it existed)")
        return 0
    }
}

enum TokenCapabilitiesCommand: CommandDefinition {
    static let name = "token capabilities"
    static let synopsis = "Print capabilities of a token on a path"
    static let operands = "[TOKEN | ACCESSOR] PATH"
    static let count: ClosedRange<Int>? = 1...2
    static let accessor = Flag<Bool>(switch: "accessor", "The first argument is an accessor.")
    static let flags: [any AnyFlag] = [accessor]

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let isOwn = call.arguments.count == 1
        if isOwn, call[accessor] { throw .usage("Not enough arguments (expected 2, got 1)") }
        let path = call.arguments[isOwn ? 0 : 1]
        var body: [(String, JSONValue)] = [("path", .string(path))]
        if !isOwn { body.append((call[accessor] ? "accessor" : "token", .string(call.arguments[0]))) }
        let endpoint = isOwn ? "capabilities-self" : call[accessor] ? "capabilities-accessor" : "capabilities"
        let found = try call.api("Error listing capabilities") { (client) throws(APIError) in
            client.envelope(try client.call("POST", "sys/" + endpoint, body: body.asObject.encoded()))
        }
        let list = found?.data?[path] ?? found?.data?["capabilities"]
        let capabilities = (list?.strings ?? []).sorted()
        if !call.output.isTable { return call.output.data(.strings(capabilities)) }
        call.output.say(capabilities.joined(separator: ", "))
        return 0
    }
}

/// Which token a command is about.
enum TokenSubject {
    case own
    case token(String)
    case accessor(String)

    init(_ call: Invocation, byAccessor: Bool) throws(CommandFailure) {
        try call.check(byAccessor ? 1...1 : 0...1)
        guard let argument = call.arguments.first.map({ String($0.trimmed) }) else {
            self = .own
            return
        }
        self = byAccessor ? .accessor(argument) : .token(argument)
    }
}
