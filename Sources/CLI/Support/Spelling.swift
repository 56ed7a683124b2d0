/// Finds what a user most likely meant.
enum Spelling {
    /// ` Did you mean "status"?`, or nothing when no word is near.
    static func suggestion(_ word: String, _ known: [String]) -> String {
        let ranked = known.map { (word: $0, distance: distance(word, $0)) }
        guard let best = ranked.min(by: { $0.distance < $1.distance }) else { return "" }
        let isNear = best.distance <= max(1, word.count / 3) || best.word.hasPrefix(word) && word.count > 2
        return isNear ? " Did you mean \"\(best.word)\"?" : ""
    }

    /// Letters to insert, delete, replace or swap with a neighbour (optimal string alignment).
    static func distance(_ a: String, _ b: String) -> Int {
        // Nobody misspells a command by more than its length.
        let a = Array(a.utf8.prefix(64))
        let b = Array(b.utf8.prefix(64))
        var beforeLast = [Int](repeating: 0, count: b.count + 1)
        var last = Array(0...b.count)
        for i in 0..<a.count {
            var row = [i + 1]
            for j in 0..<b.count {
                var cost = min(last[j + 1] + 1, row[j] + 1, last[j] + (a[i] == b[j] ? 0 : 1))
                if i > 0, j > 0, a[i] == b[j - 1], a[i - 1] == b[j] {
                    cost = min(cost, beforeLast[j - 1] + 1)
                }
                row.append(cost)
            }
            (beforeLast, last) = (last, row)
        }
        return last[b.count]
    }
}
