import Base
import PluginKit
import TestKit
import Testing

@testable import Core

/// Going over to another seal, the nodes of a cluster one after the other; and what standbys know of seals.
@Suite struct ClusterSealTests {
    enum Way: CaseIterable { case sharesToSeal, sealToShares, sealToSeal }

    private static let away = VaultError.unavailable("the KMS is away", retryAfterSeconds: 0)

    /// The stanzas of a way: before it, on it, and after it.
    private struct Stanzas {
        let old = FakeKMS()
        let new = FakeKMS()
        let way: Way

        init(_ way: Way) { self.way = way }
        var before: SealSet { AutoUnsealTests.set(way == .sharesToSeal ? [] : [("old", old)]) }
        var during: SealSet {
            AutoUnsealTests.set(
                way == .sealToShares ? [] : [("new", new)],
                disabled: way == .sharesToSeal ? [] : [("old", old)])
        }
        var after: SealSet { AutoUnsealTests.set(way == .sealToShares ? [] : [("new", new)]) }
        var typeAfter: String { way == .sealToShares ? "shamir" : "fake" }
    }

    // MARK: Node by node

    @Test(arguments: Way.allCases) func nodesGoOverOneAfterTheOther(way: Way) async throws {
        let stanzas = Stanzas(way)
        let nodes = try await SealedNodes { stanzas.before }
        defer { nodes.stop() }
        _ = try await nodes.call(0, .update, "cubbyhole/a", #"{"v":"kept"}"#)
        let oldKey = try nodes.seal(0).wrappedRootKey()
        for node in [1, 2] {
            try nodes.restart(node, stanzas.during)
            #expect(nodes.seal(node).status.isMigrating)
            try nodes.unseal(node, migrate: true)
            let status = nodes.seal(node).status
            #expect(!status.isSealed)
            #expect(status.isMigrating)
            #expect(status.warning.contains("when it becomes active"))
        }
        #expect(try nodes.seal(0).wrappedRootKey() == oldKey, "the active node has the old configuration")
        nodes.cluster.elect(1)
        try await nodes.wait("going over") { try nodes.seal(1).wrappedRootKey() != oldKey }
        let newKey = try nodes.seal(1).wrappedRootKey()
        #expect(nodes.seal(1).status.type == stanzas.typeAfter)
        // The others follow; who was to go over as well forgets it.
        for node in 0..<3 {
            try await nodes.wait("node \(node) follows") {
                let seal = nodes.seal(node)
                return try seal.wrappedRootKey() == newKey && !seal.isGoingOver && !seal.status.isMigrating
            }
        }
        try await nodes.wait("the old configuration is warned of") {
            nodes.seal(0).status.warning.contains("goes on until it is restarted")
        }
        try await nodes.wait("the others have nothing to say") {
            [1, 2].allSatisfy { nodes.seal($0).status.warning == "" }
        }
        // The last one needs no more than the new configuration; then the old seal may go.
        try nodes.restart(0, stanzas.during)
        if way == .sealToShares { try nodes.unseal(0, migrate: true) }
        try await nodes.wait("node 0 is unsealed") { !nodes.seal(0).status.isSealed }
        stanzas.old.fail(.forbidden("gone"))
        for node in 0..<3 {
            try nodes.restart(node, stanzas.after)
            if way == .sealToShares { try nodes.unseal(node) }
            try await nodes.wait("node \(node) is unsealed") { !nodes.seal(node).status.isSealed }
            #expect(nodes.seal(node).status.type == stanzas.typeAfter)
            #expect(try nodes.seal(node).wrappedRootKey() == newKey)
        }
        #expect(try await nodes.call(2, .read, "cubbyhole/a").text("data/v") == "kept")
    }

    @Test(arguments: Way.allCases) func theOldConfigurationUndoesNothing(way: Way) async throws {
        let stanzas = Stanzas(way)
        let nodes = try await SealedNodes { stanzas.before }
        defer { nodes.stop() }
        try nodes.restart(1, stanzas.during)
        try nodes.unseal(1, migrate: true)
        let oldKey = try nodes.seal(1).wrappedRootKey()
        nodes.cluster.elect(1)
        try await nodes.wait("going over") { try nodes.seal(1).wrappedRootKey() != oldKey }
        let newKey = try nodes.seal(1).wrappedRootKey()
        // Active again, it leaves the seal alone, and refuses to use its own.
        try await nodes.fail(over: 0)
        _ = nodes.seal(0).checkSeals()
        #expect(try nodes.seal(0).wrappedRootKey() == newKey)
        #expect(nodes.seal(0).status.warning.contains("goes on until it is restarted"))
        if way == .sealToSeal {
            let active = try #require(nodes.servers[0].core.active)
            #expect(throws: VaultError.self) {
                try nodes.seal(0).replaceRootKey(recoveryKey: SecretBytes(copying: [1]), active)
            }
        }
        // Restarted with it, it says what to do, and nobody's shares help.
        try nodes.restart(0, stanzas.before)
        let refusal = nodes.seal(0).status.reason
        #expect(refusal.contains(way == .sharesToSeal ? "add its stanza" : "the cluster has gone over from"))
        for migrate in [false, true] {
            #expect { try nodes.unseal(0, migrate: migrate) } throws: { error in
                (error as? VaultError)?.messages == [refusal]
            }
        }
        #expect(try nodes.seal(1).wrappedRootKey() == newKey)
        // Whoever means it gets there by another name.
        guard way == .sealToShares else { return }
        try nodes.restart(0, AutoUnsealTests.set([("again", stanzas.old)]))
        #expect(nodes.seal(0).status.isMigrating)
    }

    @Test func theNextOneGoesOverWhereTheActiveOneCannot() async throws {
        let old = FakeKMS()
        // The KMS as node 1 and as node 2 reach it.
        let (near, far) = (FakeKMS(), FakeKMS())
        let nodes = try await SealedNodes { AutoUnsealTests.set([("old", old)]) }
        defer { nodes.stop() }
        for (node, kms) in [(1, near), (2, far)] {
            try nodes.restart(node, AutoUnsealTests.set([("new", kms)], disabled: [("old", old)]))
            try nodes.unseal(node, migrate: true)
        }
        near.fail(Self.away)
        nodes.cluster.elect(1)
        try await nodes.wait("the failure is told") {
            nodes.seal(1).status.warning.contains("seal new: the KMS is away")
        }
        #expect(nodes.seal(1).config?.automatic?.copies.map(\.name) == ["old"])
        nodes.cluster.elect(2)
        try await nodes.wait("going over") {
            nodes.seal(2).config?.automatic?.copies.map(\.name) == ["new"]
        }
        try await nodes.wait("the other one forgets it") { !nodes.seal(1).isGoingOver }
        #expect(nodes.seal(1).status.warning == "")
    }

    @Test func anAnswerThatIsLostIsNoSecondMigration() async throws {
        let stanzas = Stanzas(.sealToSeal)
        let nodes = try await SealedNodes { stanzas.before }
        defer { nodes.stop() }
        try nodes.restart(1, stanzas.during)
        try nodes.unseal(1, migrate: true)
        // It takes effect, and nobody hears of it.
        nodes.cluster.loseAnswers(true)
        nodes.cluster.elect(1)
        try await nodes.wait("going over") {
            nodes.seal(1).config?.automatic?.copies.map(\.name) == ["new"]
        }
        let key = try nodes.seal(1).wrappedRootKey()
        nodes.cluster.loseAnswers(false)
        try await nodes.wait("it is known") { !nodes.seal(1).isGoingOver }
        #expect(try nodes.seal(1).wrappedRootKey() == key)
    }

    @Test func replacedSharesEndWhatOldOnesAllowed() async throws {
        let stanzas = Stanzas(.sealToShares)
        let nodes = try await SealedNodes { stanzas.before }
        defer { nodes.stop() }
        try nodes.restart(1, stanzas.during)
        try nodes.unseal(1, migrate: true)
        let made = try HolderKey(HolderKey.Wish(shares: 1, threshold: 1), random: SystemRandom())
        let active = try #require(nodes.servers[0].core.active)
        try nodes.seal(0).replaceHolderKey(made, breakGlass: false, alongside: [:], active)
        try await nodes.wait("it forgets the old key") { !nodes.seal(1).isGoingOver }
        #expect(nodes.seal(1).status.warning.contains("unseal it with -migrate"))
        try await nodes.fail(over: 1)
        #expect(nodes.seal(1).status.type == "fake")
        nodes.servers[1].core.seal()
        try nodes.seal(1).enter(share: Hex.encode(made.shares[0]), migrate: true)
        try await nodes.fail(over: 1)
        try await nodes.wait("going over") { nodes.seal(1).status.type == "shamir" }
    }

    @Test func sealingForgetsTheHoldersKey() async throws {
        let stanzas = Stanzas(.sharesToSeal)
        let nodes = try await SealedNodes { stanzas.before }
        defer { nodes.stop() }
        try nodes.restart(1, stanzas.during)
        try nodes.unseal(1, migrate: true)
        #expect(nodes.seal(1).isGoingOver)
        nodes.seal(1).seal()
        #expect(!nodes.seal(1).isGoingOver)
    }

    @Test func aChangeIsMadeInItsTermOrNotAtAll() async throws {
        let kms = FakeKMS()
        let nodes = try await SealedNodes { AutoUnsealTests.set([("k", kms)]) }
        defer { nodes.stop() }
        let active = try #require(nodes.servers[0].core.active)
        let seal = nodes.seal(0)
        let basis = try seal.basis(active)
        let stored = try seal.wrappedRootKey()
        try await nodes.fail(over: 1)
        try await nodes.fail(over: 0)
        #expect(throws: VaultError.standby) {
            try seal.commit(basis.config, stored, nil, alongside: [:], on: basis, active)
        }
        // In the right term, but made from what is no longer stored.
        let other = SealConfig(holders: basis.config.holders)
        let next = SealController.Basis(config: other, duty: try active.onDuty())
        #expect {
            try seal.commit(basis.config, stored, nil, alongside: [:], on: next, active)
        } throws: { error in (error as? VaultError)?.status == 503 }
    }

    @Test func whatWasLeftIsStoredWithTheConfiguration() throws {
        var config = SealConfig(holders: KeyHolders(shares: 3, threshold: 2, pgpFingerprints: []))
        config.left = [SealConfig.SealName(name: "a", type: "fake")]
        #expect(try SealConfig(record: config.record).left == config.left)
        let damaged = String(decoding: config.record, as: UTF8.self).replacing(#""name":"a","#, with: "")
        #expect(throws: VaultError.corrupted(place: "core/seal-config")) {
            try SealConfig(record: Array(damaged.utf8))
        }
    }

    // MARK: What standbys know

    @Test func standbysAskTheirOwnSeals() async throws {
        let kms = (0..<3).map { _ in FakeKMS() }
        let nodes = try await SealedNodes { AutoUnsealTests.set([("k", kms[$0])]) }
        defer { nodes.stop() }
        kms[1].fail(Self.away)
        for node in 0..<3 { nodes.seal(node).lookAgain() }
        try await nodes.wait("the standby notices") { !nodes.seal(1).seals.health[0].isHealthy }
        let status = try await nodes.servers[1].call(.read, "sys/seal-backend-status", token: "")
        #expect(status["healthy"]?.bool == false)
        #expect(status["backends"]?.elements.first?["reason"]?.string?.contains("the KMS is away") == true)
        for node in [0, 2] { #expect(nodes.seal(node).seals.health[0].isHealthy) }
        kms[1].fail(nil)
        nodes.seal(1).lookAgain()
        try await nodes.wait("the standby is well again") { nodes.seal(1).seals.health[0].isHealthy }
        #expect(nodes.cluster.leader == 0)
    }

    @Test func theNextActiveNodeWrapsAnewAtOnce() async throws {
        let kms = (0..<2).map { _ in FakeKMS() }
        let nodes = try await SealedNodes(count: 2) { AutoUnsealTests.set([("k", kms[$0])]) }
        defer { nodes.stop() }
        // The active node's way to the KMS is cut; it is rotated meanwhile. No clock is moved.
        kms[0].fail(Self.away)
        for kms in kms { kms.rotate() }
        nodes.seal(0).lookAgain()
        try await nodes.wait("the active node notices") { !nodes.seal(0).seals.health[0].isHealthy }
        try await nodes.fail(over: 1)
        try await nodes.wait("wrapping anew") {
            nodes.seal(1).config?.automatic?.copies.map(\.wrapped.keyID) == ["v2"]
        }
        try await nodes.wait("the other one follows") {
            nodes.seal(0).config?.automatic?.copies.map(\.wrapped.keyID) == ["v2"]
        }
    }

    @Test func theNextActiveNodeAddsAndDropsSealsAtOnce() async throws {
        let (a, b) = (FakeKMS(), FakeKMS())
        let nodes = try await SealedNodes(count: 2) { _ in AutoUnsealTests.set([("a", a)]) }
        defer { nodes.stop() }
        for (stanzas, names) in [([("a", a), ("b", b)], ["a", "b"]), ([("b", b)], ["b"])] {
            try nodes.restart(1, AutoUnsealTests.set(stanzas))
            try await nodes.wait("unsealing") { !nodes.seal(1).status.isSealed }
            try await nodes.fail(over: 1)
            try await nodes.wait("the copies are \(names)") {
                nodes.seal(1).config?.automatic?.copies.map(\.name) == names
            }
            try nodes.restart(0, AutoUnsealTests.set(stanzas))
            try await nodes.wait("unsealing") { !nodes.seal(0).status.isSealed }
            try await nodes.fail(over: 0)
        }
    }
}

/// Whole cores over a cluster in memory, each with seals of its own that a restart may change. The first is
/// active. Their keepers run.
final class SealedNodes {
    let cluster: FakeCluster
    private(set) var servers: [InProcessServer] = []
    private let key: String
    private let rootToken: String

    init(count: Int = 3, _ seals: (Int) -> SealSet) async throws {
        cluster = FakeCluster(nodes: count)
        let first = try Self.server(cluster, 0, shares: 1, seals(0))
        key = first.keys[0]
        rootToken = first.rootToken
        servers.append(first)
        try first.seal.start()
        try await wait("the first node is active") { first.core.isActive }
        for node in 1..<count {
            cluster.nodes[node].catchUp()
            let next = try Self.server(cluster, node, shares: 0, seals(node))
            servers.append(next)
            try next.seal.start()
            if !next.seal.status.isAutomatic { try unseal(node) }
            try await wait("node \(node) is unsealed") { !next.seal.status.isSealed }
        }
    }

    convenience init(_ seals: () -> SealSet) async throws { try await self.init(count: 3) { _ in seals() } }

    private static func server(
        _ cluster: FakeCluster, _ index: Int, shares: Int, _ seals: SealSet
    ) throws -> InProcessServer {
        let node = cluster.nodes[index]
        return try InProcessServer(
            backend: node, shares: shares, threshold: 1, role: node,
            takesPart: ({ node.join() }, { node.leave() }), seals: seals)
    }

    func seal(_ node: Int) -> SealController { servers[node].seal }

    /// Another process over the same storage.
    func restart(_ node: Int, _ seals: SealSet) throws {
        servers[node].seal.stop()
        servers[node].core.seal()
        servers[node] = try Self.server(cluster, node, shares: 0, seals)
        try servers[node].seal.start()
    }

    func unseal(_ node: Int, migrate: Bool = false) throws {
        try seal(node).enter(share: SecretBytes(copying: key.utf8), migrate: migrate)
    }

    func call(_ node: Int, _ operation: PluginKit.Operation, _ path: String, _ body: String = "") async throws
        -> InProcessServer.Answer
    {
        try await fail(over: node)
        return try await servers[node].call(operation, path, body, token: rootToken)
    }

    /// Makes a node the active one.
    func fail(over node: Int) async throws {
        if cluster.leader != node { cluster.elect(node) }
        try await wait("node \(node) is active") { servers[node].core.isActive }
    }

    func wait(_ what: String, _ condition: () throws -> Bool) async throws {
        let came = try await Patience.awaits(condition)
        #expect(came, "never came: \(what)")
    }

    func stop() {
        for server in servers { server.seal.stop() }
    }
}
