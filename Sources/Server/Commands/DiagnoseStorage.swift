import Barrier
import Base
import Glibc
import Net
import PluginKit

/// The storage as a start would find it.
enum StorageChecks {
    /// Below it a server soon cannot write.
    private static let littleSpace: UInt64 = 1 << 30
    private static let leastSpace: UInt64 = 64 << 20

    @Sendable static func run(_ configuration: ServerConfiguration) -> Diagnosis {
        guard let storage = configuration.storage else {
            return Diagnosis("Check Storage", .failure, "there is no storage stanza")
        }
        var checks: [Diagnosis] = []
        if let path = storage.options["path"] {
            guard exists(path) else {
                return Diagnosis("Check Storage", checks: [newDirectory(path), space(parent(path))])
            }
            checks += [permissions(path), space(path)]
        }
        if storage.type == "inmem" {
            checks.append(Diagnosis("Check Durability", .warning, "inmem: all data end with the process"))
        }
        return Diagnosis("Check Storage", checks: checks + opened(storage))
    }

    private static func opened(_ storage: BackendConfiguration) -> [Diagnosis] {
        let name = "Open Storage Backend"
        do throws(VaultError) {
            let backend = try Catalog.openStorage(
                storage.type, storage.options, log: Log(level: .error, format: .text))
            defer { backend.close() }
            let isInitialized = try BarrierBootstrap.isInitialized(backend)
            let text = isInitialized ? "initialized" : "not initialized yet: use \"holdfast operator init\""
            return [Diagnosis(name, .ok, storage.type), Diagnosis("Read Seal Configuration", .ok, text)]
        } catch { return [Diagnosis(name, failed: error)] }
    }

    private static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

    private static func parent(_ path: String) -> String {
        var path = path
        while path.count > 1, path.hasSuffix("/") { path.removeLast() }
        repeat {
            guard let slash = path.lastIndex(of: "/") else { return "." }
            path = slash == path.startIndex ? "/" : String(path[..<slash])
        } while !exists(path)
        return path
    }

    private static func newDirectory(_ path: String) -> Diagnosis {
        let parent = parent(path)
        guard access(parent, W_OK | X_OK) == 0 else {
            return Diagnosis(
                "Check Directory", .failure, "\(path) does not exist, and \(parent) cannot be written to")
        }
        return Diagnosis("Check Directory", .ok, "\(path) does not exist yet: the start will make it")
    }

    private static func permissions(_ path: String) -> Diagnosis {
        let name = "Check Directory"
        var info = stat()
        guard stat(path, &info) == 0, info.st_mode & S_IFMT == S_IFDIR else {
            return Diagnosis(name, .failure, "\(path) is not a directory")
        }
        guard access(path, R_OK | W_OK | X_OK) == 0 else {
            return Diagnosis(name, .failure, "\(path) cannot be read and written by this user")
        }
        if info.st_mode & 0o022 != 0 {
            return Diagnosis(name, .warning, "\(path) can be written by others: chmod 700 \(path)")
        }
        if info.st_mode & 0o055 != 0 {
            return Diagnosis(name, .warning, "\(path) can be read by others: chmod 700 \(path)")
        }
        return Diagnosis(name, .ok, path)
    }

    private static func space(_ path: String) -> Diagnosis {
        let name = "Check Disk Usage"
        var info = statvfs()
        guard statvfs(path, &info) == 0 else {
            return Diagnosis(name, .warning, "the free space at \(path) cannot be read")
        }
        let free = UInt64(info.f_bavail) * UInt64(info.f_frsize)
        let text = "\(free >> 20) MiB are free at \(path)"
        if free < leastSpace { return Diagnosis(name, .failure, text) }
        return Diagnosis(name, free < littleSpace ? .warning : .ok, text)
    }
}

/// The listeners as a start would open them.
enum ListenerChecks {
    /// Time enough to renew a certificate by hand.
    private static let soon: Duration = .seconds(30 * 24 * 3_600)

    @Sendable static func run(_ configuration: ServerConfiguration) -> Diagnosis {
        Diagnosis("Check Listeners", checks: configuration.listeners.map(check))
    }

    private static func check(_ listener: ListenerConfiguration) -> Diagnosis {
        let name = "Check Listener \(listener.address)"
        do throws(VaultError) {
            guard let facts = try ListenerCheck.run(try listener.forNet(listener.limits)) else {
                if listener.kind == .unix { return Diagnosis(name, .ok, "unix socket") }
                let isLocal = ["127.", "localhost:", "[::1]:"].contains { listener.address.hasPrefix($0) }
                return Diagnosis(
                    name, isLocal ? .ok : .warning,
                    "TLS is disabled: tokens and secrets cross the network in plain text")
            }
            let now = SystemClock().now()
            let dates = "\(facts.subject), good until \(facts.notAfter.rfc3339(fraction: 0))"
            if facts.notAfter < now {
                return Diagnosis(name, .failure, "the certificate is expired: \(dates)")
            }
            if facts.notBefore > now {
                return Diagnosis(
                    name, .failure,
                    "the certificate is not valid before \(facts.notBefore.rfc3339(fraction: 0))")
            }
            if facts.notAfter < now + soon {
                return Diagnosis(name, .warning, "the certificate expires soon: \(dates)")
            }
            return Diagnosis(name, .ok, dates)
        } catch { return Diagnosis(name, failed: error) }
    }

    @Sendable static func addresses(_ configuration: ServerConfiguration) -> Diagnosis {
        let name = "Check Addresses"
        if configuration.apiAddress.isEmpty {
            return Diagnosis(name, .ok, "api_addr is not set: a node that stands alone needs none")
        }
        let isPlain = configuration.apiAddress.hasPrefix("http://")
        let hasTLS = configuration.listeners.contains { !$0.isTLSDisabled && $0.kind == .tcp }
        if isPlain, hasTLS {
            return Diagnosis(name, .warning, "api_addr says http:// while a listener speaks TLS")
        }
        return Diagnosis(name, .ok, configuration.apiAddress)
    }
}
