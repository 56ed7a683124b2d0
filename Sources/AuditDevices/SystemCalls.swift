import Base
import Glibc

/// Writes as much as the system takes.
/// - Returns: the number of bytes; when it is less than all, `errno` says why.
func writeAll(_ descriptor: Int32, _ bytes: [UInt8]) -> Int {
    bytes.withUnsafeBytes { bytes in
        var done = 0
        while done < bytes.count {
            let count = write(descriptor, bytes.baseAddress.map { $0 + done }, bytes.count - done)
            if count < 0 && errno == EINTR { continue }
            if count <= 0 { return done }
            done += count
        }
        return done
    }
}

/// The last failure of the system as an error, without the path: its text reaches clients.
func systemError(_ what: String) -> VaultError {
    .unavailable("\(what): \(String(cString: strerror(errno)))", retryAfterSeconds: 1)
}

extension [UInt8] {
    /// What stands between line feeds.
    var lines: [ArraySlice<UInt8>] { split(separator: 10) }
}
