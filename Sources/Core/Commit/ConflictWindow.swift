/// Remembers which keys the latest commits wrote, to tell whether what a transaction read has changed since.
///
/// Bounded: a transaction older than the window counts as changed and is run again. So does one whose key has
/// another's hash, which happens once in 10^14 looks.
struct ConflictWindow {
    private struct Commit {
        let sequence: UInt64
        var keys: [String]
        var hashes: [Int]
    }
    /// Keys remembered at most. One is about 100 bytes.
    private let most: Int

    /// By the hash of a key.
    private var lastWrite: [Int: UInt64] = [:]
    private var commits: [Commit] = []
    /// Of `commits`, how many are forgotten already.
    private var forgotten = 0
    /// Keys in `commits`, each time that it was written.
    private var held = 0
    /// Everything that was committed after this number is in the window.
    private var coveredFrom: UInt64

    init(startingAfter sequence: UInt64, most: Int = 100_000) {
        coveredFrom = sequence
        self.most = most
    }

    mutating func note(_ keys: [String], at sequence: UInt64) {
        let hashes = keys.map(\.hashValue)
        for hash in hashes { lastWrite[hash] = sequence }
        commits.append(Commit(sequence: sequence, keys: keys, hashes: hashes))
        held += keys.count + 1
        // A few at each commit: to forget thousands at once would make all writers wait.
        while held > most, forgotten < commits.count { forgetOne() }
        if forgotten > 1_024, forgotten > commits.count / 2 {
            commits.removeFirst(forgotten)
            forgotten = 0
        }
    }

    private mutating func forgetOne() {
        let sequence = commits[forgotten].sequence
        for hash in commits[forgotten].hashes where lastWrite[hash] == sequence { lastWrite[hash] = nil }
        held -= commits[forgotten].keys.count + 1
        coveredFrom = sequence
        commits[forgotten].keys = []
        commits[forgotten].hashes = []
        forgotten += 1
    }

    /// Whether one of `keys`, or a key below one of `prefixes`, was written after `sequence`.
    func changed(keys: [String], prefixes: [String], since sequence: UInt64) -> Bool {
        if sequence < coveredFrom { return true }
        for key in keys {
            if let written = lastWrite[key.hashValue], written > sequence { return true }
        }
        guard !prefixes.isEmpty, let newest = commits.last, newest.sequence > sequence else { return false }
        let filter = PrefixFilter(prefixes)
        for commit in commits[forgotten...].reversed() {
            if commit.sequence <= sequence { break }
            if commit.keys.contains(where: filter.matches) { return true }
        }
        return false
    }
}
