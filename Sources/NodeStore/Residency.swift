import Base
internal import Glibc

/// Keeps mapped pages of the data file from counting as this process's memory without end.
///
/// A page that was read through the map stays in the process's page table, and counts as resident, as long as
/// the kernel is not short of memory: after a walk through a large store that is all of it, and a container
/// with a limit looks full. Taking the pages out of the table loses nothing. They stay in the kernel's page
/// cache; whoever reads one again has a soft fault, which also brings back its fifteen neighbours.
struct Residency: ~Copyable {
    /// Mapped bytes, of whatever files, above which the pages of the data file are given up.
    static let mostBytes = 64 << 20
    /// Time between two looks. Searches all over a store, each with a soft fault that maps sixteen pages, map
    /// some thirty megabytes in it.
    static let pauseNanoseconds: UInt64 = 2_000_000

    /// What must have been mapped since the last time, where other files alone are that large.
    private static let leastGrowth = 32 << 20

    private let statistics: Int32
    private let pageBytes: Int
    private var most = Residency.mostBytes

    init() {
        statistics = Glibc.open("/proc/self/statm", O_RDONLY | O_CLOEXEC)
        pageBytes = sysconf(Int32(_SC_PAGESIZE))
    }

    deinit { if statistics >= 0 { Glibc.close(statistics) } }

    /// Gives the pages of a map up when too many are in the table, which takes a millisecond; otherwise it is
    /// a look of about two microseconds.
    mutating func trim(_ map: MapExtent) {
        guard map.count > 0, mappedBytes() > most,
            let start = UnsafeMutableRawPointer(bitPattern: map.start)
        else { return }
        // Of a shared map of a file this only empties the page table: nothing is written or lost, and readers
        // on other threads fault the pages in again.
        _ = madvise(start, Int(map.count), MADV_DONTNEED)
        most = max(Self.mostBytes, mappedBytes() + Self.leastGrowth)
    }

    /// Resident bytes of mapped files, as the kernel counts them; 0 when it does not tell (proc(5), statm).
    func mappedBytes() -> Int {
        var text = [UInt8](repeating: 0, count: 128)
        let got = text.withUnsafeMutableBytes { pread(statistics, $0.baseAddress, $0.count, 0) }
        guard got > 0 else { return 0 }
        let fields = text.prefix(got).split(separator: UInt8(ascii: " "))
        guard fields.count > 2 else { return 0 }
        return (Int(String(decoding: fields[2], as: UTF8.self)) ?? 0) * pageBytes
    }
}
