import Base

/// Writes the binary frames of stored records. Integers are little-endian.
struct FrameWriter {
    private(set) var bytes: [UInt8] = []

    init(reserving count: Int) { bytes.reserveCapacity(count) }

    mutating func byte(_ value: UInt8) { bytes.append(value) }
    mutating func flag(_ value: Bool) { bytes.append(value ? 1 : 0) }
    mutating func int64(_ value: Int64) {
        withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
    }
    mutating func int(_ value: Int) { int64(Int64(value)) }
    mutating func time(_ value: Timestamp) { int64(value.nanoseconds) }
    mutating func time(_ value: Timestamp?) { int64(value?.nanoseconds ?? .max) }
    mutating func raw(_ value: some Collection<UInt8>) { bytes.append(contentsOf: value) }
}

/// Reads what `FrameWriter` wrote; any shortfall is a damaged record and never a trap.
struct FrameReader {
    private let bytes: [UInt8]
    private let place: String
    private(set) var at: Int

    init(_ bytes: [UInt8], at offset: Int = 0, place: String) {
        self.bytes = bytes
        self.place = place
        at = offset
    }

    private func damaged() -> VaultError { .corrupted(place: "record \(place)") }

    mutating func byte() throws(VaultError) -> UInt8 {
        guard at < bytes.count else { throw damaged() }
        at += 1
        return bytes[at - 1]
    }

    mutating func flag() throws(VaultError) -> Bool { try byte() != 0 }

    mutating func int64() throws(VaultError) -> Int64 {
        guard at + 8 <= bytes.count else { throw damaged() }
        at += 8
        let value = bytes.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: at - 8, as: Int64.self) }
        return Int64(littleEndian: value)
    }

    mutating func int() throws(VaultError) -> Int { Int(try int64()) }

    mutating func time() throws(VaultError) -> Timestamp { Timestamp(nanoseconds: try int64()) }

    mutating func optionalTime() throws(VaultError) -> Timestamp? {
        let value = try int64()
        return value == .max ? nil : Timestamp(nanoseconds: value)
    }

    /// `count` bytes that hold one JSON value; nil when `count` is zero.
    mutating func json(_ count: Int) throws(VaultError) -> RawJSON? {
        guard count >= 0, count <= bytes.count - at else { throw damaged() }
        at += count
        return count == 0 ? nil : RawJSON(trusted: bytes, in: at - count..<at)
    }

    /// `count` bytes, as they are.
    mutating func raw(_ count: Int) throws(VaultError) -> ArraySlice<UInt8> {
        guard count >= 0, count <= bytes.count - at else { throw damaged() }
        at += count
        return bytes[at - count..<at]
    }

    /// `count` bytes, into locked memory.
    mutating func secret(_ count: Int) throws(VaultError) -> SecretBytes {
        SecretBytes(copying: try raw(count))
    }

    func expectEnd() throws(VaultError) { if at != bytes.count { throw damaged() } }
}
