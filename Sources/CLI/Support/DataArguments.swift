internal import Base

/// Values from the command line: `key=value`, `key=@file`, `key=-`, `key=\@literal`, `@file.json`, `-`.
enum DataArguments {
    /// The object that all arguments together describe. A key given twice becomes a list, as Vault has it.
    /// - Throws: `.usage`; the message starts with `Failed to parse K=V data`.
    static func object(_ arguments: [String], _ console: Console) throws(CommandFailure) -> JSONValue {
        var members: [(String, JSONValue)] = []
        for argument in arguments {
            if argument == "-" {
                try merge(bytes: try console.readInput(), from: "standard input", into: &members)
            } else if argument.hasPrefix("@") {
                let path = String(argument.dropFirst())
                try merge(bytes: try file(path), from: path, into: &members)
            } else {
                guard let equals = argument.firstIndex(of: "=") else {
                    throw failure("invalid key/value pair \"\(argument)\": format must be key=value")
                }
                let name = String(argument[..<equals])
                if name.isEmpty { throw failure("invalid key/value pair \"\(argument)\": the key is empty") }
                let text = String(argument[argument.index(after: equals)...])
                add(name, .string(try value(text, console)), to: &members)
            }
        }
        return .object(members)
    }

    /// The same where only strings make sense; a list is refused.
    static func strings(_ arguments: [String], _ console: Console) throws(CommandFailure) -> [String: String]
    {
        var result: [String: String] = [:]
        for (name, value) in try object(arguments, console).members {
            switch value {
            case .string(let text): result[name] = text
            case .bool, .int, .number: result[name] = value.goText
            case .raw(let json) where json.kind != .array && json.kind != .object:
                result[name] = json.tree.goText
            default: throw failure("key \"\(name)\": expected one value")
            }
        }
        return result
    }

    /// A value that may name a file or standard input.
    static func value(_ text: String, _ console: Console) throws(CommandFailure) -> String {
        if text == "-" { return try decoded(try console.readInput()) }
        if text.hasPrefix("@") { return try decoded(try file(String(text.dropFirst()))) }
        if text.hasPrefix("\\@") || text.hasPrefix("\\-") { return String(text.dropFirst()) }
        return text
    }

    private static func decoded(_ bytes: [UInt8]) throws(CommandFailure) -> String {
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw failure("the content is not UTF-8 text: encode it first, with base64 for example")
        }
        return text
    }

    static func file(_ path: String) throws(CommandFailure) -> [UInt8] {
        switch FileText.read(path: path) {
        case .success(let bytes): return bytes
        case .failure(let error): throw failure("error reading file: \(error.message)")
        }
    }

    private static func merge(
        bytes: [UInt8], from source: String, into members: inout [(String, JSONValue)]
    ) throws(CommandFailure) {
        let body: RawJSON
        do throws(VaultError) { body = try RawJSON(validating: bytes) } catch {
            throw failure("\(source): \(error.messages.joined(separator: "; "))")
        }
        guard body.kind == .object else { throw failure("\(source): expected a JSON object") }
        for (name, value) in body.members {
            members.removeAll { $0.0 == name }
            members.append((name, .raw(value)))
        }
    }

    private static func add(_ name: String, _ value: JSONValue, to members: inout [(String, JSONValue)]) {
        guard let place = members.firstIndex(where: { $0.0 == name }) else {
            members.append((name, value))
            return
        }
        switch members[place].1 {
        case .array(let values): members[place].1 = .array(values + [value])
        case let earlier: members[place].1 = .array([earlier, value])
        }
    }

    private static func failure(_ text: String) -> CommandFailure {
        .usage("Failed to parse K=V data: \(text)")
    }
}
