import Base
import TestKit
import Testing

@testable import Consensus

/// What comes from peers and from the disk: whatever the bytes are, they become a value or an error, and a
/// value is written as it was read.
@Suite struct ConsensusFuzzTests {
    private static let peers = (1...3).map { number in
        RaftPeer(
            raftID: UInt64(number), nodeID: "node-\(number)", clusterAddress: "10.0.0.\(number):8201",
            apiAddress: "https://vault\(number):8200", hostName: "h", version: "1.0", isVoter: number != 2)
    }

    @Test func framesBecomeValuesOrNone() {
        let corpus = [
            RaftFrame.message(kind: 3, term: 7, bytes: Array(0..<90)), .readQuestion(.max),
            .readAnswer(1, index: 99),
        ].map(\.bytes)
        for input in Fuzz("frames of peers", corpus: corpus, inputs: 20_000) {
            guard let frame = RaftFrame(input.bytes) else { continue }
            // What stands behind a question is not read.
            #expect(input.bytes.starts(with: frame.bytes), "\(input)")
        }
    }

    @Test func progressBecomesAValueOrAnError() {
        let progress = RaftProgress(
            index: 9, term: 2, configuration: [8, 1, 8, 2], members: Self.peers)
        for input in Fuzz("progress of a state", corpus: [progress.encoded], inputs: 20_000) {
            do throws(VaultError) {
                let read = try RaftProgress(encoded: input.bytes)
                let again = try RaftProgress(encoded: read.encoded)
                #expect(again == read, "\(input)")
            } catch {
                #expect(error.status == 500, "\(input)")
            }
        }
    }

    @Test func logRecordsBecomeValuesOrErrors() {
        var writer = WireWriter()
        LogRecord.base(LogPosition(index: 4, term: 2), dropsEntries: false).write(to: &writer)
        LogRecord.hard(HardState(term: 3, vote: 1, commit: 4)).write(to: &writer)
        LogRecord.entry(LogEntry(index: 5, term: 3, kind: 0, data: Array(0..<40))).write(to: &writer)
        for input in Fuzz("records of the log", corpus: [writer.bytes], inputs: 20_000) {
            var reader = WireReader(input.bytes)
            do throws(VaultError) {
                while reader.count > 0 { _ = try LogRecord(from: &reader) }
            } catch {
                #expect(error.status == 500, "\(input)")
            }
        }
    }

    @Test func proposalsBecomeValuesOrErrors() {
        let corpus = [Proposal(.payload, nonce: 1, number: 2, payload: [1, 2, 3]).bytes]
        for input in Fuzz("proposals", corpus: corpus, inputs: 20_000) {
            do throws(VaultError) {
                let proposal = try Proposal(input.bytes, index: 1)
                #expect(proposal.bytes == input.bytes, "\(input)")
            } catch {
                #expect(error.status == 500, "\(input)")
            }
        }
    }

    /// The core itself, in Go: messages of its own kind with changes in them do not end the process.
    @Test func snapshotMessagesBecomePlacesOrNone() {
        for input in Fuzz(
            "snapshot messages", corpus: [[8, 7, 16, 1, 24, 2, 74, 4, 18, 2, 16, 5]], inputs: 5_000)
        {
            _ = RaftCore.position(ofSnapshot: input.bytes)
        }
    }
}
