/// Remembers which keys the latest commits wrote, to tell whether what a transaction read has changed since.
///
/// Bounded: a transaction older than the window counts as changed and is run again.
struct ConflictWindow {
    /// Keys remembered at most. One is about 100 bytes.
    private let most: Int

    private var lastWrite: [String: UInt64] = [:]
    private var commits: [(sequence: UInt64, keys: [String])] = []
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
        for key in keys { lastWrite[key] = sequence }
        commits.append((sequence, keys))
        held += keys.count + 1
        // A few at each commit: to forget thousands at once would make all writers wait.
        while held > most, forgotten < commits.count { forgetOne() }
        if forgotten > 1_024, forgotten > commits.count / 2 {
            commits.removeFirst(forgotten)
            forgotten = 0
        }
    }

    private mutating func forgetOne() {
        let oldest = commits[forgotten]
        for key in oldest.keys where lastWrite[key] == oldest.sequence { lastWrite[key] = nil }
        held -= oldest.keys.count + 1
        coveredFrom = oldest.sequence
        commits[forgotten].keys = []
        forgotten += 1
    }

    /// Whether one of `keys`, or a key below one of `prefixes`, was written after `sequence`.
    func changed(keys: [String], prefixes: [String], since sequence: UInt64) -> Bool {
        if sequence < coveredFrom { return true }
        for key in keys {
            if let written = lastWrite[key], written > sequence { return true }
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
