import Base
import PluginKit

/// Token entries as bytes: one version byte, then fixed and counted fields. Every request decodes one,
/// so that this costs about a microsecond; and every byte is accounted for, so that a damaged or
/// foreign value is an error and never a token with other rights.
package enum TokenCodec {
    /// Changes when older entries can no longer be read as they are.
    private static let version: UInt8 = 1

    private struct Flags: OptionSet {
        let rawValue: UInt8
        static let renewable = Flags(rawValue: 1)
        static let expires = Flags(rawValue: 2)
        static let renewed = Flags(rawValue: 4)
        static let metadata = Flags(rawValue: 8)
        static let login = Flags(rawValue: 16)
        static let known: Flags = [.renewable, .expires, .renewed, .metadata, .login]
    }

    /// The bytes of an entry, without its hash, which is its key.
    package static func encode(_ entry: TokenEntry) -> [UInt8] {
        var writer = ByteWriter()
        let life = entry.lifetime
        var flags: Flags = []
        if life.isRenewable { flags.insert(.renewable) }
        if life.expires != nil { flags.insert(.expires) }
        if life.renewed != nil { flags.insert(.renewed) }
        if entry.metadata != nil { flags.insert(.metadata) }
        if entry.login != nil { flags.insert(.login) }
        writer.byte(version)
        writer.byte(entry.type.rawValue)
        writer.byte(flags.rawValue)
        writer.number(life.created.nanoseconds)
        writer.number(life.ttl.wholeNanoseconds)
        writer.number(life.explicitMaxTTL.wholeNanoseconds)
        writer.number(life.period.wholeNanoseconds)
        if let expires = life.expires { writer.number(expires.nanoseconds) }
        if let renewed = life.renewed { writer.number(renewed.nanoseconds) }
        writer.number(Int64(entry.numberOfUses))
        writer.text(entry.accessor)
        writer.text(entry.parent)
        writer.texts(entry.policies)
        writer.text(entry.path)
        writer.text(entry.displayName)
        writer.text(entry.entityID)
        writer.text(entry.role)
        writer.texts(entry.boundCIDRs.map(\.description))
        if let metadata = entry.metadata { writer.pairs(metadata) }
        if let login = entry.login {
            writer.text(login.mountAccessor)
            writer.pairs(login.internalData)
        }
        return writer.bytes
    }

    /// The entry in `bytes`, or nil when they are not exactly one.
    package static func decode(_ bytes: [UInt8], hash: String) -> TokenEntry? {
        bytes.withUnsafeBytes { buffer in
            var reader = ByteReader(bytes: buffer)
            guard let entry = decode(&reader, hash), reader.isAtEnd else { return nil }
            return entry
        }
    }

    private static func decode(_ reader: inout ByteReader, _ hash: String) -> TokenEntry? {
        guard reader.byte() == version, let type = reader.byte().flatMap(TokenType.init(rawValue:)),
            let flags = reader.byte().map(Flags.init(rawValue:)), Flags.known.isSuperset(of: flags),
            let created = reader.number(), let ttl = reader.number(), let most = reader.number(),
            let period = reader.number(), ttl >= 0, most >= 0, period >= 0
        else { return nil }
        var entry = TokenEntry(hash: hash, created: Timestamp(nanoseconds: created))
        entry.type = type
        entry.lifetime.ttl = .nanoseconds(ttl)
        entry.lifetime.explicitMaxTTL = .nanoseconds(most)
        entry.lifetime.period = .nanoseconds(period)
        entry.lifetime.isRenewable = flags.contains(.renewable)
        if flags.contains(.expires) {
            guard let expires = reader.number() else { return nil }
            entry.lifetime.expires = Timestamp(nanoseconds: expires)
        }
        if flags.contains(.renewed) {
            guard let renewed = reader.number() else { return nil }
            entry.lifetime.renewed = Timestamp(nanoseconds: renewed)
        }
        guard let uses = reader.number(), uses >= Int64(TokenEntry.lastUseSpent),
            let accessor = reader.text(),
            let parent = reader.text(), let policies = reader.texts(), let path = reader.text(),
            let displayName = reader.text(), let entityID = reader.text(), let role = reader.text(),
            let networks = reader.texts()
        else { return nil }
        entry.numberOfUses = Int(uses)
        entry.accessor = accessor
        entry.parent = parent
        entry.policies = policies
        entry.path = path
        entry.displayName = displayName
        entry.entityID = entityID
        entry.role = role
        for network in networks {
            guard let block = CIDRBlock(network) else { return nil }
            entry.boundCIDRs.append(block)
        }
        if flags.contains(.metadata) {
            guard let metadata = reader.pairs() else { return nil }
            entry.metadata = metadata
        }
        if flags.contains(.login) {
            guard let accessor = reader.text(), let data = reader.pairs() else { return nil }
            entry.login = LoginOrigin(mountAccessor: accessor, internalData: data)
        }
        return entry
    }
}

/// Appends fields. Numbers are zigzag varints; texts are counted UTF-8.
private struct ByteWriter {
    private(set) var bytes: [UInt8] = []

    init() { bytes.reserveCapacity(192) }

    mutating func byte(_ value: UInt8) { bytes.append(value) }

    mutating func number(_ value: Int64) {
        var left = UInt64(bitPattern: value << 1 ^ value >> 63)
        while left >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: left) | 0x80)
            left >>= 7
        }
        bytes.append(UInt8(left))
    }

    mutating func text(_ value: String) {
        number(Int64(value.utf8.count))
        bytes.append(contentsOf: value.utf8)
    }

    mutating func texts(_ values: [String]) {
        number(Int64(values.count))
        for value in values { text(value) }
    }

    mutating func pairs(_ values: [String: String]) {
        texts(values.sorted { $0.key < $1.key }.flatMap { [$0.key, $0.value] })
    }
}

/// Takes fields off the front; nil for whatever is cut short, too large or no UTF-8.
private struct ByteReader {
    let bytes: UnsafeRawBufferPointer
    private var at = 0

    init(bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    var isAtEnd: Bool { at == bytes.count }

    mutating func byte() -> UInt8? {
        guard at < bytes.count else { return nil }
        defer { at += 1 }
        return bytes[at]
    }

    mutating func number() -> Int64? {
        var raw: UInt64 = 0
        var shift: UInt64 = 0
        while let next = byte() {
            // The tenth byte holds the one bit that is left of 64.
            if shift == 63, next > 1 { return nil }
            raw |= UInt64(next & 0x7F) << shift
            if next < 0x80 { return Int64(bitPattern: raw >> 1) ^ -Int64(bitPattern: raw & 1) }
            shift += 7
            if shift > 63 { return nil }
        }
        return nil
    }

    private mutating func count() -> Int? {
        guard let value = number(), value >= 0, value <= Int64(bytes.count - at) else { return nil }
        return Int(value)
    }

    mutating func text() -> String? {
        guard let count = count() else { return nil }
        defer { at += count }
        let piece = UnsafeRawBufferPointer(rebasing: bytes[at..<at + count]).bindMemory(to: UInt8.self)
        // Nearly every text here is ASCII, and `String(validating:)` costs ten times as much as this.
        var bits: UInt8 = 0
        for byte in piece { bits |= byte }
        return bits < 0x80
            ? String(decoding: piece, as: UTF8.self) : String(validating: piece, as: UTF8.self)
    }

    mutating func texts() -> [String]? {
        guard let count = count() else { return nil }
        var values: [String] = []
        values.reserveCapacity(count)
        for _ in 0..<count {
            guard let value = text() else { return nil }
            values.append(value)
        }
        return values
    }

    mutating func pairs() -> [String: String]? {
        guard let texts = texts(), texts.count.isMultiple(of: 2) else { return nil }
        var values: [String: String] = [:]
        for at in stride(from: 0, to: texts.count, by: 2) { values[texts[at]] = texts[at + 1] }
        return values
    }
}
