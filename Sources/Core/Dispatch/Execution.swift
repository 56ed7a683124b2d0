import Base
import PluginKit
import Synchronization

/// One request on its way, and who waits for its answer.
struct Call: Sendable {
    /// Its path is still the whole path below `/v1/`.
    let request: LogicalRequest
    let token: [UInt8]?
    let active: ActiveCore
    let answer: Dispatcher.Answer
}

/// What running a request came to. A class: it is large, and is handed on several times.
// SAFETY: made and filled by one thread, then handed from one to the next, never shared.
final class Execution: @unchecked Sendable {
    var result: Result<LogicalResponse, VaultError>
    var mount: Mount?
    /// The entry of the token that came along, when it is a good one.
    var bearer: Bearer?
    /// The identity behind that token, when it has one and it is good.
    var identity: Identity?
    /// False for the few routes that also answer while the server is sealed.
    var isAudited = true
    /// Nil when there is nothing to write.
    var writeSet: WriteSet?
    /// Set when the route's handler waits: it is yet to be run.
    var waiting: (handler: AsyncHandler, request: LogicalRequest, completion: Completion)?

    init(result: Result<LogicalResponse, VaultError>, mount: Mount? = nil) {
        self.result = result
        self.mount = mount
    }

    /// The hash of a token whose last use this is: it must be revoked with the request.
    var spent: String? { bearer?.client.isInLastUse == true ? bearer?.hash : nil }

    func audited(_ call: Call) -> AuditedCall {
        AuditedCall(
            request: call.request, token: call.token, bearer: bearer?.entry, mount: mount,
            identityPolicies: identity?.policies ?? [])
    }
}

/// The execution that counts: the first, or the one that the commit thread made after a conflict.
final class LatestExecution: Sendable {
    private let held: Mutex<Execution>

    init(_ first: Execution) { held = Mutex(first) }

    var value: Execution {
        get { held.withLock { $0 } }
        set { held.withLock { $0 = newValue } }
    }
}
