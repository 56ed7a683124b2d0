internal import Glibc

/// A network of IPv4 or IPv6 addresses (RFC 4632, RFC 4291), as `token_bound_cidrs` names it.
package struct CIDRBlock: Sendable, Equatable, CustomStringConvertible {
    private let bytes: [UInt8]
    private let prefixBits: Int
    /// As an operator writes it: `10.0.0.0/8`; an address alone when it is one.
    package let description: String

    /// Reads `address/bits` or an address alone; nil for anything else.
    package init?(_ text: String) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count <= 2, let bytes = Self.addressBytes(String(parts[0])) else { return nil }
        var bits = bytes.count * 8
        if parts.count == 2 {
            guard parts[1].utf8.allSatisfy({ $0 >= 48 && $0 <= 57 }), let given = Int(parts[1]), given <= bits
            else {
                return nil
            }
            bits = given
        }
        self.bytes = bytes
        prefixBits = bits
        description = bits == bytes.count * 8 ? String(parts[0]) : text
    }

    /// Reads a list as a client sent it; empty elements do not count.
    /// - Throws: `.badRequest` that names the field and the element.
    package static func parse(_ texts: [String], field: String) throws(VaultError) -> [CIDRBlock] {
        var blocks: [CIDRBlock] = []
        for text in texts where !text.isEmpty {
            guard let block = CIDRBlock(text) else {
                throw .badRequest("field '\(field)': expected addresses or networks, got \"\(text)\"")
            }
            blocks.append(block)
        }
        return blocks
    }

    /// Whether every address of another network lies inside this one.
    package func contains(_ other: CIDRBlock) -> Bool {
        other.bytes.count == bytes.count && other.prefixBits >= prefixBits && holds(other.bytes)
    }

    /// Whether an address lies inside. An IPv4 address mapped into IPv6 counts as IPv4.
    package func contains(_ address: String) -> Bool {
        guard let other = Self.addressBytes(address), other.count == bytes.count else { return false }
        return holds(other)
    }

    private func holds(_ other: [UInt8]) -> Bool {
        let whole = prefixBits / 8
        if !bytes.prefix(whole).elementsEqual(other.prefix(whole)) { return false }
        let rest = prefixBits % 8
        return rest == 0 || (bytes[whole] ^ other[whole]) >> UInt8(8 - rest) == 0
    }

    /// Whether this is the text of one address, IPv4 or IPv6, without port or brackets.
    package static func isAddress(_ text: String) -> Bool { addressBytes(text) != nil }

    private static func addressBytes(_ text: String) -> [UInt8]? {
        // C would stop reading at a NUL, and never see what stands behind it.
        if text.utf8.contains(0) { return nil }
        var raw = [UInt8](repeating: 0, count: 16)
        if inet_pton(AF_INET, text, &raw) == 1 { return Array(raw.prefix(4)) }
        guard inet_pton(AF_INET6, text, &raw) == 1 else { return nil }
        let isMapped = raw.prefix(10).allSatisfy { $0 == 0 } && raw[10] == 0xFF && raw[11] == 0xFF
        return isMapped ? Array(raw.suffix(4)) : raw
    }
}
