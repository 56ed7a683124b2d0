import CPosix
import Glibc

/// What the kernel says of this process.
struct ProcessReadings {
    var residentBytes = 0.0
    var virtualBytes = 0.0
    var openDescriptors = 0.0
    var mostDescriptors = 0.0
    var threads = 0.0
    var cpuSeconds = 0.0
    /// Bytes of the heap that are in use.
    var heapBytes = 0.0

    init() {
        let page = Double(sysconf(Int32(_SC_PAGESIZE)))
        let sizes = Self.text("/proc/self/statm").split(separator: " ").compactMap { Double($0) }
        if sizes.count > 1 {
            virtualBytes = sizes[0] * page
            residentBytes = sizes[1] * page
        }
        // One of them is the reading of the directory itself.
        openDescriptors = max(0, Double(Self.entries("/proc/self/fd")) - 1)
        threads = Double(Self.entries("/proc/self/task"))
        var files = rlimit()
        if getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &files) == 0 {
            mostDescriptors = Double(files.rlim_cur)
        }
        cpuSeconds = max(0, hf_cpu_seconds())
        let heap = mallinfo2()
        heapBytes = Double(heap.uordblks) + Double(heap.hblkhd)
    }

    private static func entries(_ directory: String) -> Int {
        guard let stream = opendir(directory) else { return 0 }
        defer { closedir(stream) }
        var count = 0
        while let entry = readdir(stream) {
            if entry.pointee.d_name.0 != 46 { count += 1 }
        }
        return count
    }

    private static func text(_ path: String) -> String {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return "" }
        defer { close(descriptor) }
        let bytes = [UInt8](unsafeUninitializedCapacity: 512) { buffer, count in
            count = max(0, read(descriptor, buffer.baseAddress, buffer.count))
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
