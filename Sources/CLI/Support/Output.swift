internal import APIClient
internal import Base

/// Prints what commands found, as table, JSON or YAML, in the layouts that Vault's scripts know.
struct Output {
    enum Format { case table, json, yaml, raw }
    let format: Format
    /// The one field to print; empty for all.
    let field: String
    let console: Console
    /// A command that has only sentences to say, asked for JSON: a sentence becomes an object.
    private let wrapsSentences: Bool

    init(_ flags: ParsedFlags, _ shared: SharedFlags, _ console: Console) throws(CommandFailure) {
        self.console = console
        field = shared.contains(.field) ? flags[CommonFlags.field] : ""
        let name =
            flags.has(CommonFlags.format) ? flags[CommonFlags.format] : console.variable("FORMAT") ?? "table"
        // A command of sentences obeys the flag alone: the variable is set for those that print data.
        let isHeard = shared.contains(.format) || flags.has(CommonFlags.format)
        switch isHeard ? name.lowercased() : "table" {
        case "table", "pretty", "": format = .table
        case "json": format = .json
        case "yaml", "yml": format = .yaml
        case "raw" where shared.contains(.raw): format = .raw
        default: throw .usage("Invalid output format: \(name) (expected table, json, yaml or pretty)")
        }
        wrapsSentences = !shared.contains(.format) && format != .table
    }

    var isTable: Bool { format == .table }

    /// A success sentence, which only people read.
    func say(_ line: String) {
        if wrapsSentences { data(["message": .string(line)]) } else { console.out(line) }
    }

    /// Any tree. A table shows an object as keys and values, a list as lines.
    @discardableResult
    func data(_ value: JSONValue) -> Int32 {
        switch format {
        case .json, .raw: console.out(value.prettyText)
        case .yaml: console.raw(YAML.text(value))
        case .table:
            switch value {
            case .object(let members):
                let rows = members.sorted { $0.0 < $1.0 }.map { [$0.0, Table.cell($0.0, $0.1)] }
                if !rows.isEmpty { console.out(Table.text([["Key", "Value"]] + rows)) }
            case .array(let values): for element in values { console.out(element.goText) }
            default: console.out(value.goText)
            }
        }
        return 0
    }

    /// An envelope, or the one field of it that was asked for.
    func secret(_ secret: Secret) -> Int32 {
        if !field.isEmpty { return rawField(of: secret) }
        guard isTable else { return data(Self.tree(of: secret)) }
        warnings(of: secret)
        let rows = Table.rows(of: secret)
        if !rows.isEmpty { console.out(Table.text([["Key", "Value"]] + rows)) }
        return 0
    }

    /// The answer to a write: the envelope, or a sentence when the server had nothing to say.
    func written(_ secret: Secret?, at path: String) -> Int32 {
        guard let secret else {
            if isTable { say("Success! Data written to: \(path)") }
            return 0
        }
        return self.secret(secret)
    }

    /// The keys of a listing.
    func list(_ keys: [RawJSON]) -> Int32 {
        guard isTable else { return data(.array(keys.map(\.tree))) }
        console.out(Table.text([["Keys"]] + keys.map { [$0.tree.goText] }))
        return 0
    }

    /// The keys of a listing, each with what the server tells of it.
    func detailedList(_ keys: [RawJSON], _ info: RawJSON) -> Int32 {
        guard isTable else { return data(["keys": .array(keys.map(\.tree)), "key_info": .raw(info)]) }
        let facts = info.tree
        let columns = Set(facts.members.flatMap { $0.1.members.map(\.0) }).sorted()
        let rows = keys.map { key in
            let name = key.tree.goText
            return [name] + columns.map { facts[name]?[$0].map { $0.isNull ? "" : $0.goText } ?? "" }
        }
        console.out(Table.text([["Keys"] + columns] + rows))
        return 0
    }

    /// The server's warnings, on standard error.
    func warnings(of secret: Secret) {
        guard let warnings = secret.warnings, !warnings.isEmpty else { return }
        console.warn("WARNING! The following warnings were returned from the server:\n")
        for warning in warnings {
            let lines = Help.wrapped("* \(warning)", indent: 2)
            console.warn(lines.joined(separator: "\n") + "\n")
        }
    }

    func rawField(of secret: Secret) -> Int32 {
        rawField(Self.field(field, of: secret))
    }

    /// A field's value alone, without a line end unless a terminal shows it.
    func rawField(_ value: JSONValue?) -> Int32 {
        guard let value, !value.isNull else {
            console.error("Field \"\(field)\" not present in secret")
            return 1
        }
        if !isTable { return data(value) }
        console.raw(value.goText + (console.outputIsTerminal ? "\n" : ""))
        return 0
    }

    private static func field(_ name: String, of secret: Secret) -> JSONValue? {
        if let auth = secret.auth {
            switch name {
            case "token": return .string(auth.clientToken)
            case "token_accessor": return .string(auth.accessor)
            case "token_duration": return .int(auth.leaseDuration)
            case "token_renewable": return .bool(auth.renewable)
            case "token_policies": return .strings(auth.tokenPolicies)
            case "identity_policies": return .strings(auth.identityPolicies ?? [])
            case "policies": return .strings(auth.policies)
            default: break
            }
        } else if let wrap = secret.wrapInfo {
            switch name {
            case "wrapping_token": return .string(wrap.token)
            case "wrapping_accessor": return .string(wrap.accessor)
            case "wrapping_token_ttl": return .int(wrap.ttl)
            case "wrapping_token_creation_time": return .string(wrap.creationTime)
            case "wrapping_token_creation_path": return .string(wrap.creationPath)
            case "wrapped_accessor": return .string(wrap.wrappedAccessor)
            default: break
            }
        } else {
            switch name {
            case "lease_duration", "refresh_interval": return .int(secret.leaseDuration)
            case "lease_id": return .string(secret.leaseID)
            case "lease_renewable": return .bool(secret.renewable)
            case "request_id": return .string(secret.requestID)
            case "data": return secret.data?["data"]?.tree ?? secret.data?.tree
            default: break
            }
        }
        return secret.data?[name]?.tree
    }

    /// The envelope in the order of Vault's client.
    static func tree(of secret: Secret) -> JSONValue {
        var members: [(String, JSONValue)] = [
            ("request_id", .string(secret.requestID)), ("lease_id", .string(secret.leaseID)),
            ("lease_duration", .int(secret.leaseDuration)), ("renewable", .bool(secret.renewable)),
            ("data", secret.data?.tree ?? .null),
            ("warnings", secret.warnings.map { .strings($0) } ?? .null),
        ]
        if let auth = secret.auth {
            let metadata = auth.metadata.map { JSONValue.object($0.map { ($0.0, $0.1.tree) }) }
            members.append(
                (
                    "auth",
                    [
                        ("client_token", .string(auth.clientToken)), ("accessor", .string(auth.accessor)),
                        ("policies", .strings(auth.policies)),
                        ("token_policies", .strings(auth.tokenPolicies)),
                        ("identity_policies", auth.identityPolicies.map { .strings($0) } ?? .null),
                        ("metadata", metadata ?? .null), ("orphan", .bool(auth.orphan)),
                        ("entity_id", .string(auth.entityID)), ("lease_duration", .int(auth.leaseDuration)),
                        ("renewable", .bool(auth.renewable)), ("mfa_requirement", .null),
                    ].asObject
                ))
        }
        if let wrap = secret.wrapInfo {
            members.append(
                (
                    "wrap_info",
                    [
                        ("token", .string(wrap.token)), ("accessor", .string(wrap.accessor)),
                        ("ttl", .int(wrap.ttl)),
                        ("creation_time", .string(wrap.creationTime)),
                        ("creation_path", .string(wrap.creationPath)),
                        ("wrapped_accessor", .string(wrap.wrappedAccessor)),
                    ].asObject
                ))
        }
        return .object(members)
    }
}

extension [(String, JSONValue)] {
    var asObject: JSONValue { .object(self) }
}

extension JSONValue {
    var isNull: Bool {
        switch self {
        case .null: true
        case .raw(let json): json.isNull
        default: false
        }
    }
}
