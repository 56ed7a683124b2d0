import Base
package import PluginKit
import Synchronization

/// Tokens that one I/O thread has looked up lately, so that a client's next request costs no hash, no storage
/// read and no decoding. Belongs to one thread; dropped when the server is sealed.
///
/// What it gives is what storage would give: an entry counts only when no commit has changed it between
/// the view that it was read from and the view of the request (`TokenChanges`), and whoever uses it notes
/// the read, so that a commit that races with a revocation is run again. The tokens themselves lie in
/// locked memory and are compared in constant time.
package final class TokenCache {
    /// Tokens held at most. When the young half is full the old one goes, so that what is in use stays.
    private static let half = 1_024

    private final class Known {
        let token: SecretBytes
        let bearer: Bearer
        /// The newest view in which the entry is known to stand as it is.
        var sequence: UInt64

        init(token: SecretBytes, bearer: Bearer, sequence: UInt64) {
            self.token = token
            self.bearer = bearer
            self.sequence = sequence
        }
    }
    private var young: [Int: Known] = [:]
    private var old: [Int: Known] = [:]

    package init() {}

    /// Who bears a token as of a view; nil when it must be looked up.
    func bearer(
        of token: UnsafeRawBufferPointer, in sequence: UInt64, _ changes: TokenChanges
    ) -> Bearer? {
        let place = Self.place(of: token)
        var found = young[place]
        if found == nil, let kept = old[place] {
            insert(kept, at: place)
            found = kept
        }
        guard let found, found.token.withBytes({ constantTimeEqual($0, token) }),
            changes.stands(found.bearer.hash, from: found.sequence, to: sequence)
        else { return nil }
        found.sequence = max(found.sequence, sequence)
        return found.bearer
    }

    /// Keeps what was found in a view.
    func insert(_ token: UnsafeRawBufferPointer, _ bearer: Bearer, _ sequence: UInt64) {
        insert(
            Known(token: SecretBytes(copying: token), bearer: bearer, sequence: sequence),
            at: Self.place(of: token))
    }

    private func insert(_ known: Known, at place: Int) {
        if young.count >= Self.half {
            old = young
            young = [:]
        }
        young[place] = known
    }

    /// Seeded per process; two tokens of one hash take turns.
    private static func place(of token: UnsafeRawBufferPointer) -> Int {
        var hasher = Hasher()
        hasher.combine(bytes: token)
        return hasher.finalize()
    }
}

/// A good token's entry, and who that makes the client: made once for many requests.
package final class Bearer: Sendable {
    package let entry: TokenEntry
    package let client: ClientIdentity
    /// The entry's place in storage.
    let key: String
    // What each request asks of the entry, so that the whole of it is not copied for that.
    let hash: String
    let entityID: String
    let isBound: Bool
    let isLimited: Bool
    let isLastUseSpent: Bool
    let lifetime: TokenLifetime

    package init(_ entry: TokenEntry) {
        self.entry = entry
        client = entry.client
        key = TokenKeys.id + entry.hash
        hash = entry.hash
        entityID = entry.entityID
        isBound = !entry.boundCIDRs.isEmpty
        isLimited = entry.numberOfUses > 0
        isLastUseSpent = entry.isLastUseSpent
        lifetime = entry.lifetime
    }
}

/// Which token entries the latest commits have changed, so that a cached one is never used past a change.
///
/// Each commit is noted after it has become visible and before it is acknowledged; a view newer than the last
/// note is told nothing, so that it looks the token up.
package final class TokenChanges: Sendable {
    /// Hashes remembered at most; about 100 bytes each.
    private static let most = 50_000

    private let window: Mutex<ConflictWindow>
    private let notedUpTo: Atomic<UInt64>
    private let newest: Atomic<UInt64>

    /// - Parameter sequence: the commit that everything cached from now on is at least as new as.
    package init(startingAfter sequence: UInt64) {
        window = Mutex(ConflictWindow(startingAfter: sequence, most: Self.most))
        notedUpTo = Atomic(sequence)
        newest = Atomic(sequence)
    }

    /// Takes note of a commit.
    package func note(_ keys: [String], at sequence: UInt64) {
        let entries = keys.filter { $0.utf8.starts(with: TokenKeys.id.utf8) }
        if !entries.isEmpty {
            let hashes = entries.map { String($0.dropFirst(TokenKeys.id.count)) }
            window.withLock { $0.note(hashes, at: sequence) }
            newest.store(sequence, ordering: .releasing)
        }
        notedUpTo.store(sequence, ordering: .releasing)
    }

    /// Everything may have changed up to a commit.
    func forget(upTo sequence: UInt64) {
        window.withLock { $0 = ConflictWindow(startingAfter: sequence, most: Self.most) }
        newest.store(sequence, ordering: .releasing)
        notedUpTo.store(sequence, ordering: .releasing)
    }

    /// Whether the entry of that hash is the same in all views from one commit to another.
    func stands(_ hash: String, from first: UInt64, to last: UInt64) -> Bool {
        guard last <= notedUpTo.load(ordering: .acquiring) else { return false }
        // Nothing at all has changed since: true of nearly every request.
        if newest.load(ordering: .acquiring) <= first { return true }
        // An older view than the one it was read from does not come up: views of a thread only grow newer.
        guard last >= first else { return false }
        return window.withLock { !$0.changed(keys: [hash], prefixes: [], since: first) }
    }
}
