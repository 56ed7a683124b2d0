import Base
import CPosix
import Glibc

/// Sends metrics to a statsd (UDP) or a statsite (TCP) in their common line format: what was counted
/// since the last time, and gauges as they are. For one thread, which it may hold for a second.
final class StatsdSender {
    enum Transport { case udp, tcp }

    /// Fits an Ethernet frame with room for tunnels; statsd takes several lines in one packet.
    private static let mostPacketBytes = 1_400

    private let host: String
    private let port: String
    private let transport: Transport
    private let vaultPrefix: String
    /// Part of the names of gauges; empty for none.
    private let hostName: String
    private let log: Log
    private var descriptor: Int32 = -1
    private var isFailing = false
    private var last: [String: (count: Double, sum: Double)] = [:]

    /// - Parameter address: `host:port`, checked.
    init?(_ address: String, _ transport: Transport, vaultPrefix: String, hostName: String, log: Log) {
        guard let (host, port) = hostAndPort(address), !host.isEmpty else { return nil }
        self.host = host
        self.port = String(port)
        self.transport = transport
        self.vaultPrefix = vaultPrefix
        self.hostName = hostName
        self.log = log
    }

    deinit { if descriptor >= 0 { close(descriptor) } }

    /// Sends all that changed. What cannot be sent is lost, as statsd's users expect.
    func send(_ families: [MetricFamily]) {
        let lines = families.flatMap { self.lines($0) }
        guard !lines.isEmpty, connectIfNeeded() else { return }
        var packet: [UInt8] = []
        for line in lines {
            let bytes = Array(line.utf8) + [10]
            if packet.count + bytes.count > Self.mostPacketBytes, !packet.isEmpty {
                guard transmit(packet) else { return }
                packet = []
            }
            packet += bytes
        }
        _ = transmit(packet)
    }

    /// The lines of one metric since the last call.
    func lines(_ family: MetricFamily) -> [String] {
        family.series.compactMap { series in
            var parts = family.parts(vaultPrefix: vaultPrefix)
            if case .gauge = series.value, family.namespace == .vault, !hostName.isEmpty {
                parts.insert(hostName, at: 1)
            }
            let name = (parts + series.labels.map(\.value)).map(Self.clean).joined(separator: ".")
            switch series.value {
            case .gauge(let value): return "\(name):\(metricText(value))|g"
            case .counter(let value):
                let more = since(name, count: value, sum: 0).count
                return more > 0 ? "\(name):\(metricText(more))|c" : nil
            case .summary(let reading), .histogram(let reading):
                let more = since(
                    name, count: Double(reading.count), sum: Double(reading.sumNanoseconds) / 1e6)
                guard more.count > 0 else { return nil }
                // One line for all, with the rate at which it stands for them.
                let mean = metricText(more.sum / more.count)
                return more.count == 1 ? "\(name):\(mean)|ms" : "\(name):\(mean)|ms|@\(1 / more.count)"
            }
        }
    }

    private func since(_ name: String, count: Double, sum: Double) -> (count: Double, sum: Double) {
        let before = last[name] ?? (0, 0)
        last[name] = (count, sum)
        return (count - before.count, sum - before.sum)
    }

    private static func clean(_ part: String) -> String {
        String(part.map { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "-" || $0 == "_") ? $0 : "_" })
    }

    // MARK: The socket

    private func connectIfNeeded() -> Bool {
        if descriptor >= 0 { return true }
        var hints = addrinfo()
        hints.ai_socktype = Int32(transport == .udp ? SOCK_DGRAM.rawValue : SOCK_STREAM.rawValue)
        hints.ai_flags = AI_NUMERICSERV
        var found: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(host, port, &hints, &found) == 0, let place = found else {
            return fail("the name cannot be resolved")
        }
        defer { freeaddrinfo(place) }
        let kind = place.pointee.ai_socktype | Int32(SOCK_CLOEXEC.rawValue)
        let fresh = socket(place.pointee.ai_family, kind, 0)
        guard fresh >= 0 else { return fail(String(cString: strerror(errno))) }
        // Applies to connecting, too: a silent peer must not hold the thread.
        _ = hf_set_send_timeout(fresh, 1)
        guard connect(fresh, place.pointee.ai_addr, place.pointee.ai_addrlen) == 0 else {
            let cause = String(cString: strerror(errno))
            close(fresh)
            return fail(cause)
        }
        descriptor = fresh
        isFailing = false
        return true
    }

    private func transmit(_ packet: [UInt8]) -> Bool {
        var rest = packet[...]
        while !rest.isEmpty {
            let sent = rest.withUnsafeBytes {
                Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            if sent < 0, errno == EINTR { continue }
            // A datagram that nobody takes is refused at the next one; that is no reason to give up.
            if sent < 0, transport == .udp, errno == ECONNREFUSED { return true }
            guard sent > 0 else {
                let cause = String(cString: strerror(errno))
                close(descriptor)
                descriptor = -1
                return fail(cause)
            }
            rest = rest.dropFirst(sent)
        }
        return true
    }

    /// Said once, until it works again.
    private func fail(_ cause: String) -> Bool {
        if !isFailing { log.warn("metrics cannot be sent", ["address": "\(host):\(port)", "cause": cause]) }
        isFailing = true
        return false
    }
}
