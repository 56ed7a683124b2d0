import CCrypto

/// An incremental hash. A copy goes on from where the original stood.
package protocol HashFunction {
    static var digestBytes: Int { get }
    static var blockBytes: Int { get }
    init()
    mutating func update(_ bytes: UnsafeRawBufferPointer)
    /// Writes the digest, which must have exactly `digestBytes`, and wipes the state.
    mutating func finish(into digest: UnsafeMutableRawBufferPointer)
}

extension HashFunction {
    package mutating func update(_ bytes: [UInt8]) { bytes.withUnsafeBytes { update($0) } }

    /// The digest of all that was given.
    package mutating func finish() -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: Self.digestBytes) { digest, initialized in
            finish(into: UnsafeMutableRawBufferPointer(digest))
            initialized = Self.digestBytes
        }
    }

    /// The digest of one message.
    package static func hash(_ bytes: UnsafeRawBufferPointer) -> [UInt8] {
        var state = Self()
        state.update(bytes)
        return state.finish()
    }
    package static func hash(_ bytes: [UInt8]) -> [UInt8] { bytes.withUnsafeBytes { hash($0) } }
}

/// SHA-256 (FIPS 180-4).
package struct SHA256: HashFunction {
    package static let digestBytes = 32
    package static let blockBytes = 64
    private var state = SHA256_CTX()

    package init() { SHA256_Init(&state) }
    package mutating func update(_ bytes: UnsafeRawBufferPointer) {
        SHA256_Update(&state, bytes.baseAddress, bytes.count)
    }
    package mutating func finish(into digest: UnsafeMutableRawBufferPointer) {
        precondition(digest.count == Self.digestBytes)
        SHA256_Final(digest.baseAddress?.assumingMemoryBound(to: UInt8.self), &state)
        OPENSSL_cleanse(&state, MemoryLayout<SHA256_CTX>.size)
    }
}

/// SHA-384 (FIPS 180-4).
package struct SHA384: HashFunction {
    package static let digestBytes = 48
    package static let blockBytes = 128
    private var state = SHA512_CTX()

    package init() { SHA384_Init(&state) }
    package mutating func update(_ bytes: UnsafeRawBufferPointer) {
        SHA384_Update(&state, bytes.baseAddress, bytes.count)
    }
    package mutating func finish(into digest: UnsafeMutableRawBufferPointer) {
        precondition(digest.count == Self.digestBytes)
        SHA384_Final(digest.baseAddress?.assumingMemoryBound(to: UInt8.self), &state)
        OPENSSL_cleanse(&state, MemoryLayout<SHA512_CTX>.size)
    }
}

/// SHA-512 (FIPS 180-4).
package struct SHA512: HashFunction {
    package static let digestBytes = 64
    package static let blockBytes = 128
    private var state = SHA512_CTX()

    package init() { SHA512_Init(&state) }
    package mutating func update(_ bytes: UnsafeRawBufferPointer) {
        SHA512_Update(&state, bytes.baseAddress, bytes.count)
    }
    package mutating func finish(into digest: UnsafeMutableRawBufferPointer) {
        precondition(digest.count == Self.digestBytes)
        SHA512_Final(digest.baseAddress?.assumingMemoryBound(to: UInt8.self), &state)
        OPENSSL_cleanse(&state, MemoryLayout<SHA512_CTX>.size)
    }
}
