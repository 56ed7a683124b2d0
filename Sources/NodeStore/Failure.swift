import Base
internal import CLMDB
internal import Glibc

/// Turns the return codes of LMDB and of the system into errors.
enum Failure {
    /// What went wrong in LMDB while doing something ("committing") to a file.
    static func lmdb(_ code: Int32, _ doing: StaticString, _ place: String = "") -> VaultError {
        let at = place.isEmpty ? "" : " (\(place))"
        switch code {
        case MDB_MAP_FULL, ENOSPC, EDQUOT, EFBIG:
            return full
        case MDB_CORRUPTED, MDB_PAGE_NOTFOUND, MDB_CURSOR_FULL, MDB_INVALID, MDB_VERSION_MISMATCH:
            return .corrupted(place: "\(doing)\(at): \(text(code))")
        case MDB_READERS_FULL:
            return .internal("\(doing)\(at): more readers than the store has room for")
        case MDB_BAD_TXN:
            return .internal("\(doing)\(at): the view was released; refresh it before reading")
        default:
            return .internal("\(doing)\(at): \(text(code))")
        }
    }

    /// What a system call said, with the file that it was about.
    static func system(_ code: Int32, _ doing: StaticString, _ path: String) -> VaultError {
        switch code {
        case ENOSPC, EDQUOT: .unavailable("storage is full: cannot \(doing)", retryAfterSeconds: 30)
        default: .internal("cannot \(doing) \(path): \(text(code))")
        }
    }

    /// What a failed commit means for those that come after it.
    enum Verdict: Equatable {
        /// The file is as it was for certain: the next commit may be tried.
        case harmless
        /// The same, and the reason is that there is no room.
        case full
        /// The disk failed. What it was to keep of this commit is in doubt.
        case doubtful
        /// LMDB could not write its head page, and gives no view any more.
        case fatal
    }

    /// Judges the code of a failed commit.
    /// - Parameters:
    ///   - isUsable: whether LMDB still begins transactions.
    ///   - hasRoom: whether the disk has room for such a commit. LMDB calls a write that a full disk cut short
    ///     EIO, as it does a write that failed.
    static func judge(_ code: Int32, isUsable: Bool, hasRoom: Bool) -> Verdict {
        if !isUsable { return .fatal }
        switch code {
        case MDB_MAP_FULL, ENOSPC, EDQUOT, EFBIG: return .full
        case MDB_TXN_FULL, MDB_BAD_VALSIZE, ENOMEM: return .harmless
        case EIO: return hasRoom ? .doubtful : .full
        default: return .doubtful
        }
    }

    /// What the client of a commit that found no room gets.
    static let full = VaultError.unavailable("storage is full: nothing was written", retryAfterSeconds: 30)

    static func text(_ code: Int32) -> String { String(cString: mdb_strerror(code)) }
}
