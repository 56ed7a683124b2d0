import Foundation
import Synchronization

/// The other end of a socket: takes what comes and keeps it as records.
final class Receiver: Sendable {
    private struct State {
        var port = 0
        var bytes: [UInt8] = []
        var isStopping = false
        var threads = 0
    }
    private let state = Mutex(State())
    private let path: String?
    private let isStream: Bool

    /// - Parameter path: of a unix socket; nil for a TCP port.
    init(path: String?, isStream: Bool) {
        self.path = path
        self.isStream = isStream
    }

    var port: Int { state.withLock { $0.port } }

    var records: [String] {
        state.withLock { $0.bytes }.split(separator: 10).map { String(decoding: $0, as: UTF8.self) }
    }

    struct Failure: Error {}

    func start() throws {
        let kind = Int32(isStream ? SOCK_STREAM.rawValue : SOCK_DGRAM.rawValue)
        let socket = Glibc.socket(path == nil ? AF_INET : AF_UNIX, kind, 0)
        guard socket >= 0, try bind(socket) == 0 else { throw Failure() }
        if isStream, listen(socket, 8) != 0 { throw Failure() }
        state.withLock {
            $0.bytes = []
            $0.threads += 1
        }
        Thread.detachNewThread { [self] in
            if isStream { accept(socket) } else { receive(socket) }
            state.withLock { $0.threads -= 1 }
        }
    }

    /// Ends every thread and connection.
    func stop() {
        state.withLock { $0.isStopping = true }
        while state.withLock({ $0.threads > 0 }) { usleep(1_000) }
        if let path { unlink(path) }
        state.withLock { $0.isStopping = false }
    }

    /// Waits until something can be read; false when it shall end.
    private func isReady(_ socket: Int32) -> Bool {
        var item = pollfd(fd: socket, events: Int16(POLLIN), revents: 0)
        while !state.withLock({ $0.isStopping }) {
            if poll(&item, 1, 10) > 0 { return true }
        }
        return false
    }

    private func bind(_ socket: Int32) throws -> Int32 {
        guard let path else { return bindPort(socket) }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        return withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.bind(socket, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
    }

    /// The port that the kernel gave first is kept for good.
    private func bindPort(_ socket: Int32) -> Int32 {
        var yes: Int32 = 1
        setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, 4)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(port).bigEndian
        address.sin_addr.s_addr = in_addr_t(0x7F00_0001).bigEndian
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let status = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
                let status = Glibc.bind(socket, pointer, size)
                if status == 0 { getsockname(socket, pointer, &size) }
                return status
            }
        }
        let given = Int(in_port_t(bigEndian: address.sin_port))
        state.withLock { $0.port = given }
        return status
    }

    private func accept(_ socket: Int32) {
        defer { close(socket) }
        while isReady(socket) {
            let connection = Glibc.accept(socket, nil, nil)
            if connection < 0 { continue }
            state.withLock { $0.threads += 1 }
            Thread.detachNewThread { [self] in
                receive(connection)
                state.withLock { $0.threads -= 1 }
            }
        }
    }

    private func receive(_ socket: Int32) {
        defer { close(socket) }
        var buffer = [UInt8](repeating: 0, count: 1 << 18)
        while isReady(socket) {
            let count = recv(socket, &buffer, buffer.count, 0)
            if count <= 0 { return }
            state.withLock { state in
                state.bytes.append(contentsOf: buffer[..<count])
                // A datagram is one record, with or without a line feed.
                if !isStream, state.bytes.last != 10 { state.bytes.append(10) }
            }
        }
    }
}
