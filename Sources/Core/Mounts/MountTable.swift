import Glibc
package import PluginKit

/// A mount that is ready to serve: its row and its routes.
package final class Mount: Sendable {
    package let entry: MountEntry
    package let apiPath: String
    /// What stands before all keys of its storage; empty for the core's own mounts, which see everything.
    package let storagePrefix: String
    package let routes: RouteTable
    /// Runs when the mount is made or its options change, in the transaction that does so.
    package let prepare: PrepareMount
    /// What the core asks of an auth mount; nil for secrets engines and the core's own.
    package let login: LoginHooks?
    /// Headers of requests that its handlers see, in lower case (`passthrough_request_headers`). The header
    /// that holds the caller's token is never among them.
    let requestHeaders: [String]
    /// How its leases are renewed and revoked; nil for what leases nothing.
    package let leases: LeaseHooks?

    package init(
        entry: MountEntry, storagePrefix: String, routes: RouteTable,
        prepare: @escaping PrepareMount = { _ in }, login: LoginHooks? = nil, leases: LeaseHooks? = nil
    ) {
        self.entry = entry
        apiPath = entry.apiPath
        requestHeaders = (entry.config.passthroughRequestHeaders ?? []).map { $0.lowercased() }
            .filter { $0 != "x-vault-token" }
        self.storagePrefix = storagePrefix
        self.routes = routes
        self.prepare = prepare
        self.leases = leases
        self.login = login
    }
}

/// All mounts at one moment, immutable: routing is a few hash look-ups and takes no lock.
package struct MountTable: Sendable {
    /// In the order of their API paths, byte by byte.
    package let mounts: [Mount]
    private let paths: [[UInt8]]
    private let byPath: [String: Mount]
    private let byUUID: [String: Mount]
    private let byAccessor: [String: Mount]

    package init(_ mounts: [Mount]) {
        self.mounts = mounts.sorted { $0.apiPath.utf8.lexicographicallyPrecedes($1.apiPath.utf8) }
        paths = self.mounts.map { Array($0.apiPath.utf8) }
        byPath = Dictionary(mounts.map { ($0.apiPath, $0) }, uniquingKeysWith: { first, _ in first })
        byUUID = Dictionary(mounts.map { ($0.entry.uuid, $0) }, uniquingKeysWith: { first, _ in first })
        byAccessor = Dictionary(
            mounts.map { ($0.entry.accessor, $0) }, uniquingKeysWith: { first, _ in first })
    }

    /// The mount with the longest path that `path` starts with. A path that is a mount's without its
    /// slash belongs to it too.
    package func mount(for path: String) -> Mount? {
        var path = path
        let found = path.withUTF8 { path in
            // No mount lies inside of another, so only the last one not behind `path` can be it.
            let place = lastPlace(notBehind: path)
            return place >= 0 && starts(path, with: paths[place]) ? mounts[place] : nil
        }
        if let found { return found }
        return path.utf8.last == UInt8(ascii: "/") ? nil : byPath[path + "/"]
    }

    /// The place of the last mount whose path is not behind `path` in the order of bytes; -1 when all are.
    private func lastPlace(notBehind path: UnsafeBufferPointer<UInt8>) -> Int {
        var low = 0
        var high = paths.count
        while low < high {
            let middle = (low + high) / 2
            if isBehind(paths[middle], path) { high = middle } else { low = middle + 1 }
        }
        return low - 1
    }

    private func isBehind(_ mount: [UInt8], _ path: UnsafeBufferPointer<UInt8>) -> Bool {
        let common = min(mount.count, path.count)
        guard common > 0, let start = path.baseAddress else { return mount.count > path.count }
        let order = mount.withUnsafeBufferPointer { $0.baseAddress.map { memcmp($0, start, common) } ?? 0 }
        return order != 0 ? order > 0 : mount.count > path.count
    }

    private func starts(_ path: UnsafeBufferPointer<UInt8>, with mount: [UInt8]) -> Bool {
        guard mount.count <= path.count, let start = path.baseAddress else { return false }
        return mount.withUnsafeBufferPointer {
            $0.baseAddress.map { memcmp($0, start, mount.count) == 0 } ?? true
        }
    }

    /// The mount at exactly this API path (with its trailing slash).
    package func exactly(_ apiPath: String) -> Mount? { byPath[apiPath] }

    /// The mount with this UUID, wherever it stands.
    package func mount(uuid: String) -> Mount? { byUUID[uuid] }

    /// The mount with this accessor, wherever it stands.
    package func mount(accessor: String) -> Mount? { byAccessor[accessor] }

    /// A mount that stands in the way of a new one at `apiPath`: at it, above it or below it.
    package func conflict(with apiPath: String) -> Mount? {
        mounts.first { $0.apiPath.hasPrefix(apiPath) || apiPath.hasPrefix($0.apiPath) }
    }
}
