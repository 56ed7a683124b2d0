import Base
import PluginKit
import TestKit
import Testing

@testable import Core

@Suite struct LeasesStoreTests {
    private let storage = MemoryStorage()
    private let store = LeaseStore(random: SeededRandom(seed: 3))
    private let start = Timestamp(seconds: 1_700_000_000)
    private let caps = TTLCaps(defaultTTL: .seconds(60), maxTTL: .seconds(1000))

    private func secret(_ id: String, ttl: Int, owner: String = "t") -> LeaseRecord {
        LeaseRecord(
            id: id, owner: owner,
            subject: .secret(mount: "db", internalData: RawJSON(trusted: Array(#"{"user":"u"}"#.utf8))),
            issued: start, expires: start + .seconds(ttl), ttl: .seconds(ttl), isRenewable: true)
    }

    private func due(_ now: Timestamp, limit: Int = 100) throws(VaultError) -> [String] {
        try storage.run { tx throws(VaultError) in try store.due(&tx, now: now, limit: limit) }.map(\.id)
    }

    @Test func recordsComeBackWhole() throws {
        var record = secret("db/creds/r/abc", ttl: 60)
        record.maxTTL = .seconds(120)
        record.renewed = start + .seconds(1)
        record.failures = 2
        record.lastFailure = "no \"route\""
        try storage.run { store.add(&$0, record) }
        let read = try #require(
            try storage.run { tx throws(VaultError) in try store.get(&tx, id: record.id) })
        #expect(read.owner == "t" && read.expires == record.expires && read.maxTTL == .seconds(120))
        #expect(read.failures == 2 && read.lastFailure == "no \"route\"" && read.renewed == record.renewed)
        guard case .secret("db", let data) = read.subject else { return #expect(Bool(false)) }
        #expect(data["user"]?.string == "u")
    }

    @Test func theIndexIsInTheOrderOfTime() throws {
        let random = SeededRandom(seed: 9)
        var ends: [(Int, String)] = []
        for index in 0..<200 {
            let ttl = random.below(100_000)
            ends.append((ttl, "db/creds/r/\(index)"))
            try storage.run { store.add(&$0, secret("db/creds/r/\(index)", ttl: ttl)) }
        }
        let middle = 50_000
        let expected = ends.filter { $0.0 <= middle }.sorted { ($0.0, $0.1) < ($1.0, $1.1) }.map(\.1)
        #expect(try due(start + .seconds(middle), limit: 1000) == expected)
        #expect(try due(start + .seconds(middle), limit: 7) == Array(expected.prefix(7)))
        // Page by page, into the order of names.
        var list = DueList()
        var last: DueLease?
        repeat {
            let page = try storage.run { tx throws(VaultError) in
                try store.due(&tx, now: start + .seconds(middle), after: last, limit: 9)
            }
            for lease in page { list.add(lease) }
            last = page.count < 9 ? nil : page.last
        } while last != nil
        list.sort()
        #expect(list.leases(0..<list.count).map(\.id) == expected.sorted())
        #expect(list.leases(3..<5).map(\.id) == Array(expected.sorted()[3..<5]))
        for lease in list.leases(0..<list.count) {
            let record = try storage.run { tx throws(VaultError) in try store.get(&tx, id: lease.id) }
            #expect(record?.expires == lease.expires)
        }
        let next = try storage.run { tx throws(VaultError) in try store.nextDue(&tx) }
        #expect(next == start + .seconds(ends.map(\.0).min() ?? 0))
    }

    @Test func renewalMovesTheEndWithinItsCaps() throws {
        var record = secret("db/creds/r/a", ttl: 60)
        record.maxTTL = .seconds(120)
        try storage.run { store.add(&$0, record) }
        func renew(_ increment: Int, at offset: Int) throws(VaultError) -> (Int64, Bool) {
            try storage.run { tx throws(VaultError) in
                guard let held = try store.get(&tx, id: record.id) else { throw .notFound }
                let now = start + .seconds(offset)
                let (renewed, warnings) = try store.renew(
                    &tx, held, increment: .seconds(increment), caps: caps, now: now)
                return ((renewed.expires - now).wholeSeconds, warnings.isEmpty)
            }
        }
        #expect(try renew(90, at: 0) == (90, true))
        #expect(try renew(600, at: 10) == (110, false))
        #expect(try renew(0, at: 20) == (60, true))
        #expect(storage.entries.count == 3)
        #expect(try due(start + .seconds(79)).isEmpty)
        #expect(try due(start + .seconds(80)) == [record.id])
        #expect(throws: VaultError.self) { try renew(10, at: 81) }
    }

    @Test func failuresBackOffAndStayVisible() throws {
        var record = secret("db/creds/r/a", ttl: 1)
        try storage.run { store.add(&$0, record) }
        var now = start + .seconds(1)
        for wait in [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600] {
            #expect(try due(now) == [record.id])
            try storage.run { store.postpone(&$0, record, failure: "down", now: now) }
            #expect(try due(now + .seconds(wait - 1)).isEmpty)
            now = now + .seconds(wait)
            record = try #require(
                try storage.run { tx throws(VaultError) in try store.get(&tx, id: record.id) })
        }
        #expect(record.failures == 11 && record.lastFailure == "down" && storage.entries.count == 4)
        let found = try storage.run { tx throws(VaultError) in try store.irrevocable(&tx, limit: 9) }
        #expect(found.ids == [record.id] && found.last == nil)
        try storage.run { store.remove(&$0, record) }
        #expect(storage.entries.isEmpty)
    }

    @Test func damagedRecordsHoldUpNoOther() throws {
        let f = TokenFixture()
        try f.commit { f.store.leases.add(&$0, secret("db/creds/r/a", ttl: 1)) }
        try f.commit { f.store.leases.add(&$0, secret("db/creds/r/b", ttl: 2)) }
        try f.commit { $0.put("sys/expire/id/db/creds/r/a", [1]) }
        f.clock.advance(.seconds(10))
        let done = try f.expire()
        #expect(done.damaged == ["db/creds/r/a"] && done.secrets.map(\.id) == ["db/creds/r/b"])
        #expect(try f.expire().damaged.isEmpty)
        f.clock.advance(.seconds(3700))
        #expect(try f.expire().damaged == ["db/creds/r/a"])
    }

    @Test func leasesAreFoundByPathAndOwner() throws {
        for (id, owner) in [("db/creds/r/1", "t"), ("db/creds/s/2", "t"), ("aws/creds/x/3", "u")] {
            try storage.run { store.add(&$0, secret(id, ttl: 9, owner: owner)) }
        }
        try storage.run { tx throws(VaultError) in
            #expect(try store.list(&tx, "db/creds/") == ["r/", "s/"])
            #expect(try store.ids(&tx, below: "db/", limit: 10) == ["db/creds/r/1", "db/creds/s/2"])
            #expect(try store.ids(&tx, below: "db/", after: "db/creds/r/1", limit: 10) == ["db/creds/s/2"])
            #expect(try store.ids(&tx, ownedBy: "u", limit: 10) == ["aws/creds/x/3"])
            for id in ["db/creds/r/1", "db/creds/s/2", "aws/creds/x/3"] {
                if let record = try store.get(&tx, id: id) { store.remove(&tx, record) }
            }
        }
        #expect(storage.entries.isEmpty)
    }

    @Test func newIdsStandBelowTheirPath() {
        let first = store.newID(path: "db/creds/r", now: Timestamp(nanoseconds: 1_000_000_000))
        let second = store.newID(path: "db/creds/r", now: Timestamp(nanoseconds: 1_001_000_000))
        #expect(first.wholeMatch(of: /db\/creds\/r\/[A-Za-z0-9]{24}/) != nil)
        #expect(first < second)
    }
}
