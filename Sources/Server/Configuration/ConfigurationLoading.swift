package import Base
import PluginKit

extension ServerConfiguration {
    /// Reads the files and directories in order, each laid over those before it (blocks of listeners and
    /// seals add up), then the environment over all.
    /// - Parameters:
    ///   - knownSeals: the kinds of seal that this binary has.
    ///   - environment: gives a variable's value; tests pass their own.
    /// - Returns: the configuration, and sentences for the operator's log.
    /// - Throws: `.badRequest` that names file, line, key and what was expected.
    package static func load(
        paths: [String], knownSeals: Set<String> = ["shamir"],
        environment: (String) -> String? = ConfigurationFiles.environmentValue
    ) throws(VaultError) -> (configuration: ServerConfiguration, warnings: [String]) {
        var configuration = ServerConfiguration()
        var warnings: [String] = []
        for path in paths {
            let files = try ConfigurationFiles.files(at: path)
            if files.isEmpty { warnings.append("\(path): no file ends in .hcl or .json") }
            for file in files {
                warnings += try configuration.apply(
                    try ConfigurationFiles.read(file), from: file, knownSeals: knownSeals)
            }
        }
        try configuration.applyEnvironment(environment)
        try configuration.checkWhole()
        return (configuration, warnings)
    }

    /// Lays one document over this configuration.
    /// - Parameter source: the file's name, for messages.
    /// - Returns: warnings.
    package mutating func apply(
        _ document: [UInt8], from source: String, knownSeals: Set<String> = ["shamir"]
    ) throws(VaultError) -> [String] {
        do throws(VaultError) {
            var reader = ConfigurationReader(source: source)
            try reader.apply(try HCL.parse(document), to: &self, knownSeals: knownSeals)
            return reader.warnings
        } catch {
            guard case .badRequest(let reason) = error else { throw error }
            throw .badRequest("\(source), \(reason)")
        }
    }

    /// What a real server needs and `-dev` brings itself.
    package func checkServes() throws(VaultError) {
        if storage == nil { throw .badRequest("configuration: expected a 'storage' block, found none") }
        if listeners.isEmpty { throw .badRequest("configuration: expected a 'listener' block, found none") }
    }

    mutating func applyEnvironment(_ environment: (String) -> String?) throws(VaultError) {
        func value(_ names: String...) -> (name: String, text: String)? {
            for name in names { if let text = environment(name), !text.isEmpty { return (name, text) } }
            return nil
        }
        func url(_ found: (name: String, text: String)) throws(VaultError) -> String {
            if isHTTPURL(found.text) { return found.text }
            throw .badRequest(
                "\(found.name): expected a URL such as https://host:8200, found '\(found.text)'")
        }
        func flag(_ found: (name: String, text: String)) throws(VaultError) -> Bool {
            if let flag = Bool(vaultText: found.text) { return flag }
            throw .badRequest("\(found.name): expected true or false, found '\(found.text)'")
        }
        if apiAddress.isEmpty, let legacy = storage?.options["api_addr"] ?? storage?.options["redirect_addr"]
        {
            apiAddress = legacy
        }
        if clusterAddress.isEmpty, let legacy = storage?.options["cluster_addr"] { clusterAddress = legacy }
        if let found = value("VAULT_API_ADDR", "VAULT_REDIRECT_ADDR") { apiAddress = try url(found) }
        if let found = value("VAULT_CLUSTER_ADDR") { clusterAddress = try url(found) }
        if let found = value("VAULT_UI") { isUIEnabled = try flag(found) }
        if let found = value("VAULT_DISABLE_MLOCK") { isMlockDisabled = try flag(found) }
        if let found = value("VAULT_LOG_LEVEL") {
            guard let level = LogLevel(name: found.text) else {
                throw .badRequest(
                    "\(found.name): expected trace, debug, info, warn or error, found '\(found.text)'")
            }
            logLevel = level
        }
        if let found = value("VAULT_LOG_FORMAT") {
            guard let format = Server.logFormat(named: found.text) else {
                throw .badRequest("\(found.name): expected standard or json, found '\(found.text)'")
            }
            logFormat = format
        }
        if storage?.type == "raft" {
            if let found = value("VAULT_RAFT_NODE_ID") { storage?.options["node_id"] = found.text }
            if let found = value("VAULT_RAFT_PATH") { storage?.options["path"] = found.text }
        }
    }

    /// What only the whole can show.
    private func checkWhole() throws(VaultError) {
        if defaultLeaseTTL > maxLeaseTTL {
            throw .badRequest(
                "configuration: 'default_lease_ttl' (\(defaultLeaseTTL.goText)) is above "
                    + "'max_lease_ttl' (\(maxLeaseTTL.goText))"
            )
        }
        for address in [apiAddress, clusterAddress] where !address.isEmpty && !isHTTPURL(address) {
            throw .badRequest("configuration: expected a URL such as https://host:8200, found '\(address)'")
        }
    }
}
