import Base
import CPosix
import Foundation
import Glibc
import Synchronization
import TestKit

@testable import Net

/// A handler that does what the path says, and keeps what it is told to park.
final class ScriptedHandler: HTTPHandler {
    final class LoopContext {
        var requests = 0
    }

    let parked = Mutex<[HTTPResponder]>([])
    let streams = Mutex<[HTTPStream]>([])

    func makeLoopContext() -> AnyObject { LoopContext() }

    func handle(_ request: HTTPRequest, _ context: AnyObject, _ responder: HTTPResponder) {
        (context as? LoopContext)?.requests += 1
        let path = String(decoding: request.rawPath, as: UTF8.self)
        switch path {
        case "/park": parked.withLock { $0.append(responder) }
        case "/drop": break
        case "/stream":
            let head = HTTPResponse(status: 200, contentType: "text/plain")
            if let stream = responder.stream(head) { streams.withLock { $0.append(stream) } }
        case "/later":
            DispatchQueue.global().async {
                responder.send(HTTPResponse(status: 200, body: Array("later".utf8)))
            }
        case "/loop":
            responder.loop.post { _ in responder.send(HTTPResponse(status: 200, body: Array("loop".utf8))) }
        case "/twice":
            responder.send(HTTPResponse(status: 200, body: Array("first".utf8)))
            responder.send(HTTPResponse(status: 200, body: Array("second".utf8)))
        case "/empty": responder.send(HTTPResponse(status: 204, contentType: "text/plain", body: [1]))
        case "/inject":
            responder.send(HTTPResponse(status: 200, headers: [("X-A", "b\r\nX-B: c")]))
        case "/big":
            responder.send(
                HTTPResponse(status: 200, body: Array(repeating: UInt8(ascii: "b"), count: 8 << 20)))
        case "/peer":
            let text = "\(request.peer.address) \(request.peer.isTLS) \(request.peer.certificateChain.count)"
            responder.send(HTTPResponse(status: 200, body: Array(text.utf8)))
        case "/size": responder.send(HTTPResponse(status: 200, body: Array("\(request.body.count)".utf8)))
        default:
            let text = "\(request.method.text) \(path) "
            responder.send(
                HTTPResponse(status: 200, contentType: "text/plain", body: Array(text.utf8) + request.body))
        }
    }

    /// Waits until so many requests are parked, and takes their responders.
    func takeParked(_ count: Int) -> [HTTPResponder] {
        var taken: [HTTPResponder] = []
        _ = Patience.sees {
            parked.withLock { parked in
                if parked.count >= count { swap(&taken, &parked) }
            }
            return !taken.isEmpty
        }
        return taken
    }
}

/// A server on a free port of the loopback interface, stopped when the test lets go of it.
final class LiveServer {
    let handler = ScriptedHandler()
    let server: HTTPServer
    let port: Int

    init(
        _ limits: Limits = .standard, tls: TLSConfiguration? = nil, loopCount: Int = 1,
        address: String = "127.0.0.1:0", _ adjust: (inout ListenerConfiguration) -> Void = { _ in }
    ) throws {
        var listener = ListenerConfiguration(address: address, tls: tls)
        adjust(&listener)
        server = try HTTPServer(
            handler: handler, listeners: [listener], limits: limits, loopCount: loopCount,
            log: Log(level: .error))
        port = server.addresses[0].split(separator: ":").last.flatMap { Int($0) } ?? 0
        try server.start()
    }

    deinit { server.stop(graceSeconds: 0) }

    func connect() throws -> Client { try Client(port: port) }
}

/// A blocking client that sends raw bytes.
final class Client {
    struct Answer: Equatable {
        var status: Int
        var head: String
        var body: String
    }
    private let descriptor: Int32
    private var received: [UInt8] = []
    private var isClosed = false

    init(port: Int) throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var place = sockaddr_in()
        place.sin_family = sa_family_t(AF_INET)
        place.sin_port = UInt16(port).bigEndian
        place.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var timeout = timeval(tv_sec: Patience.seconds, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
        let code = withUnsafePointer(to: &place) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { Glibc.connect(descriptor, $0, 16) }
        }
        guard code == 0 else { throw VaultError.internal("cannot connect: \(errno)") }
    }

    deinit { close() }

    func close() {
        // Once only: by now the number may be another test's.
        if !isClosed { Glibc.close(descriptor) }
        isClosed = true
    }

    /// Tells the server that no more will be sent.
    func endSending() { shutdown(descriptor, Int32(SHUT_WR)) }

    @discardableResult
    func send(_ text: String) -> Bool { send(Array(text.utf8)) }

    @discardableResult
    func send(_ bytes: [UInt8]) -> Bool {
        var sent = 0
        while sent < bytes.count {
            let count = bytes[sent...].withUnsafeBytes {
                Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            if count <= 0 { return false }
            sent += count
        }
        return true
    }

    /// The next answer; nil when the connection ends or stays silent.
    func answer(toHead: Bool = false) -> Answer? {
        while true {
            if let end = endOfHead() {
                let head = String(decoding: received[..<end], as: UTF8.self)
                let length = toHead ? 0 : contentLength(head)
                if received.count >= end + length {
                    let body = String(decoding: received[end..<end + length], as: UTF8.self)
                    received.removeFirst(end + length)
                    return Answer(status: Int(head.split(separator: " ")[1]) ?? 0, head: head, body: body)
                }
            }
            if !receive() { return nil }
        }
    }

    /// True when the server ends the connection without another byte.
    func isEnded() -> Bool {
        errno = 0
        return received.isEmpty && !receive() && errno != EAGAIN
    }

    /// Waits until so much of what answers leave over has come, and takes all of it.
    func take(atLeast count: Int) -> String {
        while received.count < count, receive() {}
        defer { received = [] }
        return String(decoding: received, as: UTF8.self)
    }

    private func receive() -> Bool {
        var buffer = [UInt8](repeating: 0, count: 64 << 10)
        let count = recv(descriptor, &buffer, buffer.count, 0)
        if count > 0 { received += buffer[..<count] }
        return count > 0
    }

    private func endOfHead() -> Int? {
        guard received.count >= 4 else { return nil }
        for at in 0...received.count - 4 where received[at] == 13 && received[at + 2] == 13 {
            if received[at + 1] == 10, received[at + 3] == 10 { return at + 4 }
        }
        return nil
    }

    private func contentLength(_ head: String) -> Int {
        for line in head.split(separator: "\r\n") where line.hasPrefix("Content-Length: ") {
            return Int(line.dropFirst(16)) ?? 0
        }
        return 0
    }
}
