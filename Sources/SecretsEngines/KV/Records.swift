import Base

/// The first byte of the record at `s/<path>`.
enum RecordFormat {
    static let plain: UInt8 = 1
    static let versioned: UInt8 = 3
    /// As version 0.1 wrote it at first: older values all have places of their own.
    static let versionedApart: UInt8 = 2

    static func isVersioned(_ bytes: [UInt8]) -> Bool {
        bytes.first == versioned || bytes.first == versionedApart
    }
}

/// A secret of a version 1 mount: when it was written, how long it says to live, and its bytes.
struct PlainRecord {
    static let headerBytes = 17

    let created: Timestamp
    let ttl: Duration?
    let value: RawJSON

    init(created: Timestamp, ttl: Duration?, value: RawJSON) {
        self.created = created
        self.ttl = ttl
        self.value = value
    }

    init(_ bytes: [UInt8], at place: String) throws(VaultError) {
        var reader = FrameReader(bytes, place: place)
        guard try reader.byte() == RecordFormat.plain else { throw .corrupted(place: "kv record \(place)") }
        created = try reader.time()
        let seconds = try reader.int64()
        ttl = seconds > 0 ? .seconds(seconds) : nil
        guard let value = try reader.json(bytes.count - Self.headerBytes) else {
            throw .corrupted(place: "kv record \(place)")
        }
        self.value = value
    }

    func encoded() -> [UInt8] {
        var writer = FrameWriter(reserving: Self.headerBytes + value.bytes.count)
        writer.byte(RecordFormat.plain)
        writer.time(created)
        writer.int64(ttl?.wholeSeconds ?? 0)
        writer.raw(value.bytes)
        return writer.bytes
    }
}

/// One version of a secret.
struct VersionState {
    let number: Int
    let created: Timestamp
    var deletion: Timestamp?
    var isDestroyed = false
    /// The value where it stands in the secret's record; nil when it is stored apart, or destroyed.
    var value: RawJSON?

    /// Whether the value has a place of its own in storage.
    var isStoredApart: Bool { value == nil && !isDestroyed }

    /// Whether readers still get the value at that moment.
    func isReadable(at now: Timestamp) -> Bool { !isDestroyed && !isDeleted(at: now) }

    func isDeleted(at now: Timestamp) -> Bool { deletion.map { $0 <= now } ?? false }

    /// `created_time`, `deletion_time`, `destroyed`, in answers.
    func append(to writer: inout JSONWriter, with custom: RawJSON?, number: Int?) {
        // The names need no escapes.
        writer.beginObject()
        writer.literal("\"created_time\":")
        writer.string(created.rfc3339())
        if number != nil {
            writer.literal(",\"custom_metadata\":")
            if let custom { writer.raw(custom) } else { writer.null() }
        }
        writer.literal(",\"deletion_time\":")
        writer.string(deletion?.rfc3339() ?? "")
        writer.literal(",\"destroyed\":")
        writer.bool(isDestroyed)
        if let number {
            writer.literal(",\"version\":")
            writer.int(number)
        }
        writer.endObject()
    }
}

/// What a version 2 mount knows of one secret.
///
/// The record opens with what a read of the current version needs: its state, its metadata as it will be
/// sent, and its value when that is small. A read looks no further; the rest follows behind.
struct SecretRecord {
    /// Values up to so many bytes stand in the record itself: one storage read instead of two, and listing
    /// or deleting still moves little.
    static let inlineBytes = 8 << 10
    /// Older values stay there, too, while they have no more than so many bytes together: a new version of a
    /// small secret then changes one entry, where moving the old value out and letting the oldest go changes
    /// three, and the chain of keys beside them. A read decrypts them in vain, in about a microsecond.
    static let historyBytes = 4 << 10

    var current = 0
    var oldest = 0
    var created: Timestamp
    var updated: Timestamp
    var maxVersions = 0
    var casRequired = false
    var deleteVersionAfter = Duration.zero
    var customMetadata: RawJSON?
    /// In ascending order.
    var versions: [VersionState] = []

    init(now: Timestamp) {
        created = now
        updated = now
    }

    init(_ bytes: [UInt8], at place: String) throws(VaultError) {
        if bytes.first == RecordFormat.plain {
            let plain = try PlainRecord(bytes, at: place)
            created = plain.created
            updated = plain.created
            current = 1
            versions = [VersionState(number: 1, created: plain.created, value: plain.value)]
            return
        }
        let head = try RecordHead(bytes, at: place)
        var reader = FrameReader(bytes, at: head.end, place: place)
        current = head.current
        oldest = try reader.int()
        created = try reader.time()
        updated = try reader.time()
        maxVersions = try reader.int()
        casRequired = try reader.flag()
        deleteVersionAfter = .nanoseconds(try reader.int64())
        customMetadata = try reader.json(try reader.int())
        let count = try reader.int()
        guard count >= 0, count <= bytes.count else { throw .corrupted(place: "kv record \(place)") }
        versions.reserveCapacity(count)
        for _ in 0..<count {
            let number = try reader.int()
            let created = try reader.time()
            let deletion = try reader.optionalTime()
            let isDestroyed = try reader.flag()
            var version = VersionState(
                number: number, created: created, deletion: deletion, isDestroyed: isDestroyed)
            if number == head.current {
                version.value = head.value
            } else if head.hasHistory {
                version.value = try reader.json(try reader.int())
            }
            versions.append(version)
        }
        try reader.expectEnd()
    }

    /// The place of a version among `versions`; nil when there is none of that number.
    func place(of number: Int) -> Int? {
        // Numbers are consecutive as a rule, so the place can be told from the first.
        guard let first = versions.first?.number else { return nil }
        let guess = number - first
        if versions.indices.contains(guess), versions[guess].number == number { return guess }
        return versions.firstIndex { $0.number == number }
    }

    func state(of number: Int) -> VersionState? { place(of: number).map { versions[$0] } }

    /// A version's metadata as `data/` sends it.
    func metadataJSON(of state: VersionState) -> RawJSON {
        var writer = JSONWriter(reserving: 192 + (customMetadata?.bytes.count ?? 0))
        state.append(to: &writer, with: customMetadata, number: state.number)
        return RawJSON(trusted: writer.bytes)
    }

    /// `rendered` is the current version's metadata, where the caller has it already.
    func encoded(rendered: RawJSON? = nil) -> [UInt8] {
        let state = state(of: current)
        let metadata = (rendered ?? state.map { metadataJSON(of: $0) })?.bytes ?? []
        let value = state?.value?.bytes ?? []
        var writer = FrameWriter(
            reserving: RecordHead.fixedBytes + metadata.count + value.count + 64
                + (customMetadata?.bytes.count ?? 0) + 33 * versions.count + historyCount)
        writer.byte(RecordFormat.versioned)
        writer.flag(state?.isDestroyed ?? false)
        writer.int(current)
        writer.time(state?.deletion)
        writer.int(metadata.count)
        writer.int(value.count)
        writer.raw(metadata)
        writer.raw(value)
        writer.int(oldest)
        writer.time(created)
        writer.time(updated)
        writer.int(maxVersions)
        writer.flag(casRequired)
        writer.int64(deleteVersionAfter.wholeNanoseconds)
        writer.int(customMetadata?.bytes.count ?? 0)
        writer.raw(customMetadata?.bytes ?? [])
        writer.int(versions.count)
        for version in versions {
            writer.int(version.number)
            writer.time(version.created)
            writer.time(version.deletion)
            writer.flag(version.isDestroyed)
            if version.number == current { continue }
            writer.int(version.value?.bytes.count ?? 0)
            writer.raw(version.value?.bytes ?? [])
        }
        return writer.bytes
    }

    /// Bytes of the older values that stand in the record.
    private var historyCount: Int {
        versions.reduce(0) { $0 + ($1.number == current ? 0 : $1.value?.bytes.count ?? 0) }
    }

    /// Takes the oldest values out of the record until the rest may stay.
    /// - Returns: those that must be stored apart now.
    mutating func trimHistory() -> [(version: Int, value: RawJSON)] {
        var count = historyCount
        var moved: [(version: Int, value: RawJSON)] = []
        for place in versions.indices where versions[place].number != current {
            if count <= Self.historyBytes { break }
            guard let value = versions[place].value else { continue }
            moved.append((versions[place].number, value))
            versions[place].value = nil
            count -= value.bytes.count
        }
        return moved
    }
}

/// The front of a version 2 record: all that reading the current version needs.
struct RecordHead {
    static let fixedBytes = 34

    let current: Int
    let deletion: Timestamp?
    let isDestroyed: Bool
    /// Nil when the secret has no version.
    let metadata: RawJSON?
    /// Nil when the value is stored apart, or destroyed.
    let value: RawJSON?
    /// Whether the rest holds older values.
    let hasHistory: Bool
    /// Where the rest of the record begins.
    let end: Int

    init(_ bytes: [UInt8], at place: String) throws(VaultError) {
        var reader = FrameReader(bytes, place: place)
        guard RecordFormat.isVersioned(bytes) else { throw .corrupted(place: "kv record \(place)") }
        hasHistory = try reader.byte() == RecordFormat.versioned
        isDestroyed = try reader.flag()
        current = try reader.int()
        deletion = try reader.optionalTime()
        let metadataBytes = try reader.int()
        let valueBytes = try reader.int()
        metadata = try reader.json(metadataBytes)
        value = try reader.json(valueBytes)
        end = reader.at
    }
}
