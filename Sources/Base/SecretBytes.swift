internal import Glibc
import Synchronization

/// Bytes that must not be seen: keys, shares, tokens, passwords.
///
/// They live in the locked arena (never swapped, never in a core dump), are wiped when the last
/// owner lets go, compare in constant time, and show nothing but their length when printed. It is
/// not `Codable`, and the one way out is `withBytes`, so that a search for that name finds every use.
package final class SecretBytes: Sendable {
    private nonisolated(unsafe) let memory: UnsafeMutableRawBufferPointer
    package let count: Int

    /// `count` zero bytes, then filled by `body`.
    package init<Failure: Error>(
        count: Int, _ body: (UnsafeMutableRawBufferPointer) throws(Failure) -> Void
    ) throws(Failure) {
        self.count = count
        memory = LockedArena.shared.allocate(count)
        try body(UnsafeMutableRawBufferPointer(rebasing: memory[..<count]))
    }

    /// A copy of what is in `bytes`; wiping the original is the caller's duty.
    package convenience init(copying bytes: some Collection<UInt8>) {
        self.init(count: bytes.count) { target in target.copyBytes(from: bytes) }
    }

    /// `count` bytes from the source of randomness.
    package static func random(_ count: Int, from source: any RandomSource = SystemRandom()) -> SecretBytes {
        SecretBytes(count: count) { source.fill($0) }
    }

    deinit { LockedArena.shared.release(memory) }

    /// Lends the bytes for the length of the call. They must not be stored or turned into a `String`.
    package func withBytes<R, Failure: Error>(
        _ body: (UnsafeRawBufferPointer) throws(Failure) -> R
    ) throws(Failure) -> R {
        try body(UnsafeRawBufferPointer(rebasing: memory[..<count]))
    }
}

extension SecretBytes: Equatable {
    package static func == (a: SecretBytes, b: SecretBytes) -> Bool {
        a.withBytes { left in b.withBytes { right in constantTimeEqual(left, right) } }
    }
}

extension SecretBytes: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    package var description: String { "<\(count) secret bytes>" }
    package var debugDescription: String { description }
    package var customMirror: Mirror { Mirror(self, children: []) }
}

/// True when both have the same bytes; takes as long whatever the bytes are. Lengths are no secret.
package func constantTimeEqual(_ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer) -> Bool {
    guard a.count == b.count else { return false }
    var difference: UInt8 = 0
    for index in 0..<a.count { difference |= a[index] ^ b[index] }
    return difference == 0
}

/// True when both have the same bytes; takes as long whatever the bytes are. Lengths are no secret.
package func constantTimeEqual(_ a: [UInt8], _ b: [UInt8]) -> Bool {
    a.withUnsafeBytes { left in b.withUnsafeBytes { right in constantTimeEqual(left, right) } }
}

/// Overwrites memory with zeros in a way that the optimiser keeps.
package func wipe(_ memory: UnsafeMutableRawBufferPointer) {
    guard let base = memory.baseAddress else { return }
    explicit_bzero(base, memory.count)
}

extension [UInt8] {
    /// Overwrites the bytes and empties the array. Only the sole owner's copy is reached.
    package mutating func wipe() {
        withUnsafeMutableBytes { Base.wipe($0) }
        removeAll(keepingCapacity: false)
    }

    /// `withUnsafeBytes` for closures with typed errors, which the standard one does not take.
    package func withRaw<R>(_ body: (UnsafeRawBufferPointer) throws(VaultError) -> R) throws(VaultError) -> R
    {
        try span.bytes.withUnsafeBytes { (bytes) throws(VaultError) in try body(bytes) }
    }
}

/// A region of memory that is locked, left out of core dumps and wiped on release.
///
/// Pages come from `mmap` in blocks; each allocation is a power of two between 16 bytes and 64 KiB,
/// kept in a free list per size. Larger ones get pages of their own. When the kernel refuses to lock
/// (a small `ulimit -l`), the memory is used all the same and `isFullyLocked` turns false, which the
/// server tells its operator at start.
package final class LockedArena: Sendable {
    package static let shared = LockedArena()

    private static let smallest = 16
    private static let largestShared = 64 << 10
    private static let blockSize = 256 << 10

    private struct State {
        nonisolated(unsafe) var free: [[UnsafeMutableRawPointer]] = Array(repeating: [], count: 13)
        var fullyLocked = true
    }
    private let state = Mutex(State())

    /// False when some of the arena could not be locked into memory.
    package var isFullyLocked: Bool { state.withLock { $0.fullyLocked } }

    fileprivate func allocate(_ count: Int) -> UnsafeMutableRawBufferPointer {
        let size = max(Self.smallest, count).nextPowerOfTwo
        if size > Self.largestShared { return map(size) }
        let slot = size.trailingZeroBitCount - 4
        nonisolated(unsafe) var found: UnsafeMutableRawPointer?
        state.withLock { state in
            if state.free[slot].isEmpty {
                let block = mapLocked(Self.blockSize, &state)
                for offset in stride(from: 0, to: Self.blockSize, by: size) {
                    state.free[slot].append(block + offset)
                }
            }
            found = state.free[slot].popLast()
        }
        guard let found else { preconditionFailure("the free list was just filled") }
        return UnsafeMutableRawBufferPointer(start: found, count: size)
    }

    fileprivate func release(_ memory: UnsafeMutableRawBufferPointer) {
        wipe(memory)
        guard let base = memory.baseAddress else { return }
        if memory.count > Self.largestShared {
            munmap(base, memory.count)
            return
        }
        nonisolated(unsafe) let pointer = base
        state.withLock { $0.free[memory.count.trailingZeroBitCount - 4].append(pointer) }
    }

    private func map(_ size: Int) -> UnsafeMutableRawBufferPointer {
        nonisolated(unsafe) var base: UnsafeMutableRawPointer?
        state.withLock { base = mapLocked(size, &$0) }
        return UnsafeMutableRawBufferPointer(start: base, count: size)
    }

    private func mapLocked(_ size: Int, _ state: inout State) -> UnsafeMutableRawPointer {
        guard let base = mmap(nil, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
            base != MAP_FAILED
        else { preconditionFailure("no memory for \(size) secret bytes") }
        if mlock(base, size) != 0 { state.fullyLocked = false }
        madvise(base, size, MADV_DONTDUMP)
        return base
    }
}

extension Int {
    /// The smallest power of two that is not below this number.
    fileprivate var nextPowerOfTwo: Int {
        self <= 1 ? 1 : 1 << (Int.bitWidth - (self - 1).leadingZeroBitCount)
    }
}
