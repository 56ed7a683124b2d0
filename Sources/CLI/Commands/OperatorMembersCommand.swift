internal import APIClient
internal import Base

enum OperatorMembersCommand: CommandDefinition {
    static let name = "operator members"
    static let synopsis = "Shows the nodes of the cluster"
    static let details = """
        Each node with its addresses and its version, whether it is the active one, and when the active one
        has heard of it last.
        """

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let answer = try call.api("Error reading the nodes of the cluster") { (client) throws(APIError) in
            try client.call("GET", "sys/ha-status")
        }
        let body = answer?["data"]?["nodes"] != nil ? answer?["data"] : answer
        guard let nodes = body?["nodes"], nodes.kind == .array else {
            throw .failed("The server does not tell of any nodes")
        }
        if !call.output.isTable { return call.output.data(["Nodes": .raw(nodes)]) }
        let rows = nodes.elements.map { node in
            [
                node["hostname"]?.string ?? "", node["api_address"]?.string ?? "",
                node["cluster_address"]?.string ?? "",
                node["active_node"]?.bool == true ? "true" : "false", node["version"]?.string ?? "",
                node["last_echo"]?.string ?? "",
            ]
        }
        call.console.out(
            Table.text(
                [["Host Name", "API Address", "Cluster Address", "Active Node", "Version", "Last Echo"]]
                    + rows))
        return 0
    }
}
