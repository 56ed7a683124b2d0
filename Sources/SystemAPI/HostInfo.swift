import Base
import PluginKit
import Glibc

/// What the kernel says of the machine: processors, their time, disks, memory, the system. It reads files
/// below `/proc`, so it belongs on a thread that may wait.
enum HostInfo {
    /// Bytes of a file that are looked at.
    private static let mostBytes = 1 << 20

    static func describe(now: Timestamp) -> JSONValue {
        [
            "timestamp": .string(now.rfc3339()), "cpu": processors, "cpu_times": processorTimes,
            "disk": disks,
            "host": host, "memory": memory,
        ]
    }

    // MARK: Processors

    private static var processors: JSONValue {
        let blocks = text("/proc/cpuinfo").split(separator: "\n\n", omittingEmptySubsequences: true)
        return .array(
            blocks.compactMap { block in
                let facts = pairs(block, separator: ":")
                guard let number = facts["processor"].flatMap({ Int($0) }) else { return nil }
                return [
                    "cpu": .int(number), "vendorId": .string(facts["vendor_id"] ?? ""),
                    "family": .string(facts["cpu family"] ?? ""), "model": .string(facts["model"] ?? ""),
                    "stepping": .int(Int(facts["stepping"] ?? "") ?? 0),
                    "physicalId": .string(facts["physical id"] ?? ""),
                    "coreId": .string(facts["core id"] ?? ""), "cores": 1,
                    "modelName": .string(facts["model name"] ?? ""), "mhz": decimal(facts["cpu MHz"]),
                    "cacheSize": .int(Int((facts["cache size"] ?? "").prefix { $0.isNumber }) ?? 0),
                    "microcode": .string(facts["microcode"] ?? ""),
                ]
            })
    }

    private static let timeNames = [
        "user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest", "guestNice",
    ]

    /// In seconds.
    private static var processorTimes: JSONValue {
        let ticks = max(1, sysconf(Int32(_SC_CLK_TCK)))
        return .array(
            text("/proc/stat").split(separator: "\n").compactMap { line in
                let words = line.split(separator: " ")
                guard let name = words.first, name.hasPrefix("cpu"), name != "cpu" else { return nil }
                var members: [(String, JSONValue)] = [("cpu", .string(String(name)))]
                for (field, value) in zip(timeNames, words.dropFirst()) {
                    members.append((field, hundredths((Int(value) ?? 0) * 100 / ticks)))
                }
                return .object(members)
            })
    }

    // MARK: Disks

    private static var disks: JSONValue {
        var seen: Set<Substring> = []
        return .array(
            text("/proc/self/mounts").split(separator: "\n").compactMap { line in
                let words = line.split(separator: " ")
                guard words.count >= 3, words[0].hasPrefix("/dev/"), seen.insert(words[0]).inserted else {
                    return nil
                }
                let path = unescaped(words[1])
                var facts = statvfs()
                guard statvfs(path, &facts) == 0 else { return nil }
                let unit = Int(facts.f_frsize)
                let (total, free) = (Int(facts.f_blocks) * unit, Int(facts.f_bavail) * unit)
                let used = total - Int(facts.f_bfree) * unit
                let (inodes, freeInodes) = (Int(facts.f_files), Int(facts.f_ffree))
                return [
                    "device": .string(String(words[0])), "path": .string(path),
                    "fstype": .string(String(words[2])), "total": .int(total), "free": .int(free),
                    "used": .int(used), "usedPercent": percent(used, of: used + free),
                    "inodesTotal": .int(inodes), "inodesUsed": .int(inodes - freeInodes),
                    "inodesFree": .int(freeInodes),
                    "inodesUsedPercent": percent(inodes - freeInodes, of: inodes),
                ]
            })
    }

    /// The kernel writes blanks in a path as `\040`.
    private static func unescaped(_ path: Substring) -> String {
        var bytes: [UInt8] = []
        var rest = Array(path.utf8)[...]
        while let byte = rest.popFirst() {
            if byte == UInt8(ascii: "\\"), rest.count >= 3,
                let code = UInt8(String(decoding: rest.prefix(3), as: UTF8.self), radix: 8)
            {
                bytes.append(code)
                rest = rest.dropFirst(3)
            } else {
                bytes.append(byte)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    // MARK: System and memory

    private static var host: JSONValue {
        var names = utsname()
        uname(&names)
        let release = pairs(Substring(text("/etc/os-release")), separator: "=")
        func named(_ name: String) -> String { (release[name] ?? "").filter { $0 != "\"" } }
        let uptime = Int(text("/proc/uptime").prefix { $0.isNumber }) ?? 0
        let boot = text("/proc/stat").split(separator: "\n").first { $0.hasPrefix("btime ") }
        let processes = text("/proc/loadavg").split(separator: " ").dropFirst(3).first?.split(separator: "/")
        return [
            "hostname": .string(string(names.nodename)), "uptime": .int(uptime),
            "bootTime": .int(boot.flatMap { Int($0.dropFirst(6)) } ?? 0),
            "procs": .int(processes?.last.flatMap { Int($0) } ?? 0), "os": "linux",
            "platform": .string(named("ID")),
            "platformFamily": .string(named("ID_LIKE").isEmpty ? named("ID") : named("ID_LIKE")),
            "platformVersion": .string(named("VERSION_ID")), "kernelVersion": .string(string(names.release)),
            "kernelArch": .string(string(names.machine)),
        ]
    }

    /// The host's name, as the kernel has it.
    static var hostName: String {
        var names = utsname()
        uname(&names)
        return string(names.nodename)
    }

    private static var memory: JSONValue {
        let facts = pairs(Substring(text("/proc/meminfo")), separator: ":")
        func bytes(_ name: String) -> Int {
            (Int((facts[name] ?? "").prefix { $0.isNumber }) ?? 0) * 1_024
        }
        let (total, available) = (bytes("MemTotal"), bytes("MemAvailable"))
        var members: [(String, JSONValue)] = [
            ("total", .int(total)), ("available", .int(available)), ("used", .int(total - available)),
            ("usedPercent", percent(total - available, of: total)),
        ]
        for (name, source) in [
            ("free", "MemFree"), ("active", "Active"), ("inactive", "Inactive"), ("buffers", "Buffers"),
            ("cached", "Cached"), ("dirty", "Dirty"), ("writeback", "Writeback"), ("shared", "Shmem"),
            ("slab", "Slab"), ("mapped", "Mapped"), ("pagetables", "PageTables"),
            ("swaptotal", "SwapTotal"), ("swapfree", "SwapFree"), ("swapcached", "SwapCached"),
        ] { members.append((name, .int(bytes(source)))) }
        return .object(members)
    }

    // MARK: -

    private static func text(_ path: String) -> String {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return "" }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 16_384)
        while bytes.count < mostBytes {
            let count = chunk.withUnsafeMutableBytes { read(descriptor, $0.baseAddress, $0.count) }
            if count <= 0 { break }
            bytes += chunk[..<count]
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// `name : value` or `name=value`, a line each.
    private static func pairs(_ text: Substring, separator: Character) -> [String: String] {
        var found: [String: String] = [:]
        for line in text.split(separator: "\n") {
            guard let mark = line.firstIndex(of: separator) else { continue }
            found[line[..<mark].trimmingBlanks()] = line[line.index(after: mark)...].trimmingBlanks()
        }
        return found
    }

    private static func percent(_ part: Int, of whole: Int) -> JSONValue {
        hundredths(whole > 0 ? part * 10_000 / whole : 0)
    }

    private static func hundredths(_ number: Int) -> JSONValue {
        let rest = number % 100
        return .number("\(number / 100).\(rest < 10 ? "0" : "")\(rest)")
    }

    private static func decimal(_ text: String?) -> JSONValue {
        guard let text, let value = Double(text), value.isFinite, value >= 0, value < 1e12 else { return 0 }
        return hundredths(Int(value * 100))
    }

    /// A fixed array of C characters up to its zero byte.
    private static func string<Characters>(_ characters: Characters) -> String {
        withUnsafeBytes(of: characters) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    }
}
