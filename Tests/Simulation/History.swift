/// What clients did to one register, and whether there is one order of it that a single copy could have
/// shown. Every written value is written once.
struct History {
    private struct Cluster {
        /// Nil for the value that was there at the start.
        var writeStart: UInt64?
        var firstFinish = UInt64.max
        var lastStart: UInt64 = 0
        var isRead = false
    }
    private var clusters: [UInt64: Cluster] = [0: Cluster(firstFinish: 0)]
    private var wrong: String?

    /// A write that began and may have taken effect from then on.
    mutating func began(_ value: UInt64, at start: UInt64) {
        clusters[value] = Cluster(writeStart: start, lastStart: start)
    }

    /// A write that was acknowledged.
    mutating func wrote(_ value: UInt64, at finish: UInt64) {
        guard var cluster = clusters[value] else { return }
        cluster.firstFinish = min(cluster.firstFinish, finish)
        cluster.isRead = true
        clusters[value] = cluster
    }

    /// A write that has certainly not taken effect.
    mutating func refused(_ value: UInt64) {
        if clusters[value]?.isRead == true { wrong = "\(value) was refused, but read" }
        clusters[value] = nil
    }

    mutating func read(_ value: UInt64, from start: UInt64, to finish: UInt64) {
        guard var cluster = clusters[value] else {
            wrong = "\(value) was read, but never written"
            return
        }
        if let begun = cluster.writeStart, finish < begun { wrong = "\(value) was read before its write" }
        cluster.isRead = true
        cluster.firstFinish = min(cluster.firstFinish, finish)
        cluster.lastStart = max(cluster.lastStart, start)
        clusters[value] = cluster
    }

    /// Why there is no such order; nil when there is one.
    ///
    /// Gibbons and Korach, "Testing Shared Memories" (1997): what belongs to one value takes up a zone
    /// between its first finish and its last start. Two zones that run forward must not overlap, and no
    /// zone that runs backward may lie inside one that runs forward.
    var fault: String? {
        if let wrong { return wrong }
        let zones = clusters.filter(\.value.isRead).map { value, cluster in
            (value: value, from: cluster.firstFinish, to: cluster.lastStart)
        }
        let forward = zones.filter { $0.from < $0.to }.sorted { ($0.from, $0.to) < ($1.from, $1.to) }
        for (one, two) in zip(forward, forward.dropFirst()) where two.from < one.to {
            return "the values \(one.value) and \(two.value) were both the last one, in turns"
        }
        for zone in zones where zone.from >= zone.to {
            if let around = forward.first(where: { $0.from < zone.to && zone.from < $0.to }) {
                return "\(zone.value) was written and read while \(around.value) was the last value"
            }
        }
        return nil
    }
}
