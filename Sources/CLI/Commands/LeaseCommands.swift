internal import APIClient
internal import Base

/// `lease lookup`, `renew` and `revoke`.
enum LeaseLookupCommand: CommandDefinition {
    static let name = "lease lookup"
    static let synopsis = "Lookup the lease of a secret"
    static let operands = "ID"
    static let count: ClosedRange<Int>? = 1...1
    static let shared = SharedFlags.all

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let id = String(call.arguments[0].trimmed)
        let found = try call.api("error looking up lease id \(id)") { (client) throws(APIError) in
            try client.write("sys/leases/lookup", ["lease_id": .string(id)])
        }
        guard let found else { throw .failed("There is no lease \(id)") }
        return call.output.secret(found)
    }
}

enum LeaseRenewCommand: CommandDefinition {
    static let name = "lease renew"
    static let synopsis = "Renew the lease of a secret"
    static let operands = "ID"
    static let count: ClosedRange<Int>? = 1...1
    static let shared = SharedFlags.all
    static let increment = Flag<Duration?>("increment", aliases: ["i"], "Lifetime to ask for.")
    static let flags: [any AnyFlag] = [increment]

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let id = String(call.arguments[0].trimmed)
        let seconds = Int(call[increment]?.wholeSeconds ?? 0)
        let found = try call.api("Error renewing lease: \(id)") { (client) throws(APIError) in
            try client.write("sys/leases/renew", ["lease_id": .string(id), "increment": .int(seconds)])
        }
        guard let found else { throw .failed("Error renewing lease: the answer is empty") }
        return call.output.secret(found)
    }
}

enum LeaseRevokeCommand: CommandDefinition {
    static let name = "lease revoke"
    static let synopsis = "Revoke leases and secrets"
    static let operands = "ID"
    static let count: ClosedRange<Int>? = 1...1
    static let shared = SharedFlags.http
    static let force = Flag<Bool>(
        switch: "force", aliases: ["f"],
        "Forget the leases even if the secret cannot be revoked. Needs -prefix.")
    static let prefix = Flag<Bool>(switch: "prefix", "ID is a prefix: revoke all leases under it.")
    static let sync = Flag<Bool>(switch: "sync", "Wait until it is done.")
    static let flags: [any AnyFlag] = [force, prefix, sync]

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let id = String(call.arguments[0].trimmed)
        if call[force], !call[prefix] { throw .usage("Specifying -force requires also specifying -prefix") }
        if call[force] {
            call.console.warn(
                "Warning! Force-removing leases can cause secrets to live on at the services that they open!\n"
            )
            _ = try call.api("Error force revoking leases with prefix \(id)") { (client) throws(APIError) in
                try client.call("PUT", "sys/leases/revoke-force/\(id)")
            }
            call.output.say("Success! Force revoked any leases with prefix: \(id)")
            return 0
        }
        if call[prefix] {
            _ = try call.api("Error revoking leases with prefix \(id)") { (client) throws(APIError) in
                try client.write("sys/leases/revoke-prefix/\(id)", ["sync": .bool(call[sync])])
            }
            call.output.say(
                call[sync]
                    ? "Success! Revoked any leases with prefix: \(id)"
                    : "All revocation operations queued successfully!")
            return 0
        }
        _ = try call.api("Error revoking lease \(id)") { (client) throws(APIError) in
            try client.write("sys/leases/revoke", ["lease_id": .string(id), "sync": .bool(call[sync])])
        }
        call.output.say(
            call[sync] ? "Success! Revoked lease: \(id)" : "All revocation operations queued successfully!")
        return 0
    }
}
