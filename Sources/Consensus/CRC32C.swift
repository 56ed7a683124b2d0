/// Castagnoli's CRC (polynomial 0x82F63B78), eight bytes at a time. It finds accidents, not attackers.
package enum CRC32C {
    /// Eight tables of 256 words: the effect of a byte with 0 to 7 bytes behind it.
    private static let tables: [UInt32] = {
        var tables: [UInt32] = []
        for index in 0..<UInt32(256) {
            var value = index
            for _ in 0..<8 {
                let isOdd = value & 1 == 1
                value >>= 1
                if isOdd { value ^= 0x82F6_3B78 }
            }
            tables.append(value)
        }
        for at in 256..<2048 {
            let before = tables[at - 256]
            tables.append(before >> 8 ^ tables[Int(before & 0xFF)])
        }
        return tables
    }()

    /// The code of bytes, or of what came before them and them.
    package static func of(_ bytes: UnsafeRawBufferPointer, after before: UInt32 = 0) -> UInt32 {
        tables.withUnsafeBufferPointer { table in
            var code = ~before
            var at = 0
            while at + 8 <= bytes.count {
                let word = bytes.loadUnaligned(fromByteOffset: at, as: UInt64.self).littleEndian
                let low = UInt32(truncatingIfNeeded: word) ^ code
                let high = UInt32(truncatingIfNeeded: word >> 32)
                var next = table[1792 + Int(low & 0xFF)]
                next ^= table[1536 + Int(low >> 8 & 0xFF)]
                next ^= table[1280 + Int(low >> 16 & 0xFF)]
                next ^= table[1024 + Int(low >> 24)]
                next ^= table[768 + Int(high & 0xFF)]
                next ^= table[512 + Int(high >> 8 & 0xFF)]
                next ^= table[256 + Int(high >> 16 & 0xFF)]
                next ^= table[Int(high >> 24)]
                code = next
                at += 8
            }
            while at < bytes.count {
                code = table[Int(UInt8(truncatingIfNeeded: code) ^ bytes[at])] ^ code >> 8
                at += 1
            }
            return ~code
        }
    }

    /// The code of bytes.
    package static func of(_ bytes: [UInt8]) -> UInt32 { bytes.withUnsafeBytes { of($0) } }
}
