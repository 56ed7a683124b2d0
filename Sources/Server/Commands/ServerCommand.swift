import Base
import Core
import CPosix
import Glibc
import Net
import PluginKit

/// `holdfast server`: reads flags and configuration, serves until SIGTERM or SIGINT, re-reads
/// certificates and the log level on SIGHUP, and opens audit logs anew.
package enum ServerCommand {
    package static let name = "server"
    package static let synopsis = "Start a server"

    package static let help = """
        Usage: holdfast server [options]

          Starts a server that answers API requests until it gets SIGTERM or SIGINT. By default it is sealed:
          unseal it with "holdfast operator unseal". SIGHUP re-reads TLS certificates and the log
          level, and opens audit logs anew.

          Start a server with a configuration file or directory:

              $ holdfast server -config=/etc/holdfast/

          Start a development server: unsealed, in memory, on 127.0.0.1. Never use it for real secrets:

              $ holdfast server -dev

        Options:

          -config=<path>
              A configuration file or directory of files in HCL or JSON. May be given several times.

          -log-level=<level>
              trace, debug, info, warn or error. Environment: VAULT_LOG_LEVEL.

          -log-format=<format>
              standard or json. Environment: VAULT_LOG_FORMAT.

          -dev
              Development mode: in memory, unsealed, with the web UI and a KV version 2 engine at secret/.

          -dev-root-token-id=<token>
              The root token of a development server. Environment: VAULT_DEV_ROOT_TOKEN_ID.

          -dev-listen-address=<address>
              Where a development server listens; 127.0.0.1:8200 by default. Environment:
              VAULT_DEV_LISTEN_ADDRESS.

          -dev-no-store-token
              Do not store the root token of a development server in ~/.vault-token.

        """

    /// Runs the server.
    /// - Returns: 0 after an orderly stop, 1 when the start failed.
    package static func run(arguments: [String]) -> Int32 {
        let options: ServerOptions
        do throws(VaultError) { options = try ServerOptions(arguments) } catch {
            return fail(error)
        }
        if options.wantsHelp {
            StandardStream.output.print(help)
            return 0
        }
        ProcessHardening.apply()
        // Before any thread starts, so that all of them inherit the mask and only this one is told.
        let signals = SignalReceiver([SIGTERM, SIGINT, SIGHUP])
        do throws(VaultError) {
            let (configuration, warnings) = try options.load()
            let log = Log(
                level: options.logLevel ?? configuration.logLevel ?? .info,
                format: options.logFormat ?? configuration.logFormat ?? .text)
            for warning in warnings { log.warn(warning) }
            if !configuration.isMlockDisabled, !LockedArena.shared.isFullyLocked {
                log.warn("keys may be swapped to disk: raise `ulimit -l`, or say disable_mlock = true")
            }
            let node = try Node(configuration, log: log)
            try node.start()
            try announce(configuration, options, node, log)
            serve(node, signals, log, options)
            node.stop()
            log.info("stopped")
            return 0
        } catch { return fail(error) }
    }

    private static func serve(_ node: Node, _ signals: SignalReceiver, _ log: Log, _ options: ServerOptions) {
        while true {
            switch signals.wait() {
            case SIGHUP:
                node.http.reloadTLS()
                node.core.audit.reopen()
                if let (configuration, _) = try? options.load() {
                    log.configure(
                        level: options.logLevel ?? configuration.logLevel ?? .info,
                        format: options.logFormat ?? configuration.logFormat ?? .text)
                }
                log.info("reloaded")
            case let signal:
                log.info("stopping", ["signal": signal == SIGINT ? "SIGINT" : "SIGTERM"])
                return
            }
        }
    }

    private static func announce(
        _ configuration: ServerConfiguration, _ options: ServerOptions, _ node: Node, _ log: Log
    ) throws(VaultError) {
        let addresses = node.http.addresses.joined(separator: ", ")
        if options.isDev {
            try DevServer.prepare(
                node, rootToken: options.devRootToken, storesToken: options.devStoresToken, addresses)
        }
        for member in node.seal.seals.members {
            let facts = member.seal.facts.map { "\($0.name): \($0.value)" }.joined(separator: ", ")
            log.info(
                member.isDisabled ? "seal to migrate from" : "seal",
                ["seal": member.name, "type": member.type, "uses": facts])
        }
        log.info(
            "serving",
            [
                "version": Version.product, "api": Version.api, "addresses": addresses,
                "storage": configuration.storage?.type ?? "", "pid": String(getpid()),
            ])
    }

    private static func fail(_ error: VaultError) -> Int32 {
        let text = error.privateCause ?? error.messages.joined(separator: "; ")
        StandardStream.error.print("Error starting the server: \(text)\n")
        return 1
    }
}
