import Base
import PluginKit

/// What one batch does to the chain, in one walk along it.
///
/// Changes come in the ascending order of their stored keys, each key once. The walk remembers the last
/// proved step, so that changes of neighbours, the usual case of bulk removals, cost one step each and no
/// search. Every step is verified before anything about it is written; where that fails, nothing is.
struct ChainChanges {
    private let chain: StorageChain
    private let reader: any StorageReader
    /// The proved step that the walk stands in: no key of the store is between the two.
    private var step: (last: StoredPair, next: StoredPair?)?
    /// A key in front of a change whose successor is not known yet.
    private var open: OpenRecord?
    /// What happens to the records, in the order of their keys but for those rewritten in front of a removal.
    private var records: [(key: [UInt8], record: [UInt8]?)] = []

    private enum OpenRecord {
        case kept(StoredPair)
        case new(key: [UInt8], full: [UInt8])
    }

    init(_ chain: StorageChain, _ reader: any StorageReader) {
        self.chain = chain
        self.reader = reader
    }

    /// A key gets a value. `logical` is its full text.
    mutating func put(_ key: [UInt8], _ logical: [UInt8]) throws(VaultError) {
        try key.withRaw { (bytes) throws(VaultError) in
            // An overwrite, the common case, leaves the chain alone and needs no proof: a link that is
            // missing is found by the insertion that follows.
            if try reader.get(.links, bytes) != nil { return }
            let step = try walk(to: bytes)
            if let next = step.next, next.key.isSame(as: bytes) { return }
            try close(open ?? .kept(step.last), next: bytes)
            open = .new(key: key, full: StoredKey.isLong(key) ? logical : [])
        }
    }

    /// A key goes, if it is there.
    mutating func delete(_ key: [UInt8]) throws(VaultError) {
        try key.withRaw { (bytes) throws(VaultError) in
            let step = try walk(to: bytes)
            guard let here = step.next, here.key.isSame(as: bytes) else { return }
            let next = try reader.next(.links)
            try chain.verify(here, next: next?.key)
            records.append((key, nil))
            if open == nil { open = .kept(step.last) }
            self.step = (here, next)
        }
    }

    /// Ends the walk: what it has changed goes into the batch.
    mutating func write(to batch: inout CommitBatch) throws(VaultError) {
        try closeBefore(step?.next)
        for change in records {
            if let record = change.record {
                batch.put(.links, change.key, record)
            } else {
                batch.delete(.links, change.key)
            }
        }
    }

    /// The proved step that a key lies in: behind `last`, and not behind `next`.
    private mutating func walk(
        to key: UnsafeRawBufferPointer
    ) throws(VaultError) -> (last: StoredPair, next: StoredPair?) {
        if let step {
            guard let next = step.next, next.key.precedes(key) else { return step }
            try closeBefore(next)
        }
        guard let last = try reader.last(.links, before: key) else {
            throw .corrupted(place: "links: the first record is missing")
        }
        let next = try reader.next(.links)
        try chain.verify(last, next: next?.key)
        let found = (last: last, next: next)
        step = found
        return found
    }

    private mutating func closeBefore(_ next: StoredPair?) throws(VaultError) {
        guard let open else { return }
        try close(open, next: next?.key)
        self.open = nil
    }

    private mutating func close(
        _ record: OpenRecord, next: UnsafeRawBufferPointer?
    ) throws(VaultError) {
        switch record {
        case .kept(let pair):
            let made = chain.record(pair.key, next: next, full: StorageChain.full(pair))
            records.append((Array(pair.key), made))
        case .new(let key, let full):
            let made = try key.withRaw { (key) throws(VaultError) in
                try full.withRaw { (full) throws(VaultError) in chain.record(key, next: next, full: full) }
            }
            records.append((key, made))
        }
    }
}
