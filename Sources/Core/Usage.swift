import Barrier
package import Base
import PluginKit

/// How much of what storage holds, counted page by page on the calling thread: tens of millions of
/// names take seconds, so this is for a background thread, and it lets go of the view between pages.
package struct Usage: Sendable, Equatable {
    package var leases = 0
    package var tokens = 0

    private static let page = 1_000

    /// Zero of everything.
    package init() {}

    /// Counts. `keepsOn` is asked between pages; nil when it says to stop, or the server is sealed.
    /// - Throws: `.corrupted` storage.
    package static func count(
        _ active: ActiveCore, _ context: LoopContext, keepsOn: () -> Bool
    ) throws(VaultError) -> Usage? {
        var usage = Usage()
        guard let tokens = try count(TokenKeys.id, active, context, keepsOn),
            let leases = try count(LeaseStore.records, active, context, keepsOn)
        else { return nil }
        usage.tokens = tokens
        usage.leases = leases
        return usage
    }

    private static func count(
        _ prefix: String, _ active: ActiveCore, _ context: LoopContext, _ keepsOn: () -> Bool
    ) throws(VaultError) -> Int? {
        var total = 0
        var after: String?
        while keepsOn() {
            let view = try context.begin(active)
            defer { context.release() }
            let names = try view.scan(prefix, after: after, limit: page)
            total += names.count
            guard names.count == page, let last = names.last else { return total }
            after = last
        }
        return nil
    }
}
