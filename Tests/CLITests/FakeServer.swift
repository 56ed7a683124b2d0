import Glibc
import Synchronization

/// A fake of the server: answers on a loopback port with what a test tells it, and keeps what it was asked.
/// Its bodies are those of the recorded conformance corpus.
final class FakeServer: Sendable {
    struct Request: Sendable {
        var method: String
        var target: String
        var headers: [String: String]
        var body: String
    }
    struct Answer: Sendable {
        var status = 200
        var body = ""
        var headers: [(String, String)] = []
    }

    let port: UInt16
    private let listener: Int32
    private let seen = Mutex<[Request]>([])
    private let answer: @Sendable (Request) -> Answer

    var address: String { "http://127.0.0.1:\(port)" }
    var requests: [Request] { seen.withLock { $0 } }

    init(_ answer: @escaping @Sendable (Request) -> Answer) {
        self.answer = answer
        listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var place = sockaddr_in()
        place.sin_family = sa_family_t(AF_INET)
        place.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let listening = listener
        withUnsafeMutablePointer(to: &place) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
                _ = bind(listening, generic, length)
                _ = listen(listening, 16)
                _ = getsockname(listening, generic, &length)
            }
        }
        port = UInt16(bigEndian: place.sin_port)
    }

    /// Serves until the test lets go of it.
    func start() -> FakeServer {
        var thread = pthread_t()
        let box = Unmanaged.passRetained(Box(self))
        pthread_create(
            &thread, nil,
            { argument in
                guard let argument else { return nil }
                let box = Unmanaged<Box>.fromOpaque(argument).takeRetainedValue()
                let listener = box.listener
                // Closed by nobody else: its number must not be another server's while it is waited on.
                defer { close(listener) }
                while true {
                    let connection = accept(listener, nil, nil)
                    if connection < 0 { return nil }
                    defer { close(connection) }
                    guard let server = box.server else { return nil }
                    server.serve(connection)
                }
            }, box.toOpaque())
        pthread_detach(thread)
        return self
    }

    deinit {
        shutdown(listener, Int32(SHUT_RDWR))
    }

    private final class Box {
        weak var server: FakeServer?
        let listener: Int32
        init(_ server: FakeServer) {
            self.server = server
            listener = server.listener
        }
    }

    /// One request per connection: the client opens another.
    private func serve(_ connection: Int32) {
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65536)
        var head: (text: String, end: Int)?
        var expected = 0
        while true {
            if let head, bytes.count >= head.end + expected { break }
            let count = recv(connection, &chunk, chunk.count, 0)
            if count <= 0 { return }
            bytes.append(contentsOf: chunk[..<count])
            // A TLS hello gets an answer in plain text, as real servers give it.
            if bytes[0] == 0x16 {
                let refusal = Array("HTTP/1.0 400 Bad Request\r\n\r\n".utf8)
                _ = send(connection, refusal, refusal.count, Int32(MSG_NOSIGNAL))
                return
            }
            if head == nil, let end = Self.endOfHead(bytes) {
                let text = String(decoding: bytes[..<end], as: UTF8.self)
                head = (text, end)
                expected = Int(Self.headers(text)["content-length"] ?? "0") ?? 0
            }
        }
        guard let head else { return }
        let words = head.text.prefix { $0 != "\r\n" }.split(separator: " ").map(String.init)
        let request = Request(
            method: words[0], target: words[1], headers: Self.headers(head.text),
            body: String(decoding: bytes[head.end...], as: UTF8.self))
        seen.withLock { $0.append(request) }
        let answer = answer(request)
        var text =
            "HTTP/1.1 \(answer.status) X\r\nContent-Length: \(answer.body.utf8.count)\r\nConnection: close\r\n"
        for (name, value) in answer.headers { text += "\(name): \(value)\r\n" }
        let response = Array((text + "\r\n" + answer.body).utf8)
        _ = send(connection, response, response.count, Int32(MSG_NOSIGNAL))
    }

    private static func endOfHead(_ bytes: [UInt8]) -> Int? {
        guard bytes.count >= 4 else { return nil }
        return (0...bytes.count - 4).first { bytes[$0..<$0 + 4].elementsEqual([13, 10, 13, 10]) }.map {
            $0 + 4
        }
    }

    private static func headers(_ head: String) -> [String: String] {
        var found: [String: String] = [:]
        for line in head.split(separator: "\r\n").dropFirst() {
            guard let colon = line.firstIndex(of: ":") else { continue }
            found[line[..<colon].lowercased()] = String(line[line.index(after: colon)...].drop { $0 == " " })
        }
        return found
    }
}
