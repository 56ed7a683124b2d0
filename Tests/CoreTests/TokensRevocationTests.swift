import Base
import PluginKit
import TestKit
import Testing

@testable import Core

@Suite struct TokensRevocationTests {
    private func child(_ f: TokenFixture, of parent: TokenEntry?, ttl: Int = 3600) throws(VaultError)
        -> TokenEntry
    {
        try f.commit { tx throws(VaultError) in
            var entry = TokenEntry(hash: "", created: f.now)
            entry.parent = parent?.hash ?? ""
            entry.policies = ["default"]
            entry.path = "auth/token/create"
            if ttl > 0 {
                entry.lifetime.ttl = .seconds(ttl)
                entry.lifetime.expires = f.now + .seconds(ttl)
                entry.lifetime.isRenewable = true
            }
            return try f.store.issue(&tx, entry).entry
        }
    }

    private func revoke(_ f: TokenFixture, _ entry: TokenEntry) throws(VaultError) -> Bool {
        try f.commit { tx throws(VaultError) in try f.store.revoke(&tx, hash: entry.hash, now: f.now) }
    }

    @Test func revocationTakesEverythingOfTheToken() throws {
        let f = TokenFixture()
        let root = try f.root()
        let token = try child(f, of: root)
        let below = try child(f, of: token)
        try f.commit { tx in tx.put("cubby/\(token.hash)/a/b", [1]) }
        try f.commit { tx in tx.put("cubby/\(below.hash)/c", [1]) }
        try f.commit { tx in tx.put("cubby/\(root.hash)/keep", [1]) }
        #expect(try revoke(f, token))
        let left = f.storage.entries.keys.sorted()
        #expect(
            left == [
                "cubby/\(root.hash)/keep", "sys/token/accessor/\(root.accessor)", "sys/token/id/\(root.hash)",
            ])
    }

    @Test func aTombstoneActsAtOnceOnAllDescendants() throws {
        let f = TokenFixture(entriesAtOnce: 4)
        let root = try f.root()
        let top = try child(f, of: root)
        let sibling = try child(f, of: root)
        var all = [top]
        for _ in 0..<3 { all.append(try child(f, of: top)) }
        for parent in all[1...] { all.append(try child(f, of: parent)) }
        let before = f.storage.entries.count
        #expect(try !revoke(f, top))
        #expect(f.storage.entries.count == before + 1)
        for entry in all { #expect(try !f.isAlive(hash: entry.hash)) }
        #expect(try f.isAlive(hash: sibling.hash) && f.isAlive(hash: root.hash))
        var tx = Transaction(view: f.storage)
        #expect(try f.store.live(accessor: all[4].accessor, now: f.now, &tx) == nil)
        while try f.commit({ tx throws(VaultError) in try f.store.cleanUp(&tx, now: f.now, limit: 8) }) {
            for entry in all { #expect(try !f.isAlive(hash: entry.hash)) }
        }
        #expect(f.keys("sys/token/id/").count == 2 && f.keys("sys/token/revoking/").isEmpty)
        #expect(f.keys("sys/token/parent/").count == 1 && f.keys("sys/expire/time/").count == 1)
        #expect(!f.store.pending.mayAffect(sequence: f.storage.sequence))
    }

    @Test func tombstonesSurviveARestart() throws {
        let f = TokenFixture(entriesAtOnce: 1)
        let top = try child(f, of: try f.root())
        let below = try child(f, of: top)
        #expect(try !revoke(f, top))
        let again = PendingRevocations()
        #expect(!again.mayAffect(sequence: f.storage.sequence))
        try again.load(f.storage)
        #expect(again.mayAffect(sequence: f.storage.sequence))
        #expect(try !f.isAlive(hash: below.hash))
    }

    @Test func anOldViewStillLooksForTombstones() throws {
        let f = TokenFixture(entriesAtOnce: 1)
        let top = try child(f, of: try f.root())
        _ = try child(f, of: top)
        #expect(try !revoke(f, top))
        let during = f.storage.sequence
        _ = try f.cleanUpAll()
        #expect(f.store.pending.mayAffect(sequence: during))
        #expect(!f.store.pending.mayAffect(sequence: f.storage.sequence))
    }

    @Test func longChainsAndWideTreesEndInBoundedBatches() throws {
        let f = TokenFixture()
        let root = try f.root()
        let top = try child(f, of: root)
        var last = top
        for _ in 0..<150 { last = try child(f, of: last) }
        for _ in 0..<150 { _ = try child(f, of: top) }
        #expect(try !revoke(f, top))
        var most = 0
        var more = true
        while more {
            more = try f.commit { tx throws(VaultError) in
                let more = try f.store.cleanUp(&tx, now: f.now, limit: 20)
                most = max(most, tx.log.writes.count)
                return more
            }
        }
        #expect(most <= 20 * 8)
        #expect(f.storage.entries.count == 2)
    }

    @Test func largeCubbyholesGoInBatches() throws {
        let f = TokenFixture(entriesAtOnce: 10)
        let token = try child(f, of: try f.root())
        try f.commit { tx in for index in 0..<95 { tx.put("cubby/\(token.hash)/\(index)", [0]) } }
        #expect(try !revoke(f, token))
        #expect(try f.cleanUpAll(limit: 10) > 5)
        #expect(f.storage.entries.count == 2)
    }

    @Test func revokingAloneFreesTheChildren() throws {
        for threshold in [256, 2] {
            let f = TokenFixture(entriesAtOnce: threshold)
            let root = try f.root()
            let top = try child(f, of: root)
            let below = try (0..<20).map { _ in try child(f, of: top) }
            let grandchild = try child(f, of: below[0])
            let done = try f.commit { tx throws(VaultError) in
                try f.store.revokeAlone(&tx, hash: top.hash, now: f.now)
            }
            #expect(done == (threshold == 256))
            #expect(try !f.isAlive(hash: top.hash))
            for entry in below + [grandchild] { #expect(try f.isAlive(hash: entry.hash)) }
            // Nor does the end of their former ancestor touch them.
            _ = try revoke(f, root)
            for entry in below + [grandchild] { #expect(try f.isAlive(hash: entry.hash)) }
            _ = try f.cleanUpAll()
            #expect(f.keys("sys/token/id/").count == 21 && f.keys("sys/token/parent/").count == 1)
            for entry in below + [grandchild] { #expect(try f.isAlive(hash: entry.hash)) }
            var tx = Transaction(view: f.storage)
            #expect(try f.store.live(hash: below[3].hash, now: f.now, &tx)?.isOrphan == true)
        }
    }

    @Test func damagedEntriesAreErrorsToUseAndNoHindranceToRevoke() throws {
        let f = TokenFixture()
        let top = try child(f, of: try f.root())
        let below = try child(f, of: top)
        try f.commit { tx in tx.put("sys/token/id/\(below.hash)", [1, 2, 3]) }
        #expect(throws: VaultError.corrupted(place: "sys/token/id/\(below.hash)")) {
            try f.isAlive(hash: below.hash)
        }
        #expect(try revoke(f, top))
        #expect(f.keys("sys/token/id/").count == 1)
    }

    @Test func expiryTakesTheTreeAndSparesTheRenewed() throws {
        let f = TokenFixture()
        let root = try f.root()
        let short = try child(f, of: root, ttl: 10)
        let below = try child(f, of: short, ttl: 1000)
        let renewed = try child(f, of: root, ttl: 10)
        f.clock.advance(.seconds(10))
        #expect(try !f.isAlive(hash: short.hash))
        var tx = Transaction(view: f.storage)
        let due = try f.store.leases.due(&tx, now: f.now, limit: 10)
        #expect(due.count == 2)
        f.clock.advance(.seconds(-1))
        let caps = TTLCaps(defaultTTL: .seconds(100), maxTTL: .seconds(100))
        _ = try f.commit { tx throws(VaultError) in
            try f.store.renew(
                &tx, renewed, increment: .seconds(50), terms: RenewalTerms(renewed), caps: caps, now: f.now)
        }
        f.clock.advance(.seconds(1))
        let done = try f.commit { tx throws(VaultError) in
            try f.store.expire(&tx, due: due, now: f.now, limit: 10)
        }
        #expect(done.tokens == 1)
        #expect(try !f.isAlive(hash: below.hash) && f.isAlive(hash: renewed.hash))
        #expect(f.keys("sys/token/id/").count == 2 && f.keys("sys/expire/time/").count == 1)
    }

    @Test func secretsOfARevokedTokenBecomeDueAtOnce() throws {
        let f = TokenFixture()
        let token = try child(f, of: try f.root())
        for index in 0..<3 {
            try f.commit { tx in
                f.store.leases.add(
                    &tx,
                    LeaseRecord(
                        id: "db/creds/r/\(index)", owner: token.hash,
                        subject: .secret(mount: "db", internalData: RawJSON(trusted: Array("{}".utf8))),
                        issued: f.now, expires: f.now + .seconds(500), ttl: .seconds(500), isRenewable: true))
            }
        }
        #expect(try revoke(f, token))
        let done = try f.expire()
        #expect(done.secrets.map(\.id).sorted() == ["db/creds/r/0", "db/creds/r/1", "db/creds/r/2"])
        try f.commit { tx in for record in done.secrets { f.store.leases.remove(&tx, record) } }
        #expect(f.keys("sys/expire/").isEmpty)
    }

    /// Random trees against a model: after every step each token is as alive as the model says, and when
    /// all is cleaned up nothing is left of the dead.
    @Test(arguments: 1...12)
    func randomTreesAgreeWithTheModel(seed: Int) throws {
        let f = TokenFixture(seed: UInt64(seed), entriesAtOnce: 1 + seed % 5)
        let random = SeededRandom(seed: UInt64(seed) &* 977)
        var entries: [TokenEntry] = [try f.root()]
        var parents: [Int?] = [nil]
        var alive: [Bool] = [true]
        func isBelow(_ index: Int, _ top: Int) -> Bool {
            var at: Int? = index
            while let here = at {
                if here == top { return true }
                at = parents[here]
            }
            return false
        }
        for _ in 0..<120 {
            let living = alive.indices.filter { alive[$0] }
            let pick = living.isEmpty ? nil : living[random.below(living.count)]
            switch random.below(10) {
            case 0..<6:
                let parent = random.below(8) == 0 ? nil : pick
                entries.append(try child(f, of: parent.map { entries[$0] }))
                parents.append(parent)
                alive.append(true)
            case 6:
                guard let pick else { continue }
                _ = try revoke(f, entries[pick])
                for index in alive.indices where isBelow(index, pick) { alive[index] = false }
            case 7:
                guard let pick else { continue }
                _ = try f.commit { tx throws(VaultError) in
                    try f.store.revokeAlone(&tx, hash: entries[pick].hash, now: f.now)
                }
                alive[pick] = false
                for index in parents.indices where parents[index] == pick { parents[index] = nil }
            default:
                _ = try f.commit { tx throws(VaultError) in
                    try f.store.cleanUp(&tx, now: f.now, limit: 1 + random.below(10))
                }
            }
            for index in alive.indices {
                #expect(
                    try f.isAlive(hash: entries[index].hash) == alive[index], "seed \(seed), token \(index)")
            }
        }
        _ = try f.cleanUpAll(limit: 8)
        let living = alive.indices.filter { alive[$0] }
        #expect(Set(f.keys("sys/token/id/")) == Set(living.map { "sys/token/id/\(entries[$0].hash)" }))
        #expect(
            Set(f.keys("sys/token/accessor/"))
                == Set(living.map { "sys/token/accessor/\(entries[$0].accessor)" }))
        #expect(f.keys("sys/token/parent/").count == living.count { parents[$0] != nil })
        #expect(f.keys("sys/expire/time/").count == living.count { $0 != 0 })
        #expect(f.keys("sys/token/revoking/").isEmpty)
    }
}
