package import Base
package import Consensus

/// A directory in memory that behaves as a disk does when power goes: what was not synced is lost, kept or
/// torn at the borders of sectors, as its random source says. For one thread.
package final class SimulatedDisk: RaftDisk {
    /// Bytes that are written as a whole or not at all.
    private static let sectorBytes = 512

    private let random: SeededRandom
    private var files: [String: SimulatedFile] = [:]
    /// Names that are not durable yet: made, or removed with what they named.
    private var made: Set<String> = []
    private var removed: [String: SimulatedFile] = [:]
    /// Operations after which the next one fails, as a crash in the middle of the node's work does.
    package var operationsLeft: Int?
    /// The next sync fails.
    package var failsNextSync = false
    /// Bytes of all files at most.
    package var capacity = Int.max

    /// An empty disk; `random` decides what a crash does.
    package init(random: SeededRandom) { self.random = random }

    /// For messages.
    package var place: String { "simulated" }

    /// Power goes: what is not durable is lost or torn.
    package func crash() {
        for name in made.sorted() where random.below(2) == 0 { files[name] = nil }
        for (name, file) in removed.sorted(by: { $0.key < $1.key }) where random.below(2) == 0 {
            files[name] = file
        }
        made = []
        removed = [:]
        for (_, file) in files.sorted(by: { $0.key < $1.key }) { file.tear(random, Self.sectorBytes) }
        operationsLeft = nil
        failsNextSync = false
    }

    /// Bytes of all files together.
    package var usedBytes: Int { files.values.reduce(0) { $0 + $1.bytes.count } }

    /// The process ends and power stays: everything written can be read, and is not durable.
    package func kill() {
        operationsLeft = nil
        failsNextSync = false
    }

    /// Changes one bit that is on the disk; false when there is none.
    package func flipBit(in name: String, at offset: Int) -> Bool {
        guard let file = files[name], offset < file.bytes.count else { return false }
        file.bytes[offset] ^= 1 << UInt8(random.below(8))
        return true
    }

    /// What is in a file now.
    package func contents(of name: String) -> [UInt8]? { files[name]?.bytes }

    /// Names of all files, sorted.
    package func names() throws(VaultError) -> [String] {
        try count()
        return files.keys.sorted()
    }

    /// A file is shared by all that open it.
    package func open(_ name: String, create: Bool) throws(VaultError) -> any RaftFile {
        try count()
        if let file = files[name] { return file }
        guard create else { throw .internal("there is no file \(name)") }
        let file = SimulatedFile(self)
        files[name] = file
        made.insert(name)
        return file
    }

    /// Comes back by a crash until `syncNames`.
    package func remove(_ name: String) throws(VaultError) {
        try count()
        guard let file = files.removeValue(forKey: name) else { return }
        if made.remove(name) == nil { removed[name] = file }
    }

    /// Made and removed names stay so.
    package func syncNames() throws(VaultError) {
        try count()
        made = []
        removed = [:]
    }

    fileprivate func count() throws(VaultError) {
        guard let left = operationsLeft else { return }
        guard left > 0 else { throw .internal("the simulated machine has crashed") }
        operationsLeft = left - 1
    }

    fileprivate func checkRoom(_ more: Int) throws(VaultError) {
        guard more > 0, capacity < .max else { return }
        guard usedBytes + more <= capacity else {
            throw .unavailable("the simulated disk is full", retryAfterSeconds: 1)
        }
    }

    fileprivate func takeSyncFailure() -> Bool {
        defer { failsNextSync = false }
        return failsNextSync
    }
}

/// A file that remembers what every write since the last sync replaced.
private final class SimulatedFile: RaftFile {
    private unowned let disk: SimulatedDisk
    var bytes: [UInt8] = []
    private typealias Change = (offset: Int, old: [UInt8], oldCount: Int)
    private var undo: [Change] = []
    private var lost: [Change] = []

    init(_ disk: SimulatedDisk) { self.disk = disk }

    func size() throws(VaultError) -> Int {
        try disk.count()
        return bytes.count
    }

    func read(at offset: Int, count: Int) throws(VaultError) -> [UInt8] {
        try disk.count()
        guard offset < bytes.count else { return [] }
        return Array(bytes[offset..<min(bytes.count, offset + count)])
    }

    func write(_ new: [UInt8], at offset: Int) throws(VaultError) {
        try disk.checkRoom(offset + new.count - bytes.count)
        let oldCount = bytes.count
        if offset + new.count > bytes.count {
            bytes.append(contentsOf: repeatElement(0, count: offset + new.count - bytes.count))
        }
        undo.append((offset, Array(bytes[offset..<offset + new.count]), oldCount))
        bytes.replaceSubrange(offset..<offset + new.count, with: new)
        // The crash comes after the write, so that it can be torn.
        try disk.count()
    }

    func preallocate(_ size: Int) throws(VaultError) {
        if size > bytes.count { try write([UInt8](repeating: 0, count: size - bytes.count), at: bytes.count) }
    }

    func sync() throws(VaultError) {
        try disk.count()
        if disk.takeSyncFailure() {
            // What could not be written is readable until power goes, and no later sync writes it.
            lost += undo
            undo = []
            throw .internal("the simulated disk could not sync")
        }
        undo = []
    }

    func tear(_ random: SeededRandom, _ sector: Int) {
        // From the last to the first, so that what is undone shows what was there before.
        for (offset, old, oldCount) in (lost + undo).reversed() {
            let fate = random.below(4)
            if fate == 0 { continue }
            var at = 0
            while at < old.count {
                let size = min(sector - (offset + at) % sector, old.count - at)
                if fate == 1 || random.below(2) == 0 {
                    bytes.replaceSubrange(
                        offset + at..<offset + at + size, with: old[at..<at + size])
                }
                at += size
            }
            if fate == 1, oldCount < bytes.count { bytes.removeSubrange(oldCount...) }
        }
        undo = []
        lost = []
    }
}
