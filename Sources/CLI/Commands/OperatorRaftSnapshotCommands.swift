internal import APIClient
internal import Archives
internal import Base
internal import Glibc

/// `operator raft snapshot save`, `restore` and `inspect`.
enum OperatorRaftSnapshotSaveCommand: CommandDefinition {
    static let name = "operator raft snapshot save"
    static let synopsis = "Saves the state of the cluster into a file"
    static let operands = "SNAPSHOT-FILE"
    static let details = """
        The file holds everything, encrypted as it is stored: to use it, the unseal keys or the seal of the
        time of its making are needed. It is written under another name first, and checked; an older file of
        that name stays if anything goes wrong.

            $ holdfast operator raft snapshot save backup.snap
        """
    static let count: ClosedRange<Int>? = 1...1
    static let shared = SharedFlags.http

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let path = call.arguments[0]
        let fresh = "\(path).tmp.\(getpid())"
        let descriptor = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { throw failure("open \(fresh)") }
        defer {
            close(descriptor)
            unlink(fresh)
        }
        let check: SnapshotFileCheck
        do throws(VaultError) { check = try SnapshotFileCheck() } catch { throw .failed("\(error)") }
        var isWritten = true
        try call.api("Error taking the snapshot") { (client) throws(APIError) in
            try client.stream("sys/storage/raft/snapshot", query: [], for: nil) { bytes in
                isWritten = FileText.write(Array(bytes), to: descriptor)
                return isWritten && check.read(bytes)
            }
        }
        guard isWritten else { throw failure("write \(fresh)") }
        do throws(VaultError) { _ = try check.finish() } catch {
            throw .failed("Error taking the snapshot: \(error.messages.joined(separator: "; "))")
        }
        guard fsync(descriptor) == 0, rename(fresh, path) == 0 else { throw failure("write \(path)") }
        return 0
    }

    private static func failure(_ what: String) -> CommandFailure {
        .failed("Error writing the snapshot: \(what): \(String(cString: strerror(errno)).lowercased())")
    }
}

enum OperatorRaftSnapshotRestoreCommand: CommandDefinition {
    static let name = "operator raft snapshot restore"
    static let synopsis = "Replaces the state of the cluster by that of a file"
    static let operands = "SNAPSHOT-FILE"
    static let details = """
        All that was written after the snapshot is lost. The file is checked before anything is replaced.
        One of another cluster, or from before the root key was replaced, needs -force; then the nodes seal
        themselves and want the unseal keys of that time.
        """
    static let count: ClosedRange<Int>? = 1...1
    static let shared = SharedFlags.http
    static let force = Flag<Bool>(switch: "force", "Take a snapshot of another cluster, or with other keys.")
    static let flags: [any AnyFlag] = [force]

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let path = call.arguments[0]
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw .failed(
                "Error opening the snapshot: open \(path): \(String(cString: strerror(errno)).lowercased())")
        }
        defer { close(descriptor) }
        do throws(VaultError) { _ = try SnapshotFileCheck.meta(of: descriptor) } catch {
            throw .failed("Error in \(path): \(error.messages.joined(separator: "; "))")
        }
        guard lseek(descriptor, 0, SEEK_SET) == 0 else { throw .failed("Error reading \(path)") }
        try send(descriptor, call)
        return 0
    }

    /// Bytes of an archive, or of its pieces, in one request: a server's default takes 32 MiB.
    private static let pieceBytes = 16 << 20

    private static func send(_ descriptor: Int32, _ call: Invocation) throws(CommandFailure) {
        let first = piece(descriptor)
        var next = piece(descriptor)
        let base = "sys/storage/raft/snapshot"
        if next.isEmpty {
            _ = try call.api("Error installing the snapshot") { (client) throws(APIError) in
                try client.call(
                    "POST", base + (call[force] ? "-force" : ""), body: first,
                    contentType: "application/gzip")
            }
            return
        }
        let upload = SystemRandom().base62(24)
        var offset = 0
        var current = first
        while !current.isEmpty {
            _ = try call.api("Error uploading the snapshot") { (client) throws(APIError) in
                try client.call(
                    "POST", "\(base)-upload/\(upload)/\(offset)", body: current,
                    contentType: "application/octet-stream")
            }
            offset += current.count
            current = next
            next = piece(descriptor)
        }
        let body: JSONValue = ["force": .bool(call[force])]
        _ = try call.api("Error installing the snapshot") { (client) throws(APIError) in
            try client.call("POST", "\(base)-upload/\(upload)", body: body.encoded())
        }
    }

    private static func piece(_ descriptor: Int32) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: pieceBytes) { buffer, count in
            while count < pieceBytes {
                let got = read(descriptor, buffer.baseAddress.map { $0 + count }, pieceBytes - count)
                if got < 0, errno == EINTR { continue }
                if got <= 0 { return }
                count += got
            }
        }
    }
}

enum OperatorRaftSnapshotInspectCommand: CommandDefinition {
    static let name = "operator raft snapshot inspect"
    static let synopsis = "Shows what a snapshot's file holds, and whether it is whole"
    static let operands = "SNAPSHOT-FILE"
    static let details = "Reads the file only; no server is asked."
    static let count: ClosedRange<Int>? = 1...1
    static let shared = SharedFlags.format

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let path = call.arguments[0]
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw .failed("open \(path): \(String(cString: strerror(errno)).lowercased())")
        }
        defer { close(descriptor) }
        let meta: SnapshotMeta
        do throws(VaultError) {
            meta = try SnapshotFileCheck.meta(of: descriptor)
        } catch { throw .failed("\(path): \(error.messages.joined(separator: "; "))") }
        let rows: [(title: String, key: String, value: JSONValue)] = [
            ("ID", "id", .string("\(meta.term)-\(meta.index)")), ("Size", "size", .int(meta.sizeBytes)),
            ("Index", "index", .int(Int(clamping: meta.index))),
            ("Term", "term", .int(Int(clamping: meta.term))),
            ("Version", "version", .int(meta.version)),
            ("Created", "created", .string(meta.created.rfc3339())),
            ("Cluster ID", "cluster_id", .string(meta.clusterID)),
            ("Product", "product", .string(meta.product)),
        ]
        if !call.output.isTable { return call.output.data(.object(rows.map { ($0.key, $0.value) })) }
        call.console.out(Table.text([["Key", "Value"]] + rows.map { [$0.title, $0.value.goText] }))
        return 0
    }
}

/// Reads an archive on its way and remembers what was wrong with it.
private final class SnapshotFileCheck {
    private let reader: SnapshotArchiveReader
    private var failure: VaultError?

    init() throws(VaultError) { reader = try SnapshotArchiveReader() }

    /// False when it is no use to go on.
    func read(_ bytes: UnsafeRawBufferPointer) -> Bool {
        do throws(VaultError) { try reader.read(bytes) { (_) throws(VaultError) in } } catch {
            failure = failure ?? error
        }
        return failure == nil
    }

    /// Reads a whole file.
    static func meta(of descriptor: Int32) throws(VaultError) -> SnapshotMeta {
        let check = try SnapshotFileCheck()
        var piece = [UInt8](repeating: 0, count: 256 << 10)
        while true {
            let got = Glibc.read(descriptor, &piece, piece.count)
            if got < 0, errno == EINTR { continue }
            if got <= 0 { break }
            let isGood = piece.withUnsafeBytes { check.read(UnsafeRawBufferPointer(rebasing: $0[..<got])) }
            if !isGood { break }
        }
        return try check.finish()
    }

    func finish() throws(VaultError) -> SnapshotMeta {
        if let failure { throw failure }
        return try reader.finish().meta
    }
}
