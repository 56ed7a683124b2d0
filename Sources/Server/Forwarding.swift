import Base
import Core
package import Net
package import PluginKit

/// Takes a request to another node and brings its answer back. Implemented over the cluster port.
package protocol RequestForwarder: AnyObject, Sendable {
    /// Sends the request as it came, with where it came from.
    /// - Parameters:
    ///   - client: as this node's listener has judged it.
    ///   - done: called once, on any thread. Within two seconds of the node's falling silent, too.
    func forward(
        _ request: HTTPRequest, client: ConnectionInfo, to node: ClusterMember,
        done: @escaping @Sendable (ForwardedAnswer) -> Void)
}

/// What came of a forwarded request.
package enum ForwardedAnswer: Sendable {
    case response(HTTPResponse)
    /// The request was not looked at: it may be sent again, to another node too.
    case notSent
    /// It was sent, and nobody knows whether it took effect.
    case unknown
}

/// What the API front of a node in a cluster does with requests that only the active node can answer: it
/// finds that node, waits for one when there is none, and hands the request over; or says where to go.
final class Forwarding: Sendable {
    private let core: VaultCore
    private let gate: ClusterGate
    private let forwarder: any RequestForwarder

    init(core: VaultCore, gate: ClusterGate, forwarder: any RequestForwarder) {
        self.core = core
        self.gate = gate
        self.forwarder = forwarder
    }

    /// How a request that has to be forwarded ends.
    enum Outcome: Sendable {
        /// The active node's answer.
        case response(HTTPResponse)
        /// This node has become active: the request must be run here.
        case here
        case failure(VaultError)
    }

    /// What a client asks of the cluster; nil for nothing.
    /// - Throws: `.badRequest` for a header that makes no sense.
    static func options(_ request: HTTPRequest) throws(VaultError) -> ClusterOptions? {
        var options = ClusterOptions()
        options.wantsActiveNode = isRedirected(request)
        if let forward = request.header("x-vault-forward"), !forward.isEmpty {
            guard forward == "active-node" else {
                throw .badRequest("X-Vault-Forward: expected active-node")
            }
            options.wantsActiveNode = true
        }
        if let index = request.header("x-vault-index"), !index.isEmpty {
            options.requiredSequence = try CommitIndex(header: index).sequence
        }
        if let inconsistent = request.header("x-vault-inconsistent"), !inconsistent.isEmpty {
            guard ["fail", "forward-active-node"].contains(inconsistent) else {
                throw .badRequest("X-Vault-Inconsistent: expected forward-active-node or fail")
            }
            options.forwardsWhenBehind = inconsistent == "forward-active-node"
        }
        return options == ClusterOptions() ? nil : options
    }

    /// Whether the client is told where the active node is, instead of being forwarded: because it wants to
    /// be, or because it sends a snapshot. That is large, and while it is put in place the nodes may not hear
    /// each other for a while.
    static func isRedirected(_ request: HTTPRequest) -> Bool {
        if request.header("x-vault-no-request-forwarding").map({ !$0.isEmpty }) ?? false { return true }
        guard request.method == .put || request.method == .post else { return false }
        guard request.rawPath.starts(with: snapshotPath) else { return false }
        let ending = request.rawPath.dropFirst(snapshotPath.count)
        return ending.isEmpty || ending.elementsEqual("-force".utf8) || ending.starts(with: "-upload/".utf8)
    }

    private static let snapshotPath = Array("/v1/sys/storage/raft/snapshot".utf8)

    /// Finds the active node and hands the request over. `done` is called once.
    func pass(
        _ request: HTTPRequest, client: ConnectionInfo, done: @escaping @Sendable (Outcome) -> Void
    ) {
        find(request, client, until: gate.deadline(in: ClusterGate.leaderPatience), isRetry: false, done)
    }

    private func find(
        _ request: HTTPRequest, _ client: ConnectionInfo, until deadline: UInt64, isRetry: Bool,
        _ done: @escaping @Sendable (Outcome) -> Void
    ) {
        gate.awaitActive(until: deadline, isRetry: isRetry, isOnDuty: { [core] in core.active?.duty != nil })
        {
            [self] active in
            switch active {
            case .none: done(.failure(Self.noActiveNode))
            case .removed: done(.failure(.removedFromCluster))
            case .this: done(Self.isRedirected(request) ? .failure(Self.noActiveNode) : .here)
            case .other(let node):
                if Self.isRedirected(request) { return done(Self.redirect(request, to: node)) }
                forwarder.forward(request, client: client, to: node) { [self] answer in
                    switch answer {
                    case .response(let response): done(.response(response))
                    case .notSent: find(request, client, until: deadline, isRetry: true, done)
                    case .unknown: done(.failure(.unknownOutcome))
                    }
                }
            }
        }
    }

    private static func redirect(_ request: HTTPRequest, to node: ClusterMember) -> Outcome {
        guard !node.apiAddress.isEmpty else { return .failure(noActiveNode) }
        let location = node.apiAddress + String(decoding: request.rawTarget, as: UTF8.self)
        return .response(HTTPResponse(status: 307, headers: [("Location", location)]))
    }

    private static let noActiveNode = VaultError.unavailable(
        "no active node of the cluster can be reached", retryAfterSeconds: 1)
}
