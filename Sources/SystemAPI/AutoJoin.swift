package import Base

/// How a node finds the members of its cluster by DNS (Vault's `auto_join`): `provider=dns
/// name=vault-internal`.
///
/// The name of a headless service has the addresses of all its nodes, so no list has to be kept anywhere.
package struct AutoJoin: Sendable, Equatable {
    /// What is looked up.
    package let name: String
    /// `https` or `http`.
    package let scheme: String
    /// The port of the API at each address.
    package let port: Int

    /// - Throws: `.badRequest` that names what was expected.
    package init(_ text: String, scheme: String, port: Int) throws(VaultError) {
        var settings: [String: String] = [:]
        for word in text.split(separator: " ") {
            guard let equals = word.firstIndex(of: "=") else {
                throw .badRequest("auto_join: expected key=value pairs, found '\(word)'")
            }
            settings[String(word[..<equals])] = String(word[word.index(after: equals)...])
        }
        guard settings["provider"] == "dns" else {
            throw .badRequest(
                "auto_join: expected provider=dns, found '\(settings["provider"] ?? "")'; in Kubernetes give "
                    + "the name of the headless service, such as provider=dns name=vault-internal")
        }
        guard let name = settings["name"] ?? settings["host"], !name.isEmpty,
            name.utf8.allSatisfy({ $0 > 32 && $0 < 127 && $0 != UInt8(ascii: "/") })
        else { throw .badRequest("auto_join: expected name=<the name to look up>") }
        for key in settings.keys.sorted() where !["provider", "name", "host"].contains(key) {
            throw .badRequest("auto_join: '\(key)' is not known to provider=dns")
        }
        guard scheme == "https" || scheme == "http" else {
            throw .badRequest("auto_join_scheme: expected https or http")
        }
        guard (1...65_535).contains(port) else {
            throw .badRequest("auto_join_port: expected a port from 1 to 65535")
        }
        self.name = name
        self.scheme = scheme
        self.port = port
    }
}
