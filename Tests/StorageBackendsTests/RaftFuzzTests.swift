import Base
import Consensus
import PluginKit
import TestKit
import Testing

@testable import StorageBackends

/// What stands in entries of the log.
@Suite struct RaftFuzzTests {
    @Test func payloadsBecomeValuesOrErrors() {
        var batch = CommitBatch()
        batch.put(.entries, Array("logical/1/key".utf8), Array(repeating: 7, count: 50))
        batch.put(.links, Array("key".utf8), [])
        batch.delete(.bootstrap, Array("core/x".utf8))
        batch.over = 12
        let corpus: [RaftPayload] = [
            .batch(batch), .restoreChunk(restore: 4, number: 1, bytes: Array(0..<30)),
            .restoreEnd(restore: 4, chunks: 2), .restoreAbort(restore: 4),
        ]
        for input in Fuzz("payloads of the log", corpus: corpus.map(\.bytes), inputs: 20_000) {
            do throws(VaultError) {
                let payload = try RaftPayload(input.bytes, index: 1)
                let again = try RaftPayload(payload.bytes, index: 1)
                #expect(again.bytes == payload.bytes, "\(input)")
            } catch {
                #expect(error.status == 500, "\(input)")
            }
        }
    }

    @Test func payloadsComeBack() throws {
        var batch = CommitBatch()
        batch.put(.entries, [1], [2])
        batch.delete(.links, [3])
        guard case .batch(let read) = try RaftPayload(RaftPayload.batch(batch).bytes, index: 1) else {
            Issue.record("a batch came back as something else")
            return
        }
        #expect(read.over == nil)
        #expect(read.writes.map(\.key) == [[1], [3]])
        #expect(read.writes.map(\.value) == [[2], nil])
    }
}
