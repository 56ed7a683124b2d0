import Base
import Glibc
import PluginKit

/// The flags of `holdfast server`, and the configuration that they lead to.
struct ServerOptions {
    private var paths: [String] = []
    private(set) var wantsHelp = false
    private(set) var isDev = false
    private(set) var devRootToken: String?
    private(set) var devStoresToken = true
    private(set) var logLevel: LogLevel?
    private(set) var logFormat: Log.Format?
    private var devAddress = "127.0.0.1:8200"

    /// Reads flags as Go does: one dash or two, `-flag=value` or `-flag value`.
    init(_ arguments: [String]) throws(VaultError) {
        devRootToken = Self.environment("VAULT_DEV_ROOT_TOKEN_ID")
        if let address = Self.environment("VAULT_DEV_LISTEN_ADDRESS") { devAddress = address }
        var rest = arguments[...]
        while let argument = rest.popFirst() {
            guard argument.hasPrefix("-"), argument != "-" else {
                throw .badRequest("unexpected argument '\(argument)': expected flags only")
            }
            let body = argument.drop { $0 == "-" }
            let mark = body.firstIndex(of: "=")
            let name = String(body[..<(mark ?? body.endIndex)])
            try apply(name, mark.map { String(body[body.index(after: $0)...]) }, &rest)
        }
        if !wantsHelp, !isDev, paths.isEmpty {
            throw .badRequest(
                "must specify at least one config path using -config, or -dev for a development server")
        }
    }

    private mutating func apply(_ name: String, _ given: String?, _ rest: inout ArraySlice<String>)
        throws(VaultError)
    {
        func value() throws(VaultError) -> String {
            if let given { return given }
            guard let next = rest.popFirst() else { throw .badRequest("flag -\(name): expected a value") }
            return next
        }
        func flag() throws(VaultError) -> Bool {
            guard let given else { return true }
            guard let value = Bool(vaultText: given) else {
                throw .badRequest("flag -\(name): expected true or false")
            }
            return value
        }
        switch name {
        case "help", "h": wantsHelp = true
        case "dev": isDev = try flag()
        case "dev-root-token-id": devRootToken = try value()
        case "dev-listen-address": devAddress = try value()
        case "dev-no-store-token": devStoresToken = try !flag()
        case "config": paths.append(try value())
        case "log-level":
            let text = try value()
            guard let level = LogLevel(name: text) else {
                throw .badRequest(
                    "flag -log-level: expected trace, debug, info, warn or error, found '\(text)'")
            }
            logLevel = level
        case "log-format":
            let text = try value()
            guard ["standard", "text", "json"].contains(text) else {
                throw .badRequest("flag -log-format: expected standard or json, found '\(text)'")
            }
            logFormat = text == "json" ? .json : .text
        default: throw .badRequest("flag provided but not defined: -\(name); see holdfast server -help")
        }
    }

    /// The configuration of files, environment and flags together.
    func load() throws(VaultError) -> (configuration: ServerConfiguration, warnings: [String]) {
        var (configuration, warnings) = try ServerConfiguration.load(paths: paths, knownSeals: Catalog.seals)
        if isDev {
            configuration.storage = configuration.storage ?? .inMemory
            var listener = ListenerConfiguration(kind: .tcp, address: devAddress)
            listener.isTLSDisabled = true
            listener.hasUnauthenticatedMetrics = true
            configuration.listeners.insert(listener, at: 0)
            configuration.hasRawStorageEndpoint = true
            configuration.isUIEnabled = true
        }
        try configuration.checkServes()
        return (configuration, warnings)
    }

    private static func environment(_ name: String) -> String? {
        ConfigurationFiles.environmentValue(name).flatMap { $0.isEmpty ? nil : $0 }
    }
}

extension BackendConfiguration {
    /// What a development server stores in when nothing else is said.
    fileprivate static let inMemory = BackendConfiguration(
        type: "inmem", options: [:], body: HCLObject(members: []), position: HCLPosition(line: 0, column: 0))
}
