package import Base

/// The parts of a tar archive (POSIX ustar) that are not the files' own bytes.
package enum TarFormat {
    /// Bytes of a block, to which everything is filled up.
    package static let blockBytes = 512
    /// What comes behind the last file.
    package static let end = [UInt8](repeating: 0, count: 2 * blockBytes)

    /// What comes before a file's bytes. The name is a relative path of 1 to 100 bytes.
    package static func head(_ name: String, sizeBytes: Int, time: Timestamp) -> [UInt8] {
        precondition((1...100).contains(name.utf8.count), "a name that no tar header holds")
        var header = [UInt8](repeating: 0, count: blockBytes)
        func put(_ text: String, at place: Int) {
            header.replaceSubrange(place..<place + text.utf8.count, with: text.utf8)
        }
        put(name, at: 0)
        put(octal(0o600, digits: 7), at: 100)
        put(octal(0, digits: 7), at: 108)
        put(octal(0, digits: 7), at: 116)
        put(octal(sizeBytes, digits: 11), at: 124)
        put(octal(Int(max(0, time.seconds)), digits: 11), at: 136)
        put("        0", at: 148)
        put("ustar", at: 257)
        put("00", at: 263)
        put(octal(header.reduce(0) { $0 + Int($1) }, digits: 6), at: 148)
        header[154] = 0
        return header
    }

    /// What comes behind a file's bytes.
    package static func padding(behind sizeBytes: Int) -> [UInt8] {
        [UInt8](repeating: 0, count: (blockBytes - sizeBytes % blockBytes) % blockBytes)
    }

    private static func octal(_ number: Int, digits: Int) -> String {
        let text = String(number, radix: 8)
        return String(repeating: "0", count: max(0, digits - text.count)) + text
    }
}

/// Reads a tar archive piece by piece, in bounded memory.
package struct TarReader: Sendable {
    /// What comes out.
    package enum Event: Sendable {
        /// A file begins.
        case file(name: String, sizeBytes: Int)
        /// More of its bytes.
        case bytes(Range<Int>)
        /// It ends.
        case fileEnd
    }

    private var header: [UInt8] = []
    private var left = 0
    private var padding = 0
    private var isInFile = false
    private var isAtEnd = false

    /// At the beginning of an archive.
    package init() {}

    /// Whether nothing has begun that has not ended.
    package var isWhole: Bool { isAtEnd && !isInFile }

    /// Takes what comes next.
    /// - Parameter sink: gets the events in order; the range of `.bytes` counts in `bytes`.
    /// - Throws: `.badRequest` when this is no such archive, and what `sink` throws.
    package mutating func read(
        _ bytes: UnsafeRawBufferPointer, _ sink: (Event) throws(VaultError) -> Void
    ) throws(VaultError) {
        var at = 0
        while at < bytes.count {
            if isAtEnd { return }
            if left > 0 {
                let count = min(left, bytes.count - at)
                try sink(.bytes(at..<at + count))
                left -= count
                at += count
                if left == 0 { try finishFile(sink) }
            } else if padding > 0 {
                let count = min(padding, bytes.count - at)
                padding -= count
                at += count
            } else {
                let count = min(TarFormat.blockBytes - header.count, bytes.count - at)
                header.append(contentsOf: bytes[at..<at + count])
                at += count
                if header.count == TarFormat.blockBytes { try begin(sink) }
            }
        }
    }

    private mutating func begin(_ sink: (Event) throws(VaultError) -> Void) throws(VaultError) {
        defer { header = [] }
        if header.allSatisfy({ $0 == 0 }) {
            isAtEnd = true
            return
        }
        let sum = header.enumerated().reduce(0) {
            $0 + ((148..<156).contains($1.offset) ? 32 : Int($1.element))
        }
        guard let size = octal(124, 12), octal(148, 8) == sum, size < 1 << 53 else {
            throw .badRequest("the archive is damaged, or not in tar's format")
        }
        // Links, directories and the like have no place here.
        guard header[156] == UInt8(ascii: "0") || header[156] == 0 else {
            throw .badRequest("the archive holds something that is not a file")
        }
        let name = String(decoding: header[..<100].prefix { $0 != 0 }, as: UTF8.self)
        isInFile = true
        left = size
        padding = (TarFormat.blockBytes - size % TarFormat.blockBytes) % TarFormat.blockBytes
        try sink(.file(name: name, sizeBytes: size))
        if size == 0 { try finishFile(sink) }
    }

    private mutating func finishFile(_ sink: (Event) throws(VaultError) -> Void) throws(VaultError) {
        isInFile = false
        try sink(.fileEnd)
    }

    private func octal(_ start: Int, _ count: Int) -> Int? {
        let digits = header[start..<start + count].drop { $0 == 32 }.prefix { $0 != 0 && $0 != 32 }
        return digits.isEmpty ? nil : Int(String(decoding: digits, as: UTF8.self), radix: 8)
    }
}
