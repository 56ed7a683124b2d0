import Base
internal import CPosix
internal import Consensus
internal import Glibc

/// How a copy of the state looks in a file. Numbers are little-endian, codes are CRC-32C.
///
///     head:   magic u64, bytes u32, code u32, (number u64, progress)
///     block:  bytes u32, code u32, records: table u8, key bytes u16, value bytes u32, key, value
///     end:    0 u32, code u32, (records u64, code of all blocks u32)
enum SnapshotFormat {
    static let magic: UInt64 = 0x3150_414E_5346_4648  // "HFFSNAP1"
    /// Facts of the store that belong to the state.
    static let factsTable: UInt8 = 255
    /// Bytes after which a block is closed. One with a large value is larger.
    static let blockBytes = 256 << 10
    /// Bytes of a block at most.
    static let mostBlockBytes = 64 << 20
}

/// Where copies of the state lie.
enum SnapshotPlace {
    static let prefix = "state-"
    static let incomingPrefix = "incoming-"

    static func name(_ random: any RandomSource) -> String { prefix + random.base62(12) }

    /// Makes the directory, and removes what an earlier run left in it.
    static func prepare(_ path: String) throws(VaultError) {
        guard mkdir(path, 0o700) == 0 || errno == EEXIST, let directory = opendir(path) else {
            throw failure("make directory", path)
        }
        defer { closedir(directory) }
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name.hasPrefix(prefix) || name.hasPrefix(incomingPrefix) { unlink("\(path)/\(name)") }
        }
    }

    @Sendable static func remove(_ path: String) { unlink(path) }

    /// Bytes that are free for this process on the file system of a path; nil when it does not tell.
    static func freeBytes(_ path: String) -> UInt64? {
        var facts = statvfs()
        guard statvfs(path, &facts) == 0 else { return nil }
        return UInt64(facts.f_bavail) * UInt64(facts.f_frsize)
    }

    static func failure(_ doing: String, _ path: String) -> VaultError {
        let code = errno
        if code == ENOSPC || code == EDQUOT {
            return .unavailable("storage is full: cannot \(doing)", retryAfterSeconds: 30)
        }
        return .internal("cannot \(doing) \(path): \(String(cString: strerror(code)))")
    }
}

/// Writes a copy of the state.
struct SnapshotSink: ~Copyable {
    private let descriptor: Int32
    private let path: String
    private var block = WireWriter(reserving: SnapshotFormat.blockBytes + 4096)
    private var records: UInt64 = 0
    private var code: UInt32 = 0
    private var size = 0

    init(_ path: String, progress: RaftProgress, sequence: UInt64) throws(VaultError) {
        self.path = path
        descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw SnapshotPlace.failure("make", path) }
        var head = WireWriter()
        head.put(sequence)
        head.raw(progress.encoded)
        var writer = WireWriter()
        writer.put(SnapshotFormat.magic)
        writer.put(UInt32(head.bytes.count))
        writer.put(CRC32C.of(head.bytes))
        writer.raw(head.bytes)
        try write(writer.bytes)
    }

    deinit { close(descriptor) }

    mutating func put(
        _ table: UInt8, _ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer
    ) throws(VaultError) {
        block.put(table)
        block.put(UInt16(key.count))
        block.put(UInt32(value.count))
        block.raw(key)
        block.raw(value)
        records += 1
        if block.bytes.count >= SnapshotFormat.blockBytes { try closeBlock() }
    }

    /// Ends the file and waits until it is on the disk.
    /// - Returns: its size in bytes.
    mutating func finish() throws(VaultError) -> Int {
        try closeBlock()
        var end = WireWriter()
        end.put(records)
        end.put(code)
        var writer = WireWriter()
        writer.put(UInt32(0))
        writer.put(CRC32C.of(end.bytes))
        writer.raw(end.bytes)
        try write(writer.bytes)
        guard fdatasync(descriptor) == 0 else { throw SnapshotPlace.failure("sync", path) }
        return size
    }

    private mutating func closeBlock() throws(VaultError) {
        guard !block.bytes.isEmpty else { return }
        let own = CRC32C.of(block.bytes)
        code = block.bytes.withUnsafeBytes { CRC32C.of($0, after: code) }
        var head = WireWriter()
        head.put(UInt32(block.bytes.count))
        head.put(own)
        try write(head.bytes)
        try write(block.bytes)
        block = WireWriter(reserving: SnapshotFormat.blockBytes + 4096)
    }

    private mutating func write(_ bytes: [UInt8]) throws(VaultError) {
        var done = 0
        while done < bytes.count {
            let put = bytes.withUnsafeBytes { buffer in
                buffer.baseAddress.map { Glibc.write(descriptor, $0 + done, buffer.count - done) } ?? 0
            }
            if put < 0, errno == EINTR { continue }
            guard put > 0 else { throw SnapshotPlace.failure("write", path) }
            done += put
        }
        size += bytes.count
    }
}

/// Reads a copy of the state, record by record, and finds out whether it is whole. Whatever the file holds,
/// no more than a block is in memory.
struct SnapshotSource: ~Copyable {
    struct Record {
        let table: UInt8
        let key: [UInt8]
        let value: [UInt8]
    }

    private let descriptor: Int32
    private let path: String
    let sizeBytes: Int
    /// The number of the last batch in the state.
    private(set) var sequence: UInt64 = 0
    private(set) var progress = RaftProgress(index: 0, term: 0, configuration: [], members: [])
    private var offset = 0
    private var block = WireReader([])
    private var records: UInt64 = 0
    private var code: UInt32 = 0
    private var isAtEnd = false

    /// - Throws: `.corrupted` when the head is damaged, `.badRequest` when the file is of another kind.
    init(_ path: String) throws(VaultError) {
        let opened = open(path, O_RDONLY | O_CLOEXEC)
        self.path = path
        descriptor = opened
        sizeBytes = opened < 0 ? 0 : Int(max(0, lseek(opened, 0, SEEK_END)))
        guard opened >= 0 else { throw SnapshotPlace.failure("open", path) }
        let start = try read(16)
        var reader = WireReader(start)
        guard try reader.number(UInt64.self) == SnapshotFormat.magic else {
            throw .badRequest("this is not a copy of Holdfast's storage")
        }
        let head = try checked(Int(try reader.number(UInt32.self)), try reader.number())
        var fields = WireReader(head)
        sequence = try fields.number()
        progress = try RaftProgress(encoded: fields.rest())
    }

    deinit { close(descriptor) }

    /// The next record; nil at the end, which is only reached when everything before was whole.
    mutating func next() throws(VaultError) -> Record? {
        while block.count == 0 {
            if isAtEnd { return nil }
            try nextBlock()
        }
        let table = try block.number(UInt8.self)
        let keyBytes = Int(try block.number(UInt16.self))
        let valueBytes = Int(try block.number(UInt32.self))
        records += 1
        return Record(table: table, key: try block.raw(keyBytes), value: try block.raw(valueBytes))
    }

    private mutating func nextBlock() throws(VaultError) {
        var head = WireReader(try read(8))
        let size = Int(try head.number(UInt32.self))
        let own: UInt32 = try head.number()
        if size > 0 {
            let bytes = try checked(size, own)
            code = bytes.withUnsafeBytes { CRC32C.of($0, after: code) }
            block = WireReader(bytes)
            return
        }
        var end = WireReader(try checked(12, own))
        guard try end.number() == records, try end.number() == code, offset == sizeBytes else {
            throw damaged("its end does not fit")
        }
        isAtEnd = true
    }

    private mutating func checked(_ size: Int, _ code: UInt32) throws(VaultError) -> [UInt8] {
        guard size <= SnapshotFormat.mostBlockBytes else { throw damaged("a block is too large") }
        let bytes = try read(size)
        guard CRC32C.of(bytes) == code else { throw damaged("a block has the wrong code") }
        return bytes
    }

    private mutating func read(_ size: Int) throws(VaultError) -> [UInt8] {
        guard size <= sizeBytes - offset else { throw damaged("it ends too early") }
        let bytes = try readBytes(
            descriptor, at: offset, count: size, or: SnapshotPlace.failure("read", path))
        guard bytes.count == size else { throw damaged("it ends too early") }
        offset += size
        return bytes
    }

    private func damaged(_ how: String) -> VaultError {
        .corrupted(place: "the copy of the storage \(path) at byte \(offset): \(how)")
    }
}
