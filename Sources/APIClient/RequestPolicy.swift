/// The policy that allows one request: what `-output-policy` prints.
enum RequestPolicy {
    /// Paths that need `sudo` besides the capability, `*` standing for one segment and a last `**` for
    /// the rest (`Vault docs: policies, sudo`).
    static let sudoPaths = [
        "auth/token/accessors", "auth/token/revoke-orphan", "sys/audit", "sys/audit/*", "sys/auth/*",
        "sys/auth/*/tune", "sys/config/auditing/request-headers", "sys/config/auditing/request-headers/*",
        "sys/config/cors", "sys/config/ui/headers", "sys/config/ui/headers/*",
        "sys/internal/counters/**", "sys/internal/inspect/**", "sys/leases", "sys/leases/lookup/**",
        "sys/leases/revoke-force/**", "sys/leases/revoke-prefix/**", "sys/loggers", "sys/loggers/*",
        "sys/plugins/catalog/**", "sys/raw", "sys/raw/**", "sys/remount", "sys/revoke-force/**",
        "sys/revoke-prefix/**", "sys/rotate", "sys/rotate/config", "sys/seal", "sys/step-down",
        "sys/storage/raft/snapshot-auto/config/*",
    ]

    static func text(_ method: String, _ path: String, isList: Bool) -> String {
        var capabilities: [String]
        switch method {
        case "GET", "HEAD": capabilities = [isList ? "list" : "read"]
        case "LIST": capabilities = ["list"]
        case "PATCH": capabilities = ["patch"]
        case "DELETE": capabilities = ["delete"]
        default: capabilities = ["create", "update"]
        }
        let path = path.hasPrefix("/") ? String(path.dropFirst()) : path
        if sudoPaths.contains(where: { matches(path, $0) }) { capabilities.append("sudo") }
        let list = capabilities.map { "\"\($0)\"" }.joined(separator: ", ")
        return "path \(quoted(path)) {\n  capabilities = [\(list)]\n}"
    }

    private static func matches(_ path: String, _ pattern: String) -> Bool {
        let words = path.split(separator: "/")
        let wanted = pattern.split(separator: "/")
        for (at, word) in wanted.enumerated() {
            if word == "**" { return words.count > at }
            guard at < words.count, word == "*" || word == words[at] else { return false }
        }
        return words.count == wanted.count
    }

    /// As a string of HCL.
    private static func quoted(_ text: String) -> String {
        "\"" + text.map { $0 == "\"" || $0 == "\\" ? "\\\($0)" : String($0) }.joined() + "\""
    }
}
