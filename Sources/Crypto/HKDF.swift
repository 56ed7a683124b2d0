package import Base

/// HKDF with SHA-256 (RFC 5869).
package enum HKDF {
    /// `count` bytes (at most 8,160) for the purpose that `info` names.
    package static func derive(from key: SecretBytes, salt: [UInt8] = [], info: [UInt8], count: Int = 32)
        -> SecretBytes
    {
        precondition(count > 0 && count <= 255 * HMACSHA256.codeBytes)
        let extract = salt.withUnsafeBytes { HMACSHA256(key: $0) }
        let intermediate = SecretBytes(count: HMACSHA256.codeBytes) { target in
            key.withBytes { extract.code($0, into: target) }
        }
        let expand = HMACSHA256(key: intermediate)
        return SecretBytes(count: count) { target in
            let block = UnsafeMutableRawBufferPointer.allocate(byteCount: HMACSHA256.codeBytes, alignment: 8)
            defer {
                wipe(block)
                block.deallocate()
            }
            var done = 0
            var number: UInt8 = 1
            while done < count {
                let previous = UnsafeRawBufferPointer(
                    rebasing: UnsafeRawBufferPointer(block)[..<(done == 0 ? 0 : block.count)])
                info.withUnsafeBytes { info in
                    withUnsafeBytes(of: number) { expand.code(previous, info, $0, into: block) }
                }
                let part = min(block.count, count - done)
                UnsafeMutableRawBufferPointer(rebasing: target[done..<done + part])
                    .copyMemory(from: UnsafeRawBufferPointer(rebasing: block[..<part]))
                done += part
                number &+= 1
            }
        }
    }
}
