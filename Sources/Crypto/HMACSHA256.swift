package import Base
import CCrypto

/// HMAC with SHA-256 (RFC 2104) under one key, for any number of messages and threads.
///
/// The two hash states that have absorbed the padded key are made once and kept in locked memory;
/// a message copies them, which saves two of four compressions for a short one and every allocation.
package final class HMACSHA256: Sendable {
    package static let codeBytes = 32

    private struct States {
        var inner = SHA256()
        var outer = SHA256()
    }
    private let states: SecretBytes

    package init(key: UnsafeRawBufferPointer) {
        states = SecretBytes(count: MemoryLayout<States>.size) { target in
            var padded = key.count > SHA256.blockBytes ? SHA256.hash(key) : Array(key)
            padded.append(contentsOf: repeatElement(0, count: SHA256.blockBytes - padded.count))
            var states = States()
            for index in padded.indices { padded[index] ^= 0x36 }
            states.inner.update(padded)
            for index in padded.indices { padded[index] ^= 0x36 ^ 0x5C }
            states.outer.update(padded)
            padded.wipe()
            withUnsafeMutableBytes(of: &states) { states in
                target.copyMemory(from: UnsafeRawBufferPointer(states))
                wipe(states)
            }
        }
    }

    package convenience init(key: SecretBytes) {
        // The borrow ends inside: `self.init` cannot be called from a closure.
        let pointer = key.withBytes { $0 }
        self.init(key: pointer)
        withExtendedLifetime(key) {}
    }

    /// The code of a message that comes in up to three pieces.
    package func code(
        _ first: UnsafeRawBufferPointer, _ second: UnsafeRawBufferPointer = .init(start: nil, count: 0),
        _ third: UnsafeRawBufferPointer = .init(start: nil, count: 0),
        into code: UnsafeMutableRawBufferPointer
    ) {
        var states = self.states.withBytes { $0.load(as: States.self) }
        states.inner.update(first)
        if !second.isEmpty { states.inner.update(second) }
        if !third.isEmpty { states.inner.update(third) }
        states.inner.finish(into: code)
        states.outer.update(UnsafeRawBufferPointer(code))
        states.outer.finish(into: code)
    }

    /// The code of a message.
    package func code(_ message: UnsafeRawBufferPointer) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: Self.codeBytes) { target, initialized in
            code(message, into: UnsafeMutableRawBufferPointer(target))
            initialized = Self.codeBytes
        }
    }
    package func code(_ message: [UInt8]) -> [UInt8] { message.withUnsafeBytes { code($0) } }

    /// One code under a key that is not used again.
    package static func code(key: [UInt8], message: [UInt8]) -> [UInt8] {
        key.withUnsafeBytes { HMACSHA256(key: $0) }.code(message)
    }
}
