import Base
import Glibc
import PluginKit
import StorageBackends

/// `holdfast operator migrate`: copies a storage into another, offline. What is copied is ciphertext, so
/// neither keys nor shares are needed, and the copy unseals with the same ones.
package enum MigrateCommand {
    package static let name = "operator migrate"
    package static let synopsis = "Migrate data between storage backends"

    package static let help = """
        Usage: holdfast operator migrate -config=<path> [options]

          Copies all data from one storage to another while no server runs on either. The source is not
          changed. The destination must be empty; it can be used only once the copy is complete and has
          been compared. The file names both:

              storage_source "file" {
                path = "/var/lib/holdfast"
              }
              storage_destination "file" {
                path = "/srv/holdfast"
              }

          A migration that was interrupted leaves a mark in the destination. Run it again to copy anew,
          or with -start to go on from a key that it printed, or with -reset to empty the destination.

              $ holdfast operator migrate -config=migrate.hcl

        Options:

          -config=<path>
              The file with storage_source and storage_destination.

          -start=<key>
              Go on with an interrupted migration: only keys from this one on are copied.

          -reset
              Drop an interrupted migration: empties the destination that carries its mark. Copies nothing.

          -log-level=<level>
              trace, debug, info, warn or error.

        """

    /// Runs the migration.
    /// - Returns: 0, 1 for wrong use, 2 when it failed.
    package static func run(arguments: [String]) -> Int32 {
        let options: Options
        do throws(VaultError) {
            let flags = try CommandFlags(
                arguments, valued: ["config", "start", "log-level", "log-format", "max-parallel"],
                switches: ["reset"])
            if flags.wantsHelp {
                StandardStream.output.print(help)
                return 0
            }
            options = try Options(flags)
        } catch { return fail(error, 1) }
        do throws(VaultError) {
            try migrate(options)
            return 0
        } catch { return fail(error, 2) }
    }

    private static func fail(_ error: VaultError, _ code: Int32) -> Int32 {
        let text = error.privateCause ?? error.messages.joined(separator: "; ")
        StandardStream.error.print("Error migrating: \(text)\n")
        return code
    }

    private static func migrate(_ options: Options) throws(VaultError) {
        if options.resets {
            let target = try options.destination.open(options.log)
            defer { target.close() }
            try StorageMigration.reset(target)
            StandardStream.output.print("Success! The destination is empty.\n")
            return
        }
        // Opening would make a directory that is not there.
        if let path = options.source.settings["path"], access(path, F_OK) != 0 {
            throw .badRequest("storage_source: there is no directory \(path)")
        }
        let source = try options.source.open(options.log)
        defer { source.close() }
        let target = try options.destination.open(options.log)
        defer { target.close() }
        let migration = StorageMigration(from: source, to: target) { count, key in
            let place = key.map { ", up to key \($0)" } ?? ""
            StandardStream.error.print("copied \(count) records\(place)\n")
        }
        let count = try migration.run(start: options.start)
        StandardStream.output.print("Success! All of the keys have been migrated: \(count) records.\n")
    }

    /// One of the two stanzas.
    struct Storage {
        let type: String
        let settings: [String: String]

        func open(_ log: Log) throws(VaultError) -> any StorageBackend {
            try Catalog.openStorage(type, settings, log: log)
        }
    }

    struct Options {
        let source: Storage
        let destination: Storage
        let start: String?
        let resets: Bool
        let log: Log

        init(_ flags: CommandFlags) throws(VaultError) {
            guard let path = flags.value("config"), flags.all("config").count == 1 else {
                throw .badRequest("must specify exactly one config path using -config")
            }
            var level = LogLevel.warn
            if let text = flags.value("log-level") {
                guard let known = LogLevel(name: text) else {
                    throw .badRequest(
                        "flag -log-level: expected trace, debug, info, warn or error, found '\(text)'")
                }
                level = known
            }
            log = Log(level: level, format: flags.value("log-format") == "json" ? .json : .text)
            start = flags.value("start").flatMap { $0.isEmpty ? nil : $0 }
            resets = flags.isOn("reset")
            if resets, start != nil { throw .badRequest("-start and -reset exclude each other") }
            (source, destination) = try Self.stanzas(path)
        }

        private static func stanzas(_ path: String) throws(VaultError) -> (Storage, Storage) {
            let bytes = try ConfigurationFiles.read(path)
            do throws(VaultError) {
                let document = try HCL.parse(bytes)
                let reader = ConfigurationReader(source: path)
                var found: [String: Storage] = [:]
                for member in document.members {
                    switch member.key {
                    case "storage_source", "storage_destination":
                        guard found[member.key] == nil else {
                            throw member.position.fault("'\(member.key)': expected one block, found a second")
                        }
                        let stanza = try reader.backend(member)
                        found[member.key] = Storage(type: stanza.type, settings: stanza.options)
                    // What a destination of several nodes needs besides.
                    case "cluster_addr", "api_addr": break
                    default: throw member.position.fault("unknown key '\(member.key)'")
                    }
                }
                guard let source = found["storage_source"], let destination = found["storage_destination"]
                else { throw .badRequest("expected a storage_source and a storage_destination block") }
                if source.type == destination.type, source.settings["path"] != nil,
                    source.settings["path"] == destination.settings["path"]
                {
                    throw .badRequest("storage_source and storage_destination are the same storage")
                }
                return (source, destination)
            } catch {
                guard case .badRequest(let reason) = error else { throw error }
                throw .badRequest("\(path), \(reason)")
            }
        }
    }
}
