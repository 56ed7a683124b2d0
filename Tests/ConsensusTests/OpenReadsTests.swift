import Base
import Synchronization
import Testing

@testable import Consensus

/// Calls for a read index while the node's own thread may be waiting for its disk.
@Suite struct OpenReadsTests {
    private final class Answers: Sendable {
        let all = Mutex<[RaftError?]>([])
        func read(since: UInt64) -> OpenRead {
            OpenRead({ [self] answer in all.withLock { $0.append(answer) } }, since: since)
        }
    }

    @Test func whatIsLateIsGivenUpOnce() {
        let answers = Answers()
        var reads = OpenReads()
        let (old, fresh) = (answers.read(since: 10), answers.read(since: 20))
        reads.add(old)
        reads.add(fresh)
        #expect(reads.late(10).isEmpty)
        for read in reads.late(20) { read.finish(.timedOut) }
        #expect(reads.late(20).isEmpty)
        // The thread goes on, and answers what nobody waits for any more.
        old.finish(nil)
        fresh.finish(nil)
        #expect(answers.all.withLock { $0 } == [.timedOut, nil])
    }

    @Test func whatIsAnsweredIsNotLate() {
        let answers = Answers()
        var reads = OpenReads()
        let read = answers.read(since: 10)
        reads.add(read)
        read.finish(nil)
        #expect(reads.late(.max).isEmpty)
    }

    @Test func answeredCallsDoNotGather() {
        let answers = Answers()
        var reads = OpenReads()
        let first = answers.read(since: 1)
        reads.add(first)
        for since in UInt64(2)...100_000 {
            let read = answers.read(since: since)
            reads.add(read)
            read.finish(nil)
        }
        #expect(reads.count <= 2_048)
        #expect(reads.late(.max).count == 1)
    }
}
