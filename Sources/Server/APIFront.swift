import Base
import Core
package import Net
package import PluginKit

/// HTTP on one side, logical requests on the other: path, verb, headers and body in; Vault's envelope out.
///
/// Nothing here knows an endpoint; only what is below `/ui/` goes another way. Whatever is wrong with a
/// request is a 4xx that says so; unclean paths are never resolved: a GET without escapes gets a 301 to the
/// clean path, everything else 400.
package final class APIFront: HTTPHandler, ForwardedRequestHandler {
    /// The CORS configuration while there is one that is switched on; asked for each request.
    typealias CORSSource = @Sendable () -> CORSConfig?

    private let dispatcher: Dispatcher
    private let audit: AuditBroker
    private let rateLimiter: RateLimiter
    private let rules: [ListenerRules]
    private let cors: CORSSource
    private let metrics: MetricsPage
    /// Nil where it is switched off.
    private let ui: WebUI?
    /// Nil where the node is alone.
    private let forwarding: Forwarding?
    private let makeContext: @Sendable () -> LoopContext
    private let clock: any Clock
    private let random: any RandomSource
    private let log: Log

    /// - Parameter rules: one for each listener, in the order in which the server has them.
    init(
        dispatcher: Dispatcher, rateLimiter: RateLimiter, audit: AuditBroker, rules: [ListenerRules],
        cors: @escaping CORSSource,
        metrics: MetricsPage, ui: WebUI?, clock: any Clock, random: any RandomSource, log: Log,
        forwarding: Forwarding? = nil, makeContext: @escaping @Sendable () -> LoopContext
    ) {
        self.dispatcher = dispatcher
        self.audit = audit
        self.rateLimiter = rateLimiter
        self.rules = rules
        self.cors = cors
        self.metrics = metrics
        self.ui = ui
        self.forwarding = forwarding
        self.makeContext = makeContext
        self.clock = clock
        self.random = random
        self.log = log
    }

    /// What a loop keeps for itself: its reader of the storage.
    package func makeLoopContext() -> AnyObject { makeContext() }

    /// Answers a request of a client of this node.
    package func handle(_ request: HTTPRequest, _ context: AnyObject, _ responder: HTTPResponder) {
        let rules = rules[min(request.peer.listener, rules.count - 1)]
        if let answer = ui?.answer(request, rules) { return responder.send(answer) }
        var reply = Reply(responder: responder, headers: rules.headers, log: log)
        if let config = cors() {
            switch CORSDecision.decide(request, config) {
            case .proceed(let own): reply.more = own
            case .preflight(let own):
                return responder.send(HTTPResponse(status: 200, headers: rules.headers.of(200, with: own)))
            case .refused(let error): return reply.send(error, id: "")
            }
        }
        guard let context = loopContext(context, responder) else {
            return reply.send(.internal("a loop without its context"), id: "")
        }
        let start = metrics.requests.begin()
        let logical: LogicalRequest
        var refused: LogicalRequest?
        do throws(RequestRefusal) {
            logical = try decode(request, rules, &reply.more, audited: &refused)
        } catch {
            metrics.requests.end(start, type: RequestMetrics.noMount, .read, status: error.status)
            switch error {
            case .redirect(let location):
                return reply.send(ResponseEncoder.redirect(to: location, rules.headers))
            case .error(let error):
                guard let refused else { return reply.send(error, id: "") }
                return dispatcher.recordRefusal(refused, RequestDecoder.token(request), error) { [reply] in
                    reply.send($0, id: refused.id)
                }
            }
        }
        if rules.hasUnauthenticatedMetrics, logical.operation == .read, logical.path == "sys/metrics" {
            metrics.requests.end(start, type: "system", .read, status: 200)
            return answerMetrics(logical, reply)
        }
        serve(Arrival(request: request, logical: logical, start: start, reply: reply), context)
    }

    /// Answers a request that another node has forwarded.
    ///
    /// - Parameters:
    ///   - client: where it came from, as the other node's listener has judged it.
    ///   - notActive: called instead of an answer when this node is not the active one: nothing was done.
    package func handleForwarded(
        _ request: HTTPRequest, client: ConnectionInfo, _ context: AnyObject, _ responder: HTTPResponder,
        notActive: @escaping @Sendable () -> Void
    ) {
        // The headers of a listener are added where the client is.
        let reply = Reply(responder: responder, headers: .bare, log: log)
        guard let context = loopContext(context, responder) else {
            return reply.send(.internal("a loop without its context"), id: "")
        }
        let start = metrics.requests.begin()
        do throws(RequestRefusal) {
            let limits = rules.first?.limits ?? .standard
            var logical = try RequestDecoder.decode(
                request, from: client, limits: limits, id: random.uuid(), now: clock.now(),
                isRaw: dispatcher.takesRawBody)
            try complete(&logical, request, limits)
            serve(
                Arrival(
                    request: request, logical: logical, start: start, reply: reply, notActive: notActive),
                context)
        } catch {
            metrics.requests.end(start, type: RequestMetrics.noMount, .read, status: error.status)
            switch error {
            case .redirect(let location): reply.send(ResponseEncoder.redirect(to: location, .bare))
            case .error(let error): reply.send(error, id: "")
            }
        }
    }

    /// The loop's context, which knows its loop from its first request on.
    private func loopContext(_ context: AnyObject, _ responder: HTTPResponder) -> LoopContext? {
        guard let context = context as? LoopContext else { return nil }
        if forwarding != nil, context.post == nil {
            let loop = responder.loop
            context.post = { work in
                loop.post { context in if let context = context as? LoopContext { work(context) } }
            }
        }
        return context
    }

    /// A request that has been understood, and the way back.
    private final class Arrival: Sendable {
        let request: HTTPRequest
        let logical: LogicalRequest
        let start: UInt64
        let reply: Reply
        /// Set when another node has sent it.
        let notActive: (@Sendable () -> Void)?

        init(
            request: HTTPRequest, logical: LogicalRequest, start: UInt64, reply: Reply,
            notActive: (@Sendable () -> Void)? = nil
        ) {
            self.request = request
            self.logical = logical
            self.start = start
            self.reply = reply
            self.notActive = notActive
        }
    }

    private func serve(_ arrival: Arrival, _ context: LoopContext) {
        let token = RequestDecoder.token(arrival.request)
        dispatcher.dispatch(arrival.logical, token: token, context: context) { [self] outcome, mount in
            switch outcome {
            case .success(let response): answer(response, mount, arrival)
            case .failure(let error): answer(error, mount, arrival)
            case .forward: forward(arrival)
            }
        }
    }

    private func answer(_ response: LogicalResponse, _ mount: Mount?, _ arrival: Arrival) {
        let type = mount?.entry.type ?? ""
        var status = 200
        var isLogin = false
        if let stream = response.stream {
            arrival.reply.begin(stream)
        } else {
            let encoded = ResponseEncoder.encode(
                response, id: arrival.logical.id, mountType: type, arrival.reply.headers)
            status = encoded.status
            isLogin = response.auth != nil && mount?.entry.kind == .auth && type != "token"
            arrival.reply.send(encoded)
        }
        metrics.requests.end(
            arrival.start, type: type, arrival.logical.operation, status: status, isLogin: isLogin)
    }

    private func answer(_ error: VaultError, _ mount: Mount?, _ arrival: Arrival) {
        arrival.reply.send(error, id: arrival.logical.id)
        metrics.requests.end(
            arrival.start, type: mount?.entry.type ?? "", arrival.logical.operation, status: error.status)
    }

    private func forward(_ arrival: Arrival) {
        if let notActive = arrival.notActive { return notActive() }
        guard let forwarding else { return answer(.standby, nil, arrival) }
        let loop = arrival.reply.responder.loop
        forwarding.pass(arrival.request, client: arrival.logical.connection) { [self] outcome in
            switch outcome {
            case .failure(let error): answer(error, nil, arrival)
            case .here:
                loop.post { [self] context in
                    if let context = context as? LoopContext { serve(arrival, context) }
                }
            case .response(var response):
                response.headers = arrival.reply.headers.of(response.status, with: response.headers)
                arrival.reply.send(response)
                metrics.requests.end(
                    arrival.start, type: RequestMetrics.noMount, arrival.logical.operation,
                    status: response.status)
            }
        }
    }

    /// Where the listener says so, metrics need no token, sealed or not.
    private func answerMetrics(_ request: LogicalRequest, _ reply: Reply) {
        do throws(VaultError) {
            var format = ""
            if case .text(let text)? = request.input("format") { format = text }
            reply.send(ResponseEncoder.raw(try metrics.render(format: format).get(), reply.headers))
        } catch { reply.send(error, id: request.id) }
    }

    /// - Parameters:
    ///   - more: gets the headers that a quota adds to the answer.
    ///   - audited: gets a request that a quota refused, when that is audited.
    private func decode(
        _ request: HTTPRequest, _ rules: ListenerRules, _ more: inout [ResponseHeaders.Field],
        audited: inout LogicalRequest?
    ) throws(RequestRefusal) -> LogicalRequest {
        let client: ConnectionInfo
        do throws(VaultError) { client = try rules.admit(request) } catch { throw .error(error) }
        var logical = try RequestDecoder.decode(
            request, from: client, limits: rules.limits, id: random.uuid(), now: clock.now(),
            isRaw: dispatcher.takesRawBody
        ) { (asked) throws(VaultError) in
            guard let verdict = rateLimiter.judge(path: asked.path, client: client.remoteAddress) else {
                return
            }
            if verdict.isShown {
                more.append(("X-Ratelimit-Limit", String(verdict.limit)))
                more.append(("X-Ratelimit-Remaining", String(verdict.remaining)))
                let reset = clock.now().seconds + Int64(verdict.retryAfterSeconds)
                more.append(("X-Ratelimit-Reset", String(reset)))
            }
            if verdict.isAllowed { return }
            more.append(("Retry-After", String(verdict.retryAfterSeconds)))
            if verdict.isAudited { audited = asked }
            throw .tooManyRequests("request path \"\(asked.path)\": rate limit quota exceeded")
        }
        try complete(&logical, request, rules.limits)
        return logical
    }

    /// Adds the headers that the request's mount, the audit devices and the cluster want to see.
    private func complete(
        _ logical: inout LogicalRequest, _ request: HTTPRequest, _ limits: Limits
    ) throws(RequestRefusal) {
        logical.timeLimit = .seconds(limits.requestSeconds)
        logical.headers = RequestDecoder.passed(request, dispatcher.requestHeaders(for: logical.path))
        logical.auditedHeaders = RequestDecoder.headers(request, audit.headerNames)
        guard forwarding != nil else { return }
        do throws(VaultError) { logical.cluster = try Forwarding.options(request) } catch {
            throw .error(error)
        }
    }
}

/// The way back for one request, with the headers that its answer carries besides.
private struct Reply: Sendable {
    let responder: HTTPResponder
    let headers: ResponseHeaders
    let log: Log
    /// Those of this request alone: CORS.
    var more: [ResponseHeaders.Field] = []

    func send(_ response: HTTPResponse) {
        if more.isEmpty { return responder.send(response) }
        var response = response
        response.headers += more
        responder.send(response)
    }

    func begin(_ answer: StreamedAnswer) {
        let head = HTTPResponse(
            status: 200, contentType: answer.contentType, headers: headers.of(200) + more)
        if let stream = responder.stream(head) { answer.start(stream) }
    }

    func send(_ error: VaultError, id: String) { send(ResponseEncoder.error(error, id: id, log, headers)) }
}

extension HTTPStream: ByteStream {}

/// Why a request does not reach the core.
enum RequestRefusal: Error {
    case redirect(String)
    case error(VaultError)

    var status: Int {
        switch self {
        case .redirect: 301
        case .error(let error): error.status
        }
    }
}
