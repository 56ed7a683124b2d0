package import Base
package import PluginKit
import Synchronization

/// Compiled ACLs by the set of policy names that they were made from. That of a token with an identity, which
/// may add policies and fills in `{{ … }}`, is kept with the identity (`Identity.keep`) and stands until a
/// policy or the identity changes.
///
/// An ACL enters only when it was read from a view at least as new as the last change of a policy, so
/// that a slow reader of an old view cannot bring a withdrawn right back. Two halves bound the
/// memory: when the young one is full the old one is dropped, so what is in use survives.
package final class ACLCache: Sendable {
    private struct State {
        var young: [[String]: ACL] = [:]
        var old: [[String]: ACL] = [:]
        /// The policies that templated sets were made from, so that each identity costs no reading of texts.
        var documents: [String: PolicyDocument] = [:]
        /// Changes with each invalidation.
        var generation: UInt64 = 0
        /// The commit that last changed a policy.
        var changedAt: UInt64 = 0
    }
    private let state = Mutex(State())
    private let halfCapacity: Int
    private let store = PolicyStore()

    /// - Parameter capacity: sets of policies held at most.
    package init(capacity: Int = 2_048) { halfCapacity = max(1, capacity / 2) }

    /// The ACL of a token's policies. Names without a policy give nothing.
    /// - Throws: `.permissionDenied` for `root` among others or in another spelling: neither is ever honest.
    package func acl(for policies: [String], in view: Transaction) throws(VaultError) -> ACL {
        if policies.count == 1, policies[0].hasSameBytes(as: BuiltInPolicies.rootName) { return .root }
        let names = Self.isSortedSet(policies) ? policies : Set(policies).sorted()
        let (found, generation): (ACL?, UInt64) = state.withLock { state in
            if let acl = state.young[names] { return (acl, state.generation) }
            guard let acl = state.old[names] else { return (nil, state.generation) }
            insert(acl, names, &state)
            return (acl, state.generation)
        }
        if let found { return found }
        let acl = try compile(names, view)
        let sequence = view.log.sequence
        state.withLock { state in
            guard mayKeep(&state, generation, sequence, view) else { return }
            insert(acl, names, &state)
        }
        return acl
    }

    /// The ACL of a token's policies for an identity: with the policies that this one adds, and its names and
    /// metadata filled in.
    ///
    /// - Throws: as above. The root policy needs no identity, and gains nothing from one.
    package func acl(
        for policies: [String], of identity: Identity?, in view: Transaction
    ) throws(VaultError) -> ACL {
        guard let identity, policies.count != 1 || !policies[0].hasSameBytes(as: BuiltInPolicies.rootName)
        else { return try acl(for: policies, in: view) }
        let generation = state.withLock { $0.generation }
        if let acl = identity.acl(for: policies, generation: generation) { return acl }
        let sequence = view.log.sequence
        var documents: [PolicyDocument] = []
        for name in Set(policies).union(identity.policies).sorted() {
            if PolicyStore.canonicalName(name) == BuiltInPolicies.rootName { throw .permissionDenied }
            if let document = try document(name, view, generation) { documents.append(document) }
        }
        let acl = ACL(documents) { identity.value(of: $0) }
        let isCurrent = state.withLock { mayKeep(&$0, generation, sequence, view) }
        if isCurrent { identity.keep(acl, for: policies, generation: generation) }
        return acl
    }

    /// A policy as it was read; nil for one that does not exist.
    private func document(
        _ name: String, _ view: Transaction, _ generation: UInt64
    ) throws(VaultError) -> PolicyDocument? {
        let known = state.withLock { $0.generation == generation ? $0.documents[name] : nil }
        if let known, !view.log.seesUncommitted { return known }
        guard let text = try store.read(name, in: view) else { return nil }
        let document = try PolicyDocument(parsing: text)
        let sequence = view.log.sequence
        state.withLock { state in
            guard mayKeep(&state, generation, sequence, view) else { return }
            if state.documents.count >= 2 * halfCapacity { state.documents = [:] }
            state.documents[name] = document
        }
        return document
    }

    /// Whether what was read from a view may be kept: a batch in the making, or a transaction with writes of
    /// its own, may show policies that never get committed.
    private func mayKeep(
        _ state: inout State, _ generation: UInt64, _ sequence: UInt64, _ view: Transaction
    ) -> Bool {
        state.generation == generation && sequence >= state.changedAt && !view.log.hasWrites
            && !view.log.seesUncommitted
    }

    /// Forgets everything. Call it when a commit that changed a policy has become visible, and before
    /// it is acknowledged.
    /// - Parameter sequence: that commit's number; older views then fill nothing in.
    package func invalidate(at sequence: UInt64 = 0) {
        state.withLock { state in
            state.young = [:]
            state.old = [:]
            state.documents = [:]
            state.generation &+= 1
            state.changedAt = max(state.changedAt, sequence)
        }
    }

    private func compile(_ names: [String], _ view: Transaction) throws(VaultError) -> ACL {
        var documents: [PolicyDocument] = []
        for name in names {
            if PolicyStore.canonicalName(name) == BuiltInPolicies.rootName {
                throw .permissionDenied
            }
            guard let text = try store.read(name, in: view) else { continue }
            documents.append(try PolicyDocument(parsing: text))
        }
        return ACL(documents)
    }

    private func insert(_ acl: ACL, _ names: [String], _ state: inout State) {
        if state.young.count >= halfCapacity {
            state.old = state.young
            state.young = [:]
        }
        state.young[names] = acl
    }

    private static func isSortedSet(_ names: [String]) -> Bool {
        zip(names, names.dropFirst()).allSatisfy { $0 < $1 }
    }
}
