import Base
import Glibc

/// The header by which a load balancer says for whom it connects (HAProxy's PROXY protocol, versions 1
/// and 2), read without a socket.
///
/// It stands before everything else, TLS included, so exactly its bytes must be taken from the socket.
enum ProxyHeader {
    /// The client, as the balancer saw it.
    struct Source: Equatable {
        var address: String
        var port: Int
    }
    /// What the bytes so far amount to.
    enum Outcome: Equatable {
        case needMore
        /// The connection starts with something else.
        case absent
        /// A header of so many bytes; no source where the balancer speaks for itself or does not say.
        case complete(bytes: Int, source: Source?)
        case malformed
    }

    /// Longest header of version 1 with its line end (section 2.1).
    private static let mostLineBytes = 107
    /// Bytes behind the fixed part of version 2: addresses, then extensions that nothing here reads.
    private static let mostExtraBytes = 4 << 10
    private static let fixedBytes = 16
    /// Bytes that have to be looked at, at most.
    static let mostBytes = fixedBytes + mostExtraBytes

    private static let lineMark = Array("PROXY ".utf8)
    private static let binaryMark: [UInt8] = [13, 10, 13, 10, 0, 13, 10, 0x51, 0x55, 0x49, 0x54, 10]

    /// `bytes` start with the connection's first byte.
    static func parse(_ bytes: UnsafeBufferPointer<UInt8>) -> Outcome {
        if starts(bytes, with: binaryMark) { return binary(bytes) }
        if starts(bytes, with: lineMark) { return line(bytes) }
        return .absent
    }

    /// As far as there are bytes.
    private static func starts(_ bytes: UnsafeBufferPointer<UInt8>, with mark: [UInt8]) -> Bool {
        zip(bytes, mark).allSatisfy { $0 == $1 }
    }

    // MARK: Version 1

    private static func line(_ bytes: UnsafeBufferPointer<UInt8>) -> Outcome {
        guard let end = bytes.prefix(mostLineBytes).firstIndex(of: 10) else {
            return bytes.count < mostLineBytes ? .needMore : .malformed
        }
        guard end >= 2, bytes[end - 1] == 13,
            let text = String(validating: bytes[..<(end - 1)], as: UTF8.self)
        else { return .malformed }
        let parts = text.split(separator: " ", omittingEmptySubsequences: false).map(String.init)
        guard parts.count >= 2 else { return .malformed }
        // What follows the word is not to be read.
        if parts[1] == "UNKNOWN" { return .complete(bytes: end + 1, source: nil) }
        guard parts.count == 6, parts[1] == "TCP4" || parts[1] == "TCP6" else { return .malformed }
        let hasColons = parts[1] == "TCP6"
        guard [parts[2], parts[3]].allSatisfy({ CIDRBlock.isAddress($0) && $0.contains(":") == hasColons }),
            let port = port(parts[4]), self.port(parts[5]) != nil
        else { return .malformed }
        return .complete(bytes: end + 1, source: Source(address: plain(parts[2]), port: port))
    }

    private static func port(_ text: String) -> Int? {
        guard (1...5).contains(text.utf8.count), text.utf8.allSatisfy({ $0 >= 48 && $0 <= 57 }),
            text == "0" || !text.hasPrefix("0"), let port = Int(text), port <= 65_535
        else { return nil }
        return port
    }

    // MARK: Version 2

    private static func binary(_ bytes: UnsafeBufferPointer<UInt8>) -> Outcome {
        guard bytes.count >= fixedBytes else { return .needMore }
        let extra = Int(bytes[14]) << 8 | Int(bytes[15])
        let command = bytes[12]
        guard command == 0x20 || command == 0x21, extra <= mostExtraBytes else { return .malformed }
        guard bytes.count >= fixedBytes + extra else { return .needMore }
        var source: Source?
        // 0x20 is the balancer's own connection, a health check: its address stands.
        if command == 0x21 {
            switch bytes[13] {
            case 0x11:
                guard extra >= 12 else { return .malformed }
                source = Source(address: text(bytes, AF_INET), port: bigEndian(bytes, 24))
            case 0x21:
                guard extra >= 36 else { return .malformed }
                source = Source(address: plain(text(bytes, AF_INET6)), port: bigEndian(bytes, 48))
            case 0x31: guard extra >= 216 else { return .malformed }
            case 0x00: break
            default: return .malformed
            }
        }
        return .complete(bytes: fixedBytes + extra, source: source)
    }

    private static func bigEndian(_ bytes: UnsafeBufferPointer<UInt8>, _ at: Int) -> Int {
        Int(bytes[at]) << 8 | Int(bytes[at + 1])
    }

    private static func text(_ bytes: UnsafeBufferPointer<UInt8>, _ family: Int32) -> String {
        var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
        inet_ntop(family, bytes.baseAddress.map { $0 + fixedBytes }, &text, socklen_t(text.count))
        return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// An IPv4 address in IPv6's clothes as IPv4, as the kernel's are shown too.
    private static func plain(_ address: String) -> String {
        address.hasPrefix("::ffff:") && address.contains(".") ? String(address.dropFirst(7)) : address
    }
}
