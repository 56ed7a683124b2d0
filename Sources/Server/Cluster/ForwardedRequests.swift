import Base
package import Net
package import PluginKit
import Synchronization

/// What answers forwarded requests: the HTTP front.
package protocol ForwardedRequestHandler: Sendable {
    /// Answers `request` through `responder`, now or later, on the thread of the loop that `context` belongs
    /// to.
    /// - Parameters:
    ///   - client: who asks, as the standby's listener found it.
    ///   - notActive: to be called instead when this node is not the active one and nothing has been done.
    func handleForwarded(
        _ request: HTTPRequest, client: ConnectionInfo, _ context: AnyObject, _ responder: HTTPResponder,
        notActive: @escaping @Sendable () -> Void)
}

/// The active node's end of one forwarding connection: hands each request to one of the HTTP front's loops,
/// and the answers back.
final class ForwardedRequests: PeerLinkHandler {
    /// Requests of one connection that may be answered at once, and the bytes of their bodies.
    private static let mostRequests = 4_096
    private static let mostBytes = Limits.standard.bodyBytesInFlight + 1 << 20

    private let link: PeerLink
    private let guest: PeerGuest
    private let loops: [EventLoop]
    private let handler: any ForwardedRequestHandler
    private let load = Load()
    private var nextLoop = 0

    /// What is being answered, over all threads.
    private final class Load: Sendable {
        let requests = Atomic<Int>(0)
        let bytes = Atomic<Int>(0)
    }

    init(_ guest: PeerGuest, loops: [EventLoop], handler: any ForwardedRequestHandler) {
        self.guest = guest
        link = guest.link
        self.loops = loops
        self.handler = handler
    }

    func received(_ frame: [UInt8]) {
        guard case .request(let id, let request)? = ForwardFrame(frame) else { return link.close() }
        if guest.hasLeft {
            _ = link.send(ForwardFrame.refused(id: id).encoded)
            return
        }
        let size = request.head.count + request.body.count
        guard load.requests.load(ordering: .relaxed) < Self.mostRequests,
            load.bytes.load(ordering: .relaxed) + size <= Self.mostBytes
        else { return refuse(id, 503, "too many requests are being forwarded") }
        guard let http = request.httpRequest() else {
            return refuse(id, 400, "the forwarded request cannot be read")
        }
        let answer = Answer(bytes: size, link: link, load: load)
        nextLoop = (nextLoop + 1) % loops.count
        let loop = loops[nextLoop]
        let responder = HTTPResponder(loop: loop) { answer.send(.response(id: id, $0)) }
        loop.post { [handler, client = request.client] context in
            handler.handleForwarded(http, client: client, context, responder) {
                answer.send(.refused(id: id))
            }
        }
    }

    func drained() {}
    func closed(_ reason: String) {}

    private func refuse(_ id: UInt64, _ status: Int, _ reason: String) {
        let response = HTTPResponse(
            status: status, contentType: "application/json",
            headers: status == 503 ? [("Retry-After", "1")] : [],
            body: Array("{\"errors\":[\"\(reason)\"]}\n".utf8))
        _ = link.send(ForwardFrame.response(id: id, response).encoded)
    }

    /// The way back of one request: whoever comes first answers it.
    private final class Answer: Sendable {
        private let bytes: Int
        private let link: PeerLink
        private let load: Load
        private let isSent = Atomic<Bool>(false)

        init(bytes: Int, link: PeerLink, load: Load) {
            self.bytes = bytes
            self.link = link
            self.load = load
            load.requests.add(1, ordering: .relaxed)
            load.bytes.add(bytes, ordering: .relaxed)
        }

        deinit {
            load.requests.subtract(1, ordering: .relaxed)
            load.bytes.subtract(bytes, ordering: .relaxed)
        }

        func send(_ frame: ForwardFrame) {
            guard !isSent.exchange(true, ordering: .acquiringAndReleasing) else { return }
            // An answer that cannot be taken ends the connection: the other end would wait for ever.
            if !link.send(frame.encoded) { link.close() }
        }
    }
}
