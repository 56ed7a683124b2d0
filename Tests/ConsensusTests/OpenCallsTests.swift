import Base
import Synchronization
import Testing

@testable import Consensus

/// Calls while the node's own thread may be waiting for its disk.
@Suite struct OpenCallsTests {
    private final class Answers: Sendable {
        let all = Mutex<[RaftError?]>([])
        func read(since: UInt64) -> OpenCall<RaftError?> {
            OpenCall({ [self] answer in all.withLock { $0.append(answer) } }, since: since)
        }
    }

    @Test func whatIsLateIsGivenUpOnce() {
        let answers = Answers()
        var reads = OpenCalls<RaftError?>()
        let (old, fresh) = (answers.read(since: 10), answers.read(since: 20))
        reads.add(old)
        reads.add(fresh)
        #expect(reads.late(10, at: 20).isEmpty)
        for read in reads.late(10, at: 30) { read.finish(.timedOut) }
        #expect(reads.late(10, at: 30).isEmpty)
        // The thread goes on, and answers what nobody waits for any more.
        old.finish(nil)
        fresh.finish(nil)
        #expect(answers.all.withLock { $0 } == [.timedOut, nil])
    }

    @Test func whatIsAnsweredIsNotLate() {
        let answers = Answers()
        var reads = OpenCalls<RaftError?>()
        let read = answers.read(since: 10)
        reads.add(read)
        read.finish(nil)
        #expect(reads.late(0, at: .max).isEmpty)
    }

    @Test func answeredCallsDoNotGather() {
        let answers = Answers()
        var reads = OpenCalls<RaftError?>()
        let first = answers.read(since: 1)
        reads.add(first)
        for since in UInt64(2)...100_000 {
            let read = answers.read(since: since)
            reads.add(read)
            read.finish(nil)
        }
        #expect(reads.count <= 2_048)
        #expect(reads.late(0, at: .max).count == 1)
    }
}
