import CPosix
import Glibc

/// How many I/O threads suit this machine: the usable processors, or what the container's quota pays
/// for when that is less, at most 8.
enum LoopCount {
    private static let most = 8

    static func suitable() -> Int {
        let processors = Int(hf_usable_processors())
        return max(1, min(processors, quota() ?? processors, most))
    }

    /// Processors' worth of time that control groups allow, rounded up; nil without a limit.
    private static func quota() -> Int? {
        var smallest: Int?
        for directory in groupDirectories() {
            guard let found = quota(inGroup: directory) else { continue }
            smallest = min(smallest ?? found, found)
        }
        return smallest
    }

    /// The group of this process and those above it, in both versions of the interface.
    private static func groupDirectories() -> [String] {
        var directories = ["/sys/fs/cgroup", "/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"]
        for line in (text(ofFile: "/proc/self/cgroup") ?? "").split(separator: "\n") {
            let parts = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
            guard parts.count == 3, parts[1].isEmpty || parts[1].split(separator: ",").contains("cpu") else {
                continue
            }
            let root = parts[1].isEmpty ? "/sys/fs/cgroup" : "/sys/fs/cgroup/cpu"
            var path = parts[2]
            while !path.isEmpty, path != "/" {
                directories.append(root + path)
                path = path[..<(path.lastIndex(of: "/") ?? path.startIndex)]
            }
        }
        return directories
    }

    private static func quota(inGroup directory: String) -> Int? {
        if let parts = text(ofFile: directory + "/cpu.max")?.split(whereSeparator: { $0 == " " || $0 == "\n" }
        ) {
            guard parts.count == 2, let quota = Int(parts[0]), let period = Int(parts[1]) else { return nil }
            return roundedUp(quota, period)
        }
        func number(_ name: String) -> Int? {
            text(ofFile: directory + name).flatMap { Int($0.prefix { $0 != "\n" }) }
        }
        guard let quota = number("/cpu.cfs_quota_us"), let period = number("/cpu.cfs_period_us") else {
            return nil
        }
        return roundedUp(quota, period)
    }

    static func roundedUp(_ quota: Int, _ period: Int) -> Int? {
        quota > 0 && period > 0 ? (quota - 1) / period + 1 : nil
    }

    private static func text(ofFile path: String) -> String? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        let bytes = [UInt8](unsafeUninitializedCapacity: 4_096) { buffer, count in
            count = max(0, read(descriptor, buffer.baseAddress, buffer.count))
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
