package import Base
package import Consensus
internal import PluginKit
internal import Synchronization

/// Copies of the state: taken for backups, and put in place of the one that is there.
extension RaftBackend {
    /// Bytes of records in one entry of a restore.
    private static let chunkBytes = 1 << 20

    /// Copies the state as this node has it now into a file, on a thread of its own.
    /// - Parameter done: the file, which goes with its last reference. `.unavailable` when the disk is full.
    package func makeSnapshot(_ done: @escaping @Sendable (Result<SnapshotFile, VaultError>) -> Void) {
        store.makeSnapshot { done($0.map { $0.0 }) }
    }

    /// Looks through a copy without changing anything.
    /// - Returns: the entry and term that it was made at, and the members of that time.
    /// - Throws: `.corrupted` when it is not whole, `.badRequest` when it is no copy of a state.
    package func check(snapshot path: String) throws(VaultError) -> RaftProgress {
        try store.checkSnapshot(path: path)
    }

    /// Puts the state of a copy in place of the cluster's, on all nodes, through the log: whatever happens,
    /// the cluster has the one state or the other. Only the leader can. The members stay as they are.
    ///
    /// - Parameter done: called on a thread of its own when the new state is in place here.
    package func restore(snapshot path: String, _ done: @escaping @Sendable (VaultError?) -> Void) {
        do throws(VaultError) {
            _ = try Thread(name: "restore") { [self] in
                do throws(VaultError) {
                    try restore(path)
                    done(nil)
                } catch { done(error) }
            }
        } catch { done(error) }
    }

    private func restore(_ path: String) throws(VaultError) {
        // All of it is looked at before the first of it goes anywhere.
        _ = try store.checkSnapshot(path: path)
        guard let node else {
            throw .unavailable("this node takes no part in its cluster now", retryAfterSeconds: 1)
        }
        let restore = decodeNumber(randomBytes(8))
        var chunks: UInt32 = 0
        do throws(VaultError) {
            var source = try SnapshotSource(path)
            var writer = WireWriter(reserving: Self.chunkBytes + 4096)
            while let record = try source.next() {
                guard let table = StorageTable(rawValue: record.table) else { continue }
                var batch = CommitBatch()
                batch.put(table, record.key, record.value)
                for write in batch.writes { writer.put(write) }
                if writer.bytes.count < Self.chunkBytes { continue }
                try propose(.restoreChunk(restore: restore, number: chunks, bytes: writer.bytes), node)
                chunks += 1
                writer = WireWriter(reserving: Self.chunkBytes + 4096)
            }
            if !writer.bytes.isEmpty {
                try propose(.restoreChunk(restore: restore, number: chunks, bytes: writer.bytes), node)
                chunks += 1
            }
            isRestoring.store(true, ordering: .releasing)
            defer { isRestoring.store(false, ordering: .releasing) }
            try propose(.restoreEnd(restore: restore, chunks: chunks), node)
        } catch {
            // What was staged must not stay; when this fails too, the next leader's state keeps it, unused.
            do throws(VaultError) { try propose(.restoreAbort(restore: restore), node) } catch {}
            throw error
        }
    }

    private func propose(_ payload: RaftPayload, _ node: RaftNode) throws(VaultError) {
        _ = try Self.wait { (done) in node.proposePatiently(payload.bytes, done: done) }
    }
}
