import Base
import Glibc

/// `holdfast operator diagnose`: looks at a configuration and its machine before a server is started on
/// them. Opens what a start would open, and changes nothing that a start would not.
package enum DiagnoseCommand {
    package static let name = "operator diagnose"
    package static let synopsis = "Troubleshoot problems starting the server"

    package static let help = """
        Usage: holdfast operator diagnose -config=<path> [options]

          Checks a configuration and the machine that it is for: limits, memory locking, disk space,
          TLS files, listeners, storage and seal. Stop the server first: a storage has one user.

          The exit code tells the worst finding:
            0  nothing to complain about
            1  a failure: the server would not start, or not be safe
            2  a warning

              $ holdfast operator diagnose -config=/etc/holdfast/

        Options:

          -config=<path>
              A configuration file or directory. May be given several times.

          -skip=<check>
              Leave out a check: \(DiagnoseCommand.sections.map(\.key).joined(separator: ", ")). May be given
              several times.

          -format=<format>
              table or json.

        """

    typealias Check = @Sendable (ServerConfiguration) -> Diagnosis

    static let sections: [(key: String, title: String, run: Check)] = [
        ("system", "Check Operating System", SystemChecks.run),
        ("storage", "Check Storage", StorageChecks.run),
        ("seal", "Check Seal", SealChecks.run),
        ("listeners", "Check Listeners", ListenerChecks.run),
        ("addresses", "Check Addresses", ListenerChecks.addresses),
    ]

    /// Runs the checks and prints what they found.
    /// - Returns: 0, 1 for a failure, 2 for a warning.
    package static func run(arguments: [String]) -> Int32 {
        do throws(VaultError) {
            let flags = try CommandFlags(
                arguments, valued: ["config", "skip", "format", "log-level", "log-format"],
                switches: ["debug"])
            if flags.wantsHelp {
                StandardStream.output.print(help)
                return 0
            }
            guard !flags.all("config").isEmpty else {
                throw .badRequest("must specify a configuration file using -config")
            }
            for key in flags.all("skip") where !sections.contains(where: { $0.key == key }) {
                throw .badRequest(
                    "flag -skip: unknown check '\(key)', expected one of "
                        + sections.map(\.key).joined(separator: ", "))
            }
            let format = flags.value("format") ?? "table"
            guard ["table", "json"].contains(format) else {
                throw .badRequest("flag -format: expected table or json, found '\(format)'")
            }
            let found = diagnose(flags.all("config"), skipping: flags.all("skip"))
            show(found, isJSON: format == "json")
            switch found.outcome {
            case .ok, .skipped: return 0
            case .failure: return 1
            case .warning: return 2
            }
        } catch {
            StandardStream.error.print("Error: \(error.messages.joined(separator: "; "))\n")
            return 1
        }
    }

    static func diagnose(_ paths: [String], skipping: [String]) -> Diagnosis {
        var checks: [Diagnosis] = []
        do throws(VaultError) {
            let (configuration, warnings) = try ServerConfiguration.load(
                paths: paths, knownSeals: Catalog.seals)
            try configuration.checkServes()
            checks.append(
                Diagnosis("Parse Configuration", checks: warnings.map { Diagnosis("Key", .warning, $0) }))
            for section in sections {
                checks.append(
                    skipping.contains(section.key)
                        ? Diagnosis(section.title, .skipped) : section.run(configuration))
            }
        } catch { checks.append(Diagnosis("Parse Configuration", failed: error)) }
        return Diagnosis("Holdfast Diagnose", checks: checks)
    }

    private static func show(_ found: Diagnosis, isJSON: Bool) {
        if isJSON {
            StandardStream.output.print(String(decoding: found.json.encoded(), as: UTF8.self) + "\n")
        } else {
            StandardStream.output.print("Results:\n" + found.lines().joined(separator: "\n") + "\n")
        }
    }
}

/// What the machine gives a server.
enum SystemChecks {
    /// Connections, files and a reserve.
    private static let fewFiles: UInt64 = 16_384

    @Sendable static func run(_ configuration: ServerConfiguration) -> Diagnosis {
        Diagnosis("Check Operating System", checks: [openFiles(), memoryLock(configuration), clock()])
    }

    private static func openFiles() -> Diagnosis {
        let name = "Check Open File Limits"
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else {
            return Diagnosis(name, .warning, "the limit cannot be read")
        }
        let most = UInt64(limit.rlim_max)
        if most < fewFiles {
            return Diagnosis(
                name, .warning,
                "\(most) at most; raise the hard limit (LimitNOFILE, ulimit -n) to \(fewFiles)")
        }
        return Diagnosis(name, .ok, "\(most)")
    }

    private static func memoryLock(_ configuration: ServerConfiguration) -> Diagnosis {
        let name = "Check Memory Locking"
        // Using the arena shows what it gets.
        _ = SecretBytes(count: 32) { _ in }
        if LockedArena.shared.isFullyLocked { return Diagnosis(name, .ok, "keys are kept out of swap") }
        if configuration.isMlockDisabled {
            return Diagnosis(name, .ok, "off by disable_mlock: make sure that swap is encrypted or off")
        }
        return Diagnosis(
            name, .warning, "keys may be swapped to disk; raise the limit (LimitMEMLOCK, ulimit -l)")
    }

    /// Leases and certificates live by the clock.
    private static func clock() -> Diagnosis {
        let year = SystemClock().now().rfc3339(fraction: 0).prefix(4)
        let isSane = (Int(year) ?? 0) >= 2024
        return Diagnosis("Check Clock", isSane ? .ok : .failure, isSane ? "" : "the clock says \(year)")
    }
}
