import Base
import PluginKit
import SystemAPI

/// `retry_join { … }` of `storage "raft"`: the clusters that an empty node joins by itself.
struct RetryJoin: Sendable {
    var targets: [JoinTarget] = []
    var options = JoinOptions()

    /// - Parameters:
    ///   - read: gives a file's bytes.
    ///   - environment: gives a variable's value.
    /// - Throws: `.badRequest` that names the line, the key and what was expected.
    init(
        _ storage: BackendConfiguration,
        read: (String) throws(VaultError) -> [UInt8] = ConfigurationFiles.read,
        environment: (String) -> String? = ConfigurationFiles.environmentValue
    ) throws(VaultError) {
        for member in storage.body.members where member.key == "retry_join" {
            for block in try member.plainBlocks() {
                do throws(VaultError) {
                    targets.append(try Self.target(block, read))
                } catch { throw Self.placed(error, member.position) }
            }
        }
        let asked =
            environment("VAULT_RAFT_RETRY_JOIN_AS_NON_VOTER").flatMap { $0.isEmpty ? nil : $0 }
            ?? storage.options["retry_join_as_non_voter"]
        if let asked {
            guard let flag = Bool(vaultText: asked) else {
                throw .badRequest("'retry_join_as_non_voter': expected true or false, found '\(asked)'")
            }
            guard !flag || !targets.isEmpty else {
                throw .badRequest("'retry_join_as_non_voter': expected a retry_join block beside it")
            }
            options.isNonVoter = flag
        }
        options.retries = true
    }

    private static let keys: Set<String> = [
        "leader_api_addr", "auto_join", "auto_join_scheme", "auto_join_port", "leader_tls_servername",
        "leader_ca_cert", "leader_ca_cert_file", "leader_client_cert", "leader_client_cert_file",
        "leader_client_key", "leader_client_key_file",
    ]

    private static func target(
        _ block: HCLObject, _ read: (String) throws(VaultError) -> [UInt8]
    ) throws(VaultError) -> JoinTarget {
        for member in block.members where !keys.contains(member.key) {
            throw member.position.fault("unknown key '\(member.key)' in retry_join")
        }
        func text(_ key: String) throws(VaultError) -> String {
            guard let value = block[key] else { return "" }
            guard let text = value.scalarText else { throw value.fault(key, expected: "a string") }
            return text
        }
        /// PEM that stands here, or in a file.
        func pem(_ key: String) throws(VaultError) -> [UInt8] {
            let (inline, file) = (try text(key), try text(key + "_file"))
            guard inline.isEmpty || file.isEmpty else {
                throw .badRequest("'\(key)' and '\(key)_file': expected one of them, found both")
            }
            return file.isEmpty ? Array(inline.utf8) : try read(file)
        }
        var target = JoinTarget()
        target.address = try text("leader_api_addr")
        target.serverName = try text("leader_tls_servername")
        target.caCertificate = try pem("leader_ca_cert")
        target.clientCertificate = try pem("leader_client_cert")
        var key = try pem("leader_client_key")
        defer { key.wipe() }
        if !key.isEmpty { target.clientKey = SecretBytes(copying: key) }
        guard key.isEmpty == target.clientCertificate.isEmpty else {
            throw .badRequest("'leader_client_cert' and 'leader_client_key': expected both or neither")
        }
        let autoJoin = try text("auto_join")
        if !autoJoin.isEmpty {
            guard target.address.isEmpty else {
                throw .badRequest("'leader_api_addr' and 'auto_join': expected one of them, found both")
            }
            let (scheme, port) = (try text("auto_join_scheme"), try text("auto_join_port"))
            guard port.isEmpty || Int(port) != nil else {
                throw .badRequest("'auto_join_port': expected a port, found '\(port)'")
            }
            target.autoJoin = try AutoJoin(
                autoJoin, scheme: scheme.isEmpty ? "https" : scheme, port: Int(port) ?? 8200)
        } else if !isHTTPURL(target.address) {
            throw .badRequest("retry_join: expected leader_api_addr with a URL, or auto_join")
        }
        return target
    }

    private static func placed(_ error: VaultError, _ position: HCLPosition) -> VaultError {
        guard case .badRequest(let text) = error, !text.hasPrefix("line ") else { return error }
        return position.fault(text)
    }
}
