import Barrier
import Base
import Core
import PluginKit
import StorageBackends
import Synchronization
import TestKit
import Testing

/// One batch is committed while the next is put together on top of it.
@Suite struct CommitPipelineTests {
    /// Two writers behind one that keeps the commit thread busy: they are one batch, which is under way; a
    /// third that reads what the first writes is run meanwhile. Nobody is answered before the disk has it.
    @Test func theNextBatchGrowsWhileOneIsUnderWay() async throws {
        try await onThread {
            let bench = try Bench()
            try bench.putTwoUnderWay()
            bench.add(3, to: "a")
            #expect(bench.runs.take(most: 1) == ["3 over 1"])
            #expect(bench.answers.poll() == nil)
            bench.backend.gate.open()
            #expect(bench.nextAnswers(2) == ["1 ok", "2 ok"])
            bench.backend.gate.open()
            #expect(bench.nextAnswers(1) == ["3 ok"])
            #expect(try bench.value("a") == 4)
            bench.stop()
        }
    }

    /// What was put together on top of a batch that fails has seen what never was: it is run again.
    @Test func whatSawAFailedBatchIsRunAgain() async throws {
        try await onThread {
            let bench = try Bench()
            try bench.putTwoUnderWay()
            bench.add(3, to: "a")
            #expect(bench.runs.take(most: 1) == ["3 over 1"])
            bench.backend.gate.fail(.internal("a sync failed"))
            #expect(bench.nextAnswers(2) == ["1 500", "2 500"])
            #expect(bench.runs.take(most: 1) == ["3 over 0"])
            bench.backend.gate.open()
            #expect(bench.nextAnswers(1) == ["3 ok"])
            #expect(try bench.value("a") == 3)
            #expect(try bench.value("b") == 0)
            bench.stop()
        }
    }

    /// A disk without room for a batch may have some for one of it.
    @Test func withoutRoomForAllEachIsTriedAlone() async throws {
        try await onThread {
            let bench = try Bench()
            try bench.putTwoUnderWay()
            bench.add(3, to: "a")
            #expect(bench.runs.take(most: 1) == ["3 over 1"])
            let full = VaultError.unavailable("the disk is full", retryAfterSeconds: 1)
            bench.backend.gate.fail(full)
            #expect(bench.runs.take(most: 1) == ["1 over 0"])
            bench.backend.gate.open()
            #expect(bench.runs.take(most: 1) == ["2 over 0"])
            bench.backend.gate.fail(full)
            #expect(bench.nextAnswers(2) == ["1 ok", "2 503"])
            #expect(bench.runs.take(most: 1) == ["3 over 1"])
            bench.backend.gate.open()
            #expect(bench.nextAnswers(1) == ["3 ok"])
            #expect(try bench.value("a") == 4)
            #expect(try bench.value("b") == 0)
            bench.stop()
        }
    }

    /// What must run alone waits for what is under way, and for what is open.
    @Test func whatIsAloneComesBehindAllBeforeIt() async throws {
        try await onThread {
            let bench = try Bench()
            try bench.putTwoUnderWay()
            bench.add(3, to: "a")
            #expect(bench.runs.take(most: 1) == ["3 over 1"])
            bench.commits.submit(bench.aloneJob())
            bench.backend.gate.open()
            #expect(bench.nextAnswers(2) == ["1 ok", "2 ok"])
            #expect(bench.answers.poll() == nil)
            bench.backend.gate.open()
            bench.backend.gate.open()
            #expect(bench.nextAnswers(2) == ["3 ok", "alone after 4"])
            bench.stop()
        }
    }

    /// A job that only read, over what is pending, is answered when that is durable, and then only when this
    /// node is certainly the active one still.
    @Test func whatOnlyReadsWaitsForWhatItSaw() async throws {
        try await onThread {
            let bench = try Bench()
            try bench.putTwoUnderWay()
            bench.look(3, at: "a")
            #expect(bench.runs.take(most: 1) == ["3 over 1"])
            #expect(bench.answers.poll() == nil)
            bench.backend.gate.open()
            #expect(bench.nextAnswers(3) == ["1 ok", "2 ok", "3 ok"])
            #expect(bench.confirmations.load(ordering: .relaxed) == 1)
            bench.stop()
        }
    }

    /// The same when that fails: it is run again, and has not seen it.
    @Test func whatOnlyReadForgetsWhatFailed() async throws {
        try await onThread {
            let bench = try Bench()
            try bench.putTwoUnderWay()
            bench.look(3, at: "a")
            #expect(bench.runs.take(most: 1) == ["3 over 1"])
            bench.backend.gate.fail(.internal("a sync failed"))
            #expect(bench.runs.take(most: 1) == ["3 over 0"])
            #expect(bench.nextAnswers(3) == ["1 500", "2 500", "3 ok"])
            bench.stop()
        }
    }

    /// A job of very many bytes is committed on the other thread, though nothing waits with it: what comes
    /// next is settled meanwhile.
    @Test func aLargeJobLetsTheNextBegin() async throws {
        try await onThread {
            let bench = try Bench()
            bench.commits.submit(
                CommitThread.Job(
                    writeSet: nil,
                    run: { view in
                        var tx = Transaction(view: view)
                        tx.put("large", [UInt8](repeating: 7, count: 100_000))
                        return tx.log.writeSet
                    }, done: { [answers = bench.answers] _ in _ = answers.push("large") }))
            bench.backend.gate.waitForArrival()
            bench.add(1, to: "a")
            #expect(bench.runs.take(most: 1) == ["1 over 0"])
            #expect(bench.answers.poll() == nil)
            bench.backend.gate.open()
            bench.backend.gate.open()
            #expect(bench.nextAnswers(2) == ["1 ok", "large"])
            bench.stop()
        }
    }

    /// Ending in peace commits all that waits.
    @Test func stoppingCommitsWhatWaits() async throws {
        try await onThread {
            let bench = try Bench()
            try bench.putTwoUnderWay()
            bench.add(3, to: "a")
            #expect(bench.runs.take(most: 1) == ["3 over 1"])
            bench.backend.gate.open()
            bench.backend.gate.open()
            bench.commits.stop()
            #expect(bench.nextAnswers(3) == ["1 ok", "2 ok", "3 ok"])
            #expect(try bench.value("a") == 4)
        }
    }

    /// Many threads count up a few numbers, over views of their own or none, while commits fail now and then.
    /// Every order of commits must be one that could have happened one by one: no number is given twice, and
    /// each ends at the count of those that were told so.
    @Test(arguments: 1...6) func countersAddUp(seed: UInt64) async throws {
        try await onThread {
            let bench = try Bench(failing: seed)
            let threads = 6
            let rounds = 120
            let given = Mutex<[String: [Int]]>([:])
            let workers = try (0..<threads).map { worker in
                try Thread(name: "worker") {
                    let random = SeededRandom(seed: seed &* 100 &+ UInt64(worker))
                    for _ in 0..<rounds {
                        let key = ["a", "b", "c"][Int(random.bytes(1)[0]) % 3]
                        guard let value = bench.countUp(key, overOwnView: random.bytes(1)[0] & 1 == 0)
                        else { continue }
                        given.withLock { $0[key, default: []].append(value) }
                    }
                }
            }
            for worker in workers { worker.join() }
            bench.commits.stop()
            for (key, values) in given.withLock({ $0 }) {
                #expect(
                    values.sorted() == Array(1...values.count), "\(key): a number is missing or given twice")
                #expect(try bench.value(key) == values.count)
            }
            #expect(bench.backend.commits > 0)
            #expect(bench.backend.failures > 0)
        }
    }
}

/// Runs what blocks on a thread of its own, so that it holds none of those that run all tests.
private func onThread(_ body: @escaping @Sendable () throws -> Void) async throws {
    let outcome: Result<Void, any Error> = await withCheckedContinuation { continuation in
        do throws(VaultError) {
            _ = try Thread(name: "test") { continuation.resume(returning: Result { try body() }) }
        } catch { continuation.resume(returning: .failure(error)) }
    }
    try outcome.get()
}

/// A commit thread over a store whose commits wait to be let through.
private final class Bench: Sendable {
    let backend: GatedBackend
    let barrier: UnsealedBarrier
    let commits = CommitThread()
    /// `N over V`: job N was run and found the value V.
    let runs = BlockingQueue<String>(limit: 1_000)
    let answers = BlockingQueue<String>(limit: 1_000)
    /// How often it was asked whether this node is still the active one.
    let confirmations = Atomic<Int>(0)

    init(failing seed: UInt64? = nil) throws(VaultError) {
        backend = GatedBackend()
        let random = SeededRandom(seed: 1)
        let rootKey = SecretBytes.random(32, from: random)
        let clock = ManualClock()
        try BarrierBootstrap.initialize(
            backend.inner, sealConfig: Array("{}".utf8), wrappedRootKey: [1], rootKey: rootKey, clock: clock,
            random: random)
        barrier = try BarrierBootstrap.unseal(backend.inner, rootKey: rootKey, clock: clock, random: random)
        backend.begin(failing: seed)
        try commits.start(
            backend: backend, barrier: barrier, log: Log(level: .error, descriptor: -1),
            confirm: { [weak self] in
                self?.confirmations.add(1, ordering: .relaxed)
                return nil
            }, invalidate: { _, _ in })
    }

    /// Leaves the batch of jobs 1 (adds 1 to `a`) and 2 (adds 2 to `b`) at the gate.
    func putTwoUnderWay() throws(VaultError) {
        add(0, to: "z")
        #expect(runs.take(most: 1) == ["0 over 0"])
        backend.gate.waitForArrival()
        add(1, to: "a")
        add(2, to: "b")
        backend.gate.open()
        #expect(nextAnswers(1) == ["0 ok"])
        #expect(runs.take(most: 1) + runs.take(most: 1) == ["1 over 0", "2 over 0"])
        backend.gate.waitForArrival()
    }

    /// Submits a job that adds its number to a value.
    func add(_ number: Int, to key: String) {
        commits.submit(
            CommitThread.Job(
                writeSet: nil,
                run: { [runs] view in
                    var tx = Transaction(view: view)
                    let old = (try? Self.number(tx.get(key))) ?? -1
                    tx.put(key, Self.bytes(old + number))
                    _ = runs.push("\(number) over \(old)")
                    return tx.log.writeSet
                },
                done: { [answers] failure in
                    _ = answers.push("\(number) \(failure.map { String($0.status) } ?? "ok")")
                }))
    }

    /// Submits a job that writes nothing, and must be certain of what it finds.
    func look(_ number: Int, at key: String) {
        commits.submit(
            CommitThread.Job(
                writeSet: nil, isConfirmed: true,
                run: { [runs] view in
                    _ = runs.push("\(number) over \(Self.number(try? view.get(key)))")
                    return nil
                },
                done: { [answers] failure in
                    _ = answers.push("\(number) \(failure.map { String($0.status) } ?? "ok")")
                }))
    }

    /// A job that is committed alone, and says what stands in `a` then.
    func aloneJob() -> CommitThread.Job {
        let seen = Mutex(0)
        return CommitThread.Job(
            sealedBatch: { [self] () throws(VaultError) in
                let value = try value("a")
                seen.withLock { $0 = value }
                return CommitBatch()
            }, done: { [answers] _ in _ = answers.push("alone after \(seen.withLock { $0 })") })
    }

    /// Adds one to a value. Gives the new value; nil when that failed.
    func countUp(_ key: String, overOwnView: Bool) -> Int? {
        @Sendable func body(_ tx: inout Transaction) throws(VaultError) -> Int {
            let next = Self.number(try tx.get(key)) + 1
            tx.put(key, Self.bytes(next))
            return next
        }
        do throws(VaultError) {
            let transactions = CommitTransactions(commits)
            guard overOwnView else { return try transactions.runBlocking(body) }
            let view = try barrier.makeView(reader: backend.inner.makeReader())
            try view.refresh()
            var tx = Transaction(view: view)
            let first = try body(&tx)
            view.release()
            return try transactions.begin(first, tx.log.writeSet, again: body).finish()
        } catch { return nil }
    }

    func nextAnswers(_ count: Int) -> [String] { (0..<count).flatMap { _ in answers.take(most: 1) }.sorted() }

    /// What is stored.
    func value(_ key: String) throws(VaultError) -> Int {
        let view = try barrier.makeView(reader: backend.inner.makeReader())
        try view.refresh()
        defer { view.release() }
        return Self.number(try view.get(key))
    }

    func stop() { commits.stop() }

    private static func bytes(_ number: Int) -> [UInt8] { Array(String(number).utf8) }
    private static func number(_ bytes: [UInt8]?) -> Int {
        bytes.flatMap { Int(String(decoding: $0, as: UTF8.self)) } ?? 0
    }
}

/// A store in memory whose commits wait at a gate, or fail at random.
private final class GatedBackend: StorageBackend {
    static let type = "gated"
    let inner = MemoryBackend()
    let gate = Gate()
    private let random = Mutex<SeededRandom?>(nil)
    private let counts = Mutex((commits: 0, failures: 0))
    private let isGated = Atomic<Bool>(true)

    var commits: Int { counts.withLock { $0.commits } }
    var failures: Int { counts.withLock { $0.failures } }

    /// With a seed, commits fail at random instead of waiting.
    func begin(failing seed: UInt64?) {
        guard let seed else { return }
        random.withLock { $0 = SeededRandom(seed: seed) }
        isGated.store(false, ordering: .relaxed)
    }

    func makeReader() throws(VaultError) -> any StorageReader { try inner.makeReader() }

    func commit(_ batch: CommitBatch) throws(VaultError) -> UInt64 {
        let failure = isGated.load(ordering: .relaxed) ? gate.pass() : chance()
        counts.withLock { counts in
            counts.commits += 1
            if failure != nil { counts.failures += 1 }
        }
        if let failure { throw failure }
        return try inner.commit(batch)
    }

    private func chance() -> VaultError? {
        let dice = random.withLock { $0?.bytes(1)[0] } ?? 255
        if dice < 20 { return .internal("bad luck") }
        return dice < 50 ? .unavailable("no room", retryAfterSeconds: 1) : nil
    }

    func close() {}
}

private final class Gate: Sendable {
    private let arrivals = BlockingQueue<Bool>(limit: 1_000)
    private let decisions = BlockingQueue<VaultError?>(limit: 1_000)

    /// Lets one commit through.
    func open() { _ = decisions.push(nil) }
    /// Lets one commit fail.
    func fail(_ error: VaultError) { _ = decisions.push(error) }
    /// Returns when one more commit has come to the gate.
    func waitForArrival() { _ = arrivals.take(most: 1) }

    fileprivate func pass() -> VaultError? {
        _ = arrivals.push(true)
        return decisions.take(most: 1).first ?? nil
    }
}
