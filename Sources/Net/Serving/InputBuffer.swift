import Base

/// Received bytes that wait: a region that grows, and is wiped wherever bytes leave it.
struct InputBuffer {
    private(set) var base: UnsafeMutablePointer<UInt8>?
    private(set) var count = 0
    private var capacity = 0

    private static let smallest = 4 << 10

    var isEmpty: Bool { count == 0 }
    var bytes: UnsafeBufferPointer<UInt8> { UnsafeBufferPointer(start: base, count: count) }

    /// Room behind the bytes for at least `least` more; `commit` says how many were put there.
    mutating func room(_ least: Int) -> UnsafeMutableBufferPointer<UInt8> {
        if capacity - count < least { grow(to: count + least) }
        return UnsafeMutableBufferPointer(start: base.map { $0 + count }, count: capacity - count)
    }

    mutating func commit(_ more: Int) { count += more }

    mutating func append(_ bytes: UnsafeBufferPointer<UInt8>) {
        guard let first = bytes.baseAddress, let target = room(bytes.count).baseAddress else { return }
        target.update(from: first, count: bytes.count)
        count += bytes.count
    }

    /// Drops bytes from the front; gives the memory back when none are left.
    mutating func consume(_ consumed: Int) {
        guard consumed > 0, let base else { return }
        if consumed == count { return release() }
        base.update(from: base + consumed, count: count - consumed)
        wipe(UnsafeMutableRawBufferPointer(start: base + count - consumed, count: consumed))
        count -= consumed
    }

    /// Drops what was added behind the first `count` bytes.
    mutating func truncate(to kept: Int) {
        guard let base, kept < count else { return }
        if kept == 0 { return release() }
        wipe(UnsafeMutableRawBufferPointer(start: base + kept, count: count - kept))
        count = kept
    }

    /// Wipes and frees.
    mutating func release() {
        guard let base else { return }
        wipe(UnsafeMutableRawBufferPointer(start: base, count: count))
        base.deallocate()
        self.base = nil
        count = 0
        capacity = 0
    }

    private mutating func grow(to needed: Int) {
        let larger = max(Self.smallest, capacity * 2, needed)
        let fresh = UnsafeMutablePointer<UInt8>.allocate(capacity: larger)
        let kept = count
        if let base { fresh.update(from: base, count: kept) }
        release()
        base = fresh
        count = kept
        capacity = larger
    }
}
