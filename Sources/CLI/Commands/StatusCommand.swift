internal import APIClient
internal import Base

enum StatusCommand: CommandDefinition {
    static let name = "status"
    static let synopsis = "Print seal and HA status"
    static let details = """
        Needs no token. The exit code tells the state:
          0  unsealed
          1  an error
          2  sealed
        """

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let status: JSONValue
        do throws(CommandFailure) {
            status = try SealStatus.fetch(call)
            try SealStatus.print(status, call)
        } catch {
            // A sealed server is 2 here, so that an error has to be 1.
            throw error.asOne
        }
        return SealStatus.isSealed(status) ? 2 : 0
    }
}

/// The answer of `sys/seal-status`, `sys/unseal` and their kin.
enum SealStatus {
    static func fetch(_ call: Invocation) throws(CommandFailure) -> JSONValue {
        let answer = try call.api("Error checking seal status") { (client) throws(APIError) in
            try client.call("GET", "sys/seal-status")
        }
        return answer?.tree ?? .object([])
    }

    static func isSealed(_ status: JSONValue) -> Bool {
        if case .bool(let sealed)? = status["sealed"] { return sealed }
        return false
    }

    /// The state with what `sys/leader` adds to it.
    static func print(_ status: JSONValue, _ call: Invocation) throws(CommandFailure) {
        let leader = try leader(call)
        let names = [
            "type", "initialized", "sealed", "t", "n", "progress", "nonce", "version", "build_date",
            "migration",
            "cluster_name", "cluster_id", "recovery_seal", "recovery_seal_type", "recovery_break_glass",
            "sealed_reason", "removed_from_cluster", "storage_type",
        ]
        var members = status.ordered(names).members.filter {
            $0.0 != "errors" && ($0.0 != "warnings" || !isEmpty($0.1))
        }
        members.append(("ha_enabled", leader["ha_enabled"] ?? .bool(false)))
        for name in ["is_self", "active_time", "leader_address", "leader_cluster_address"] {
            if let value = leader[name], name == "active_time" || !isEmpty(value) {
                members.append((name, value))
            }
        }
        for name in ["raft_committed_index", "raft_applied_index"] {
            if let value = leader[name], !isEmpty(value) { members.append((name, value)) }
        }
        if !call.output.isTable {
            call.output.data(.object(members))
            return
        }
        call.console.out(Table.text(rows(.object(members))))
    }

    /// A server that is sealed cannot name a leader, but that it refuses says that it is one of several.
    private static func leader(_ call: Invocation) throws(CommandFailure) -> JSONValue {
        let client = try call.client()
        do throws(APIError) {
            return try client.call("GET", "sys/leader")?.tree ?? .object([])
        } catch {
            if case .response(let answer) = error, answer.errors.contains("Vault is sealed") {
                return [("ha_enabled", .bool(true)), ("active_time", "0001-01-01T00:00:00Z")].asObject
            }
            throw call.failure("Error checking leader status", error)
        }
    }

    private static func rows(_ status: JSONValue) -> [[String]] {
        func text(_ name: String) -> String {
            guard let value = status[name], !value.isNull else { return "" }
            return value.goText
        }
        func isTrue(_ name: String) -> Bool { text(name) == "true" }
        let isRecovery = isTrue("recovery_seal")
        let isSealed = isTrue("sealed")
        var rows = [["Key", "Value"], ["Seal Type", text("type")]]
        if !text("recovery_seal_type").isEmpty {
            rows.append(["Recovery Seal Type", text("recovery_seal_type")])
        }
        rows += [["Initialized", text("initialized")], ["Sealed", text("sealed")]]
        rows += [["Total \(isRecovery ? "Recovery " : "")Shares", text("n")], ["Threshold", text("t")]]
        if isSealed {
            rows += [
                ["Unseal Progress", "\(text("progress"))/\(text("t"))"], ["Unseal Nonce", text("nonce")],
            ]
        }
        if !text("sealed_reason").isEmpty { rows.append(["Sealed Because", text("sealed_reason")]) }
        if isTrue("removed_from_cluster") {
            rows.append(["Removed From Cluster", "true: empty its data directory, and let it join again"])
        }
        if isTrue("recovery_break_glass") { rows.append(["Break Glass", "recovery keys can unseal"]) }
        if isTrue("migration") { rows.append(["Seal Migration in Progress", "true"]) }
        for warning in status["warnings"]?.elements ?? [] { rows.append(["Warning", warning.goText]) }
        rows.append(["Version", text("version")])
        if !text("build_date").isEmpty { rows.append(["Build Date", text("build_date")]) }
        rows.append(["Storage Type", text("storage_type")])
        if !text("cluster_name").isEmpty, !text("cluster_id").isEmpty {
            rows += [["Cluster Name", text("cluster_name")], ["Cluster ID", text("cluster_id")]]
        }
        rows.append(["HA Enabled", text("ha_enabled")])
        if isTrue("ha_enabled"), !isSealed {
            let isActive = isTrue("is_self")
            rows += [
                ["HA Cluster", text("leader_cluster_address")], ["HA Mode", isActive ? "active" : "standby"],
            ]
            if isActive, !text("active_time").hasPrefix("0001-") {
                rows.append(["Active Since", text("active_time")])
            }
            if !isActive {
                let address = text("leader_address")
                rows.append(["Active Node Address", address.isEmpty ? "<none>" : address])
            }
        } else if isTrue("ha_enabled") {
            rows.append(["HA Mode", "sealed"])
        }
        if !isEmpty(status["raft_committed_index"]) {
            rows.append(["Raft Committed Index", text("raft_committed_index")])
        }
        if !isEmpty(status["raft_applied_index"]) {
            rows.append(["Raft Applied Index", text("raft_applied_index")])
        }
        return rows
    }

    private static func isEmpty(_ value: JSONValue?) -> Bool {
        guard let value else { return true }
        return ["", "0", "false", "<nil>"].contains(value.goText)
    }
}
