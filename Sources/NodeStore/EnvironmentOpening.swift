package import Base
internal import Glibc

extension Environment {
    /// What may be chosen when a store is opened.
    package struct Options: Sendable {
        /// Bytes of address space for the data file: its largest size. Less is taken where the system gives
        /// less.
        package var mapBytes = 1 << 40
        /// Views that may exist at once.
        package var maxReaders = 512
        /// A data file of up to this many pages (4 KiB each) is checked whole before it is used.
        package var checkedPages = 8_192

        package init() {}
    }

    /// Opens the durable store in a directory, which is made when it is not there.
    /// - Throws: `.badRequest` when the directory is in use or is not ours, `.corrupted` when what is
    ///   there is damaged or lacks acknowledged commits; both with a sentence for the operator.
    package static func open(
        directory: String, options: Options = Options(), clock: any Clock = SystemClock(), log: Log
    ) throws(VaultError) -> Environment {
        try Directory.make(directory)
        let lock = try DirectoryLock(directory: directory)
        let path = "\(directory)/\(dataName)"
        let anchor = try Anchor(directory: directory)
        let reading = try anchor.read()
        let isNew = !Directory.contains(directory, dataName)
        let rest = try DataFileCheck.run(path, isNew: isNew, anchor: reading, options: options, log: log)
        if isNew { try makeDataFile(in: directory) }
        // Not only when the file is new: whoever made it may have been killed before this.
        try Directory.sync(directory)
        let (handle, mapBytes) = try openLargest(directory, options, isDurable: true)
        var check: BackgroundCheck?
        do throws(VaultError) {
            let tables = try openTables(handle, path: path, mayCreate: false)
            let data = try OpenFile(path, create: false)
            try tolerateFullDisk("The anchor was not written again.", path, log) { () throws(VaultError) in
                try anchor.record(handle.info().lastTransaction)
            }
            if let rest {
                check = try BackgroundCheck(
                    rest, path: path, view: handle.beginRead(), clock: clock, log: log)
            }
            return try Environment(
                handle, tables: tables, files: Files(lock: lock, anchor: anchor, data: data), check: check,
                mapBytes: mapBytes, isDurable: true, clock: clock, log: log)
        } catch {
            check?.cancel()
            handle.close()
            throw error
        }
    }

    /// What a start does only to be safer must not keep a full disk's data from being read.
    static func tolerateFullDisk(
        _ notice: String, _ path: String, _ log: Log, _ body: () throws(VaultError) -> Void
    ) throws(VaultError) {
        do throws(VaultError) { try body() } catch {
            guard case .unavailable = error else { throw error }
            log.warn("The disk is full. \(notice)", ["file": path])
        }
    }

    /// Makes an empty store beside its place, and moves it there when it is whole and durable: a data file is
    /// never one that was cut short while it was made.
    private static func makeDataFile(in directory: String) throws(VaultError) {
        try Directory.syncNames(of: directory)
        let making = "\(directory)/making"
        Directory.remove(making, files: [dataName, lockName])
        try Directory.make(making)
        var options = Options()
        options.mapBytes = 1 << 20
        let (handle, _) = try openLargest(making, options, isDurable: true)
        do throws(VaultError) {
            _ = try openTables(handle, path: "\(making)/\(dataName)", mayCreate: true)
        } catch {
            handle.close()
            throw error
        }
        handle.close()
        let (from, to) = ("\(making)/\(dataName)", "\(directory)/\(dataName)")
        guard rename(from, to) == 0 else { throw Failure.system(errno, "rename", from) }
        Directory.remove(making, files: [])
    }

    /// Opens an empty store in anonymous memory: nothing of it has a name, and it ends with the process.
    package static func anonymous(
        options: Options = Options(), clock: any Clock = SystemClock(), log: Log
    ) throws(VaultError) -> Environment {
        let data = try OpenFile(anonymous: "holdfast-data")
        // LMDB opens by name only; the name points at the open file and is gone once it has.
        let directory = try makeTemporaryDirectory()
        let name = "\(directory)/\(dataName)"
        defer { Directory.remove(directory, files: [dataName]) }
        try link(name, to: data)
        let (handle, mapBytes) = try openLargest(directory, options, isDurable: false)
        do throws(VaultError) {
            let tables = try openTables(handle, path: data.path, mayCreate: true)
            return try Environment(
                handle, tables: tables, files: Files(lock: nil, anchor: nil, data: data), check: nil,
                mapBytes: mapBytes, isDurable: false, clock: clock, log: log)
        } catch {
            handle.close()
            throw error
        }
    }

    /// Gives an open file of this process a name.
    private static func link(_ name: String, to file: borrowing OpenFile) throws(VaultError) {
        guard symlink("/proc/self/fd/\(file.descriptor)", name) == 0 else {
            throw Failure.system(errno, "link", name)
        }
    }

    private static func makeTemporaryDirectory() throws(VaultError) -> String {
        let wanted = getenv("TMPDIR").map { String(cString: $0) }
        for parent in [wanted, "/dev/shm", "/tmp", "/run", "."].compactMap({ $0 }) {
            var template = Array("\(parent)/holdfast-XXXXXX".utf8CString)
            if mkdtemp(&template) != nil {
                return template.withUnsafeBytes { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
            }
        }
        throw .internal("cannot make a temporary directory: set TMPDIR to one that can be written")
    }

    /// Opens with the wanted address space, or with less where the system refuses.
    ///
    /// LMDB's own table of readers lies in memory that has no name. In a file it would mean nothing to anyone
    /// else, and on a full disk touching a new page of it would end the process.
    private static func openLargest(
        _ directory: String, _ options: Options, isDurable: Bool
    ) throws(VaultError) -> (EnvironmentHandle, Int) {
        let readers = try OpenFile(anonymous: "holdfast-readers")
        let name = "\(directory)/\(lockName)"
        unlink(name)
        try link(name, to: readers)
        defer { unlink(name) }
        var bytes = options.mapBytes
        while true {
            do throws(VaultError) {
                let handle = try EnvironmentHandle(
                    directory: directory, mapBytes: bytes, maxReaders: options.maxReaders,
                    isDurable: isDurable)
                return (handle, bytes)
            } catch {
                guard case .internal = error, bytes > 256 << 20 else { throw error }
                bytes >>= 1
            }
        }
    }

    private static func openTables(
        _ handle: EnvironmentHandle, path: String, mayCreate: Bool
    ) throws(VaultError) -> [UInt32] {
        let transaction = try mayCreate ? handle.beginWrite() : handle.beginRead()
        let tables = try inTransaction(transaction, path: path, mayCreate: mayCreate)
        let code = transaction.commit()
        guard code == 0 else { throw Failure.lmdb(code, "making tables", path) }
        return tables
    }

    private static func inTransaction(
        _ transaction: TransactionHandle, path: String, mayCreate: Bool
    ) throws(VaultError) -> [UInt32] {
        do throws(VaultError) {
            var tables: [UInt32] = []
            for name in tableNames + [StoreFacts.name] {
                guard let table = try transaction.table(named: name, create: mayCreate) else {
                    throw .badRequest("\(path) is an LMDB file of something else: it has no table '\(name)'")
                }
                tables.append(table)
            }
            try checkFormat(transaction, tables[StoreFacts.table], path: path, mayCreate: mayCreate)
            return tables
        } catch {
            transaction.abort()
            throw error
        }
    }

    private static func checkFormat(
        _ transaction: TransactionHandle, _ table: UInt32, path: String, mayCreate: Bool
    ) throws(VaultError) {
        if mayCreate {
            let code = StoreFacts.formatKey.withUnsafeBytes { key in
                StoreFacts.format.withUnsafeBytes { transaction.put(table, key, $0) }
            }
            guard code == 0 else { throw Failure.lmdb(code, "making tables", path) }
            return
        }
        var failure: VaultError?
        let found = StoreFacts.formatKey.withUnsafeBytes { key -> [UInt8]? in
            do throws(VaultError) { return try transaction.get(table, key).map { Array($0) } } catch {
                failure = error
                return nil
            }
        }
        if let failure { throw failure }
        guard found == StoreFacts.format || found == StoreFacts.formatWithLog else {
            throw .badRequest("\(path) was written in a format that this version does not know")
        }
    }
}

/// What is looked at before LMDB is let near a data file.
enum DataFileCheck {
    /// Throws when there is damage, or when the anchor knows of commits that are not there.
    /// - Returns: the head page, when there is more to check than may keep a start waiting.
    static func run(
        _ path: String, isNew: Bool, anchor: Anchor.Reading, options: Environment.Options, log: Log
    ) throws(VaultError) -> MetaPage? {
        let (meta, isWhole) = isNew ? (nil, true) : try inspect(path, options, log)
        let found = meta?.transaction ?? 0
        switch anchor {
        case .empty:
            if found > 0 {
                log.warn("The anchor beside the data file was missing; it is made anew.", ["file": path])
            }
        case .damaged:
            guard found > 0 else { throw lost(path, "has no commits, though its anchor was in use") }
            log.warn("The anchor beside the data file was damaged; it is made anew.", ["file": path])
        case .last(let number) where number > found:
            throw lost(
                path, isNew ? "is missing" : "ends at commit \(found), but commit \(number) was acknowledged")
        case .last: break
        }
        return isWhole ? nil : meta
    }

    private static func inspect(
        _ path: String, _ options: Environment.Options, _ log: Log
    ) throws(VaultError) -> (MetaPage?, isWhole: Bool) {
        let file = try OpenFile(path, create: false)
        let size = try file.size()
        let pages = try MetaPages(file)
        let meta = pages.newest
        let needed = (Int(meta.lastPage) + 1) * meta.pageBytes
        guard size >= needed || meta.lastPage <= UInt64(options.checkedPages) else {
            throw MetaPages.damaged(file, "it has \(size) bytes and needs \(needed)")
        }
        var check = StructureCheck(meta, fileBytes: size, pageBudget: options.checkedPages)
        try check.run(file)
        // Pages that were free at once are not written: a file may rightly lack its last ones.
        try file.extend(to: needed)
        try Environment.tolerateFullDisk("The head page was not written again.", path, log) {
            () throws(VaultError) in try pages.settle(file)
        }
        return (meta, check.isWhole)
    }

    private static func lost(_ path: String, _ what: String) -> VaultError {
        .corrupted(
            place:
                "the data file \(path) \(what): acknowledged writes are lost. Restore the storage directory from "
                + "a backup. If this older file is what you want, remove the file '\(Anchor.name)' beside it."
        )
    }
}
