internal import Base
internal import Glibc

/// A tar archive in the making (POSIX ustar): files with their content, owned by nobody in particular.
struct TarArchive {
    private(set) var bytes: [UInt8] = []
    private let time: Timestamp

    /// - Parameter time: what every file says it was last changed at.
    init(time: Timestamp) { self.time = time }

    /// Adds a file. The name is a relative path of at most 100 bytes.
    mutating func add(_ name: String, _ content: [UInt8]) {
        precondition((1...100).contains(name.utf8.count), "a name that no tar header holds")
        var header = [UInt8](repeating: 0, count: 512)
        func put(_ text: String, at place: Int) {
            header.replaceSubrange(place..<place + text.utf8.count, with: text.utf8)
        }
        func octal(_ number: Int, digits: Int) -> String {
            let text = String(number, radix: 8)
            return String(repeating: "0", count: max(0, digits - text.count)) + text
        }
        put(name, at: 0)
        put(octal(0o600, digits: 7), at: 100)
        put(octal(0, digits: 7), at: 108)
        put(octal(0, digits: 7), at: 116)
        put(octal(content.count, digits: 11), at: 124)
        put(octal(Int(max(0, time.seconds)), digits: 11), at: 136)
        put("        0ustar", at: 148)
        header[262] = 0
        put("00", at: 263)
        let sum = header.reduce(0) { $0 + Int($1) }
        put(octal(sum, digits: 6), at: 148)
        header[154] = 0
        bytes += header + content
        bytes += [UInt8](repeating: 0, count: (512 - content.count % 512) % 512)
    }

    /// The archive with its end.
    func finished() -> [UInt8] { bytes + [UInt8](repeating: 0, count: 1024) }
}

/// Compression by the `gzip` program, which every Debian has.
enum Gzip {
    /// Compresses one file into another, which must not exist yet and is its owner's alone.
    static func compress(_ source: String, into target: String) throws(CommandFailure) {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, source, O_RDONLY, 0)
        posix_spawn_file_actions_addopen(
            &actions, STDOUT_FILENO, target, O_WRONLY | O_CREAT | O_EXCL, 0o600)
        var arguments: [UnsafeMutablePointer<CChar>?] = [strdup("gzip"), strdup("-nc"), nil]
        defer { for argument in arguments { free(argument) } }
        var child: pid_t = 0
        let code = posix_spawnp(&child, "gzip", &actions, nil, &arguments, environ)
        guard code == 0 else {
            throw .failed(
                "Error compressing: gzip: \(String(cString: strerror(code)).lowercased()); "
                    + "-compress=false does without"
            )
        }
        var status: Int32 = 0
        while waitpid(child, &status, 0) < 0 && errno == EINTR {}
        if status != 0 { throw .failed("Error compressing into \(target): gzip failed") }
    }
}

/// Blots out what looks like a token, for logs that leave the house.
enum Redaction {
    /// Replaces `hvs.…`, `hvb.…`, `hvr.…`, `s.…`, `b.…` and `r.…` with at least 20 characters behind the
    /// dot by their prefix and `[redacted]`.
    static func tokens(in bytes: [UInt8]) -> [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity(bytes.count)
        var at = 0
        while at < bytes.count {
            if at == 0 || !isWord(bytes[at - 1]), let body = body(of: bytes, at) {
                let end = bytes[body...].firstIndex { !isWord($0) } ?? bytes.count
                if end - body >= 20 {
                    result += bytes[at..<body]
                    result += Array("[redacted]".utf8)
                    at = end
                    continue
                }
            }
            result.append(bytes[at])
            at += 1
        }
        return result
    }

    /// Where the characters behind a token's prefix begin.
    private static func body(of bytes: [UInt8], _ start: Int) -> Int? {
        var at = start
        if bytes[start...].starts(with: "hv".utf8) { at += 2 }
        guard at + 1 < bytes.count, "sbr".utf8.contains(bytes[at]), bytes[at + 1] == UInt8(ascii: ".") else {
            return nil
        }
        return at + 2
    }

    private static func isWord(_ byte: UInt8) -> Bool {
        byte >= 48 && byte <= 57 || byte >= 65 && byte <= 90 || byte >= 97 && byte <= 122 || byte == 95
            || byte == 45
    }
}
