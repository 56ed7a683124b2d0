internal import APIClient
internal import Base

/// `policy list`, `read`, `write` and `delete`.
enum PolicyListCommand: CommandDefinition {
    static let name = "policy list"
    static let synopsis = "List the installed policies"

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let found = try call.api("Error listing policies") { (client) throws(APIError) in
            try client.list("sys/policies/acl")
        }
        return call.output.data(.array((found?.keys ?? []).map(\.tree)))
    }
}

enum PolicyReadCommand: CommandDefinition {
    static let name = "policy read"
    static let synopsis = "Print the contents of a policy"
    static let operands = "NAME"
    static let named = OperandKind.policy
    static let count: ClosedRange<Int>? = 1...1

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let name = PolicyName.normalised(call.arguments[0])
        let found = try call.api("Error reading policy named \(name)") { (client) throws(APIError) in
            try client.read("sys/policies/acl/\(name)")
        }
        guard let rules = found?.data?["policy"]?.string, !rules.isEmpty else {
            throw .failed("No policy named: \(name)")
        }
        if !call.output.isTable { return call.output.data(["policy": .string(rules)]) }
        call.output.say(String(rules.trimmed))
        return 0
    }
}

enum PolicyWriteCommand: CommandDefinition {
    static let name = "policy write"
    static let synopsis = "Upload a named policy from a file"
    static let operands = "NAME PATH"
    static let named = OperandKind.policy
    static let details = "PATH is a file in HCL or JSON, or - for standard input."
    static let count: ClosedRange<Int>? = 2...2
    static let shared = SharedFlags.http

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let name = PolicyName.normalised(call.arguments[0])
        let path = call.arguments[1]
        let bytes: [UInt8]
        if path == "-" {
            bytes = try call.console.readInput()
        } else {
            switch FileText.read(path: path) {
            case .success(let content): bytes = content
            case .failure(let error): throw .failed("Error opening policy file: \(error.message)")
            }
        }
        guard let rules = String(validating: bytes, as: UTF8.self) else {
            throw .failed("Error reading policy: \(path) is not UTF-8 text")
        }
        _ = try call.api("Error uploading policy") { (client) throws(APIError) in
            try client.write("sys/policies/acl/\(name)", ["policy": .string(rules)])
        }
        call.output.say("Success! Uploaded policy: \(name)")
        return 0
    }
}

enum PolicyDeleteCommand: CommandDefinition {
    static let name = "policy delete"
    static let synopsis = "Delete a policy by name"
    static let operands = "NAME"
    static let named = OperandKind.policy
    static let count: ClosedRange<Int>? = 1...1
    static let shared = SharedFlags.http

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let name = PolicyName.normalised(call.arguments[0])
        _ = try call.api("Error deleting \(name)") { (client) throws(APIError) in
            try client.delete("sys/policies/acl/\(name)")
        }
        call.output.say("Success! Deleted policy: \(name)")
        return 0
    }
}

enum PolicyName {
    /// Policies are known by their lower-case names.
    static func normalised(_ name: String) -> String { name.trimmed.lowercased() }
}
