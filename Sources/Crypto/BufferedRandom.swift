import Base
import CPosix
import Glibc
import Synchronization

/// The kernel's randomness, fetched in pages, so that the many small requests (ids, nonces) cost no
/// system call each.
///
/// Each byte leaves the buffer once and is wiped there as it leaves. Buffers are locked, not dumped,
/// and become empty in a child after `fork`. There are several, chosen by thread, so that I/O
/// threads do not wait for each other.
package final class BufferedRandom: RandomSource {
    package static let shared = BufferedRandom()

    private static let pageBytes = 4_096
    private static let headerBytes = 8
    /// Longer requests go to the kernel: they would only drain the buffer.
    private static let longestBuffered = 512

    private let shards: [Shard]

    private init() { shards = (0..<8).map { _ in Shard() } }

    package func fill(_ buffer: UnsafeMutableRawBufferPointer) {
        guard buffer.count <= Self.longestBuffered else {
            SystemRandom().fill(buffer)
            return
        }
        if buffer.isEmpty { return }
        let thread = UInt(pthread_self()) &* 0x9E37_79B9_7F4A_7C15
        nonisolated(unsafe) let target = buffer
        shards[Int(thread >> 61)].page.withLock { page in
            if page.left < target.count { page.refill() }
            page.take(into: target)
        }
    }

    /// One page: the number of bytes left, then the bytes. `MADV_WIPEONFORK` zeroes both.
    private struct Page: ~Copyable {
        private nonisolated(unsafe) let memory: UnsafeMutableRawPointer

        init() {
            let memory = mmap(
                nil, BufferedRandom.pageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
            guard let memory, memory != MAP_FAILED else { preconditionFailure("no memory for random bytes") }
            mlock(memory, BufferedRandom.pageBytes)
            madvise(memory, BufferedRandom.pageBytes, MADV_DONTDUMP)
            madvise(memory, BufferedRandom.pageBytes, MADV_WIPEONFORK)
            self.memory = memory
        }

        deinit { munmap(memory, BufferedRandom.pageBytes) }

        var left: Int { memory.load(as: Int.self) }

        mutating func refill() {
            let count = BufferedRandom.pageBytes - BufferedRandom.headerBytes
            SystemRandom().fill(.init(start: memory + BufferedRandom.headerBytes, count: count))
            memory.storeBytes(of: count, as: Int.self)
        }

        mutating func take(into target: UnsafeMutableRawBufferPointer) {
            let left = left - target.count
            let source = UnsafeMutableRawBufferPointer(
                start: memory + BufferedRandom.headerBytes + left, count: target.count)
            target.copyMemory(from: UnsafeRawBufferPointer(source))
            wipe(source)
            memory.storeBytes(of: left, as: Int.self)
        }
    }

    private final class Shard: Sendable {
        let page = Mutex(Page())
    }
}
