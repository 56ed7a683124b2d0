package import Base
package import PluginKit

/// The order of all checks between a parsed request and its answer.
///
/// A request is executed over a consistent view, on the I/O thread that read it. When it wants nothing
/// written it is answered at once; else its writes go to the commit thread, which executes it once more
/// if what it read has changed, and the answer is sent when they are durable. Handlers that wait for the
/// outside run as tasks. What a request costs a limited token (a use) is kept even when it fails.
///
/// Nothing is committed or answered that no audit device has recorded, when there are any: request and
/// response before a handler's writes are committed; the request before a handler that waits is run. The
/// last response record of a request is that of its answer, for it may be run again, or fail to commit.
package final class Dispatcher: Sendable {
    /// Gets what became of a request, once, and the mount that served it.
    package typealias Answer = @Sendable (Outcome, Mount?) -> Void

    private let active: @Sendable () -> ActiveCore?
    /// Nil where the node is alone: then nothing is confirmed or forwarded, and nothing is paid for it.
    private let gate: ClusterGate?
    let systemRoutes: RouteTable
    private let mounts: MountRegistry
    private let log: Log
    private let inFlight: InFlightRequests

    package init(
        systemRoutes: RouteTable, mounts: MountRegistry, inFlight: InFlightRequests = InFlightRequests(),
        log: Log,
        gate: ClusterGate? = nil, active: @escaping @Sendable () -> ActiveCore?
    ) {
        self.systemRoutes = systemRoutes
        self.mounts = mounts
        self.gate = gate
        self.inFlight = inFlight
        self.log = log
        self.active = active
    }

    /// Runs a request whose `path` is still the whole path below `/v1/`. `answer` is called once, here or on
    /// another thread.
    package func dispatch(
        _ request: LogicalRequest, token: [UInt8]?, context: LoopContext, answer: @escaping Answer
    ) {
        guard let active = active() else { return dispatchSealed(request, token: token, answer: answer) }
        if let gate {
            let call = Call(request: request, token: token, active: active, answer: answer)
            return dispatch(call, in: context, behind: gate)
        }
        let execution: Execution
        do throws(VaultError) {
            let view = try context.begin(active)
            execution = execute(request, token: token, over: view, active, context.tokens)
            context.release()
        } catch { return answer(.failure(error), nil) }
        if isDone(execution, active) { return answer(Outcome(execution.result), execution.mount) }
        finish(execution, tracked(Call(request: request, token: token, active: active, answer: answer)))
    }

    /// Whether nothing is left to do but to answer.
    func isDone(_ execution: Execution, _ active: ActiveCore) -> Bool {
        execution.writeSet == nil && execution.waiting == nil && !isRecorded(execution, active)
    }

    /// Audits a request that was refused before it was looked at, then gives the answer.
    package func recordRefusal(
        _ request: LogicalRequest, _ token: [UInt8]?, _ error: VaultError,
        answer: @escaping @Sendable (VaultError) -> Void
    ) {
        guard let active = active(), active.audit.isEnabled else { return answer(error) }
        let call = AuditedCall(
            request: request, token: token, bearer: nil,
            mount: active.mounts.current.mount(for: request.path))
        active.audit.record(.both(.failure(error)), of: call) { refusal in answer(refusal ?? error) }
    }

    /// Whether the body of a write to this path is taken as it is.
    package func takesRawBody(_ path: String) -> Bool {
        guard path.hasPrefix("sys/"),
            case .found(let route, _) = systemRoutes.match(.update, String(path.dropFirst(4)))
        else { return false }
        return route.description.traits.contains(.rawBody)
    }

    /// The names, in lower case, of the headers that the mount of this path asked for.
    package func requestHeaders(for path: String) -> [String] {
        mounts.requestHeaders(for: path)
    }

    /// The same call, listed among those in flight until it is answered.
    func tracked(_ call: Call) -> Call {
        let ticket = inFlight.begin(call.request)
        return Call(request: call.request, token: call.token, active: call.active) {
            [inFlight] result, mount in
            inFlight.end(ticket)
            call.answer(result, mount)
        }
    }

    // MARK: Sealed

    /// While sealed, only the few routes answer that unsealing needs.
    private func dispatchSealed(_ request: LogicalRequest, token: [UInt8]?, answer: @escaping Answer) {
        guard request.path.hasPrefix("sys/") else { return answer(.failure(Self.sealedError(token)), nil) }
        let path = String(request.path.dropFirst(4))
        switch systemRoutes.match(request.operation, path) {
        case .found(let route, let parameters) where route.description.traits.contains(.whileSealed):
            var request = request
            request.mountPath = "sys/"
            request.path = path
            request.parameters = parameters
            switch route.action {
            case .sync(let handler):
                var tx = Transaction(view: SealedView())
                answer(Outcome(Self.run(handler, request, &tx) { response, _ in response }), nil)
            case .async(let handler):
                startTask(handler, request, SealedTransactions(), nil) { answer(Outcome($0), nil) }
            }
        case .wrongOperation where answersWhileSealed(path): answer(.failure(.methodNotAllowed), nil)
        default: answer(.failure(Self.sealedError(token)), nil)
        }
    }

    private static func sealedError(_ token: [UInt8]?) -> VaultError {
        token == nil
            ? .sealed : .unavailable("error performing token check: Vault is sealed", retryAfterSeconds: 0)
    }

    /// Whether some operation on a `sys/` path is one of those that need neither token nor storage.
    private func answersWhileSealed(_ path: String) -> Bool {
        systemRoutes.routes.contains {
            $0.description.traits.contains(.whileSealed)
                && $0.description.pattern.match(path, isList: false) != nil
        }
    }

    private static func answersWhileSealed(_ match: RouteTable.Match) -> Bool {
        if case .found(let route, _) = match {
            route.description.traits.contains(.whileSealed)
        } else {
            false
        }
    }

    // MARK: Unsealed

    /// Routes, authenticates, authorises and runs. Touches nothing but the view.
    func execute(
        _ request: LogicalRequest, token: [UInt8]?, over view: any StorageView, _ active: ActiveCore,
        _ tokens: TokenCache? = nil
    ) -> Execution {
        var checks = Transaction(view: view)
        // The routing came from a cache: the outcome depends on the record behind it.
        checks.log.noteRead(MountRegistry.recordKey)
        let execution = Execution(result: .failure(.unsupportedPath))
        do throws(VaultError) {
            var request = request
            let fullPath = request.path
            let target = Self.route(&request, active.mounts.current)
            execution.mount = target.mount
            execution.isAudited = !Self.answersWhileSealed(target.match)
            if case .wrongOperation = target.match, target.mount?.apiPath == "sys/",
                answersWhileSealed(request.path)
            {
                throw .methodNotAllowed
            }
            let scope = target.mount?.storagePrefix ?? ""
            let gate = Gate(active: active, tokens: tokens, fullPath: fullPath, storagePrefix: scope)
            request.client = try gate.admit(
                request, token: token, target.match, &checks, for: execution)
            if let token, Self.seesToken(target) {
                request.clientToken = SecretBytes(copying: token)
            }
            guard let mount = target.mount else { throw .noHandler(path: fullPath) }
            switch target.match {
            case _ where request.operation == .help:
                execution.result = .success(try PathHelp.answer(mount, request.path, fullPath))
                try finishChecks(execution, request.now, active, &checks)
            case .none: throw .unsupportedPath
            case .wrongOperation: throw .unsupportedOperation
            case .found(let route, _):
                switch route.action {
                case .async(let handler):
                    let completion = Completion(
                        active: active, mount: mount, fullPath: fullPath, request: request)
                    execution.waiting = (handler, request, completion)
                    try finishChecks(execution, request.now, active, &checks)
                case .sync(let handler):
                    // A failing handler must not leave half of its writes beside the use that was counted.
                    let counted = checks.log.hasWrites
                    var tx =
                        counted
                        ? Transaction(
                            view: OverlayView(base: view, writes: checks.log.writes),
                            prefix: mount.storagePrefix)
                        : checks.scoped(to: mount.storagePrefix)
                    execution.result = Self.run(handler, request, &tx) {
                        (response, root) throws(VaultError) in
                        try Completion(active: active, mount: mount, fullPath: fullPath, request: request)
                            .apply(response, &root)
                    }
                    if case .success = execution.result, execution.spent != nil {
                        var root = tx.scoped(to: "")
                        try retire(execution.spent, request.now, active, &root)
                    } else {
                        try retire(execution.spent, request.now, active, &checks)
                    }
                    execution.writeSet = Self.combine(checks.log, tx.log, execution.result)
                }
            }
        } catch {
            execution.result = .failure(error)
            try? finishChecks(execution, request.now, active, &checks)
        }
        return execution
    }

    /// What the checks alone want written: the use of a limited token.
    private func finishChecks(
        _ execution: Execution, _ now: Timestamp, _ active: ActiveCore, _ checks: inout Transaction
    ) throws(VaultError) {
        defer { if checks.log.hasWrites { execution.writeSet = checks.log.writeSet } }
        try retire(execution.spent, now, active, &checks)
    }

    private static func seesToken(_ target: (mount: Mount?, match: RouteTable.Match)) -> Bool {
        if target.mount?.apiPath == "auth/token/" { return true }
        guard case .found(let route, _) = target.match else { return false }
        return target.mount?.apiPath == "sys/" && route.description.traits.contains(.wrappingToken)
    }

    /// A token goes with its last use, in the same commit.
    private func retire(
        _ hash: String?, _ now: Timestamp, _ active: ActiveCore, _ tx: inout Transaction
    ) throws(VaultError) {
        if let hash { try active.tokens.revoke(&tx, hash: hash, now: now) }
    }

    /// Finds mount and route, and turns the request's path into the one below the mount.
    private static func route(
        _ request: inout LogicalRequest, _ table: MountTable
    ) -> (mount: Mount?, match: RouteTable.Match) {
        guard let mount = table.mount(for: request.path) else { return (nil, .none) }
        request.mountPath = mount.apiPath
        request.path = String(request.path.utf8.dropFirst(mount.apiPath.utf8.count)) ?? ""
        let match = mount.routes.match(request.operation, request.path)
        if case .found(_, let parameters) = match { request.parameters = parameters }
        return (mount, match)
    }

    private static func run(
        _ handler: SyncHandler, _ request: LogicalRequest, _ tx: inout Transaction,
        complete: (LogicalResponse, inout Transaction) throws(VaultError) -> LogicalResponse
    ) -> Result<LogicalResponse, VaultError> {
        do throws(VaultError) {
            let response = try handler(request, &tx)
            guard Completion.isNeeded(response, for: request) else { return .success(response) }
            var root = tx.scoped(to: "")
            return .success(try complete(response, &root))
        } catch { return .failure(error) }
    }

    private static func combine(
        _ checks: TransactionLog, _ own: TransactionLog, _ result: Result<LogicalResponse, VaultError>
    ) -> WriteSet? {
        if checks === own {
            if case .failure = result { return nil }
            return own.hasWrites ? own.writeSet : nil
        }
        guard case .success = result, own.hasWrites else { return checks.writeSet }
        return WriteSet(
            sequence: checks.sequence, readKeys: checks.readKeys + own.readKeys,
            listedPrefixes: checks.listedPrefixes + own.listedPrefixes,
            writes: checks.writes.merging(own.writes) { _, later in later })
    }

    // MARK: Finishing

    func isRecorded(_ execution: Execution, _ active: ActiveCore) -> Bool {
        active.audit.isEnabled && execution.isAudited
    }

    func finish(_ execution: Execution, _ call: Call) {
        guard isRecorded(execution, call.active) else { return commit(execution, call) }
        let stage: AuditStage = execution.waiting == nil ? .both(execution.result) : .request
        call.active.audit.record(stage, of: execution.audited(call)) { [self] refusal in
            if let refusal { return call.answer(.failure(refusal), execution.mount) }
            commit(execution, call)
        }
    }

    private func commit(_ execution: Execution, _ call: Call) {
        guard let writeSet = execution.writeSet else { return deliver(execution, call) }
        let latest = LatestExecution(execution)
        call.active.commits.submit(
            CommitThread.Job(
                writeSet: writeSet, isConfirmed: gate != nil,
                run: { [self] view in
                    let again = execute(call.request, token: call.token, over: view, call.active)
                    latest.value = recorded(again, call)
                    return latest.value.writeSet
                },
                done: { [self] failure in
                    let last = latest.value
                    switch failure {
                    case nil: deliver(last, call)
                    case .standby?: handBack(last, call)
                    case let failure?: respond(.failure(failure), last, call)
                    }
                }))
    }

    /// Records what a second run came to. It counts only when that is possible.
    private func recorded(_ execution: Execution, _ call: Call) -> Execution {
        guard execution.waiting == nil, isRecorded(execution, call.active),
            let refusal = call.active.audit.recordBlocking(
                .response(execution.result), of: execution.audited(call))
        else { return execution }
        return Execution(result: .failure(refusal), mount: execution.mount)
    }

    private func deliver(_ execution: Execution, _ call: Call) {
        guard let waiting = execution.waiting else {
            return call.answer(stamped(execution, call), execution.mount)
        }
        let transactions = CommitTransactions(
            call.active.commits, prefix: execution.mount?.storagePrefix ?? "")
        startTask(waiting.handler, waiting.request, transactions, waiting.completion) { [self] result in
            if case .failure(.standby) = result, systemTraits(call.request)?.contains(.handsOver) == true {
                return handBack(execution, call)
            }
            respond(result, execution, call)
        }
    }

    /// This node's duty has ended before anything was done: the request belongs to the next active node. Here
    /// it is recorded as refused.
    private func handBack(_ execution: Execution, _ call: Call) {
        let answer = call.answer
        let mount = execution.mount
        guard isRecorded(execution, call.active) else { return answer(.forward, mount) }
        call.active.audit.record(.response(.failure(.standby)), of: execution.audited(call)) { _ in
            answer(.forward, mount)
        }
    }

    /// In a cluster, the answer to a write tells its commit.
    private func stamped(_ execution: Execution, _ call: Call) -> Outcome {
        guard gate != nil, execution.writeSet != nil, case .success(var response) = execution.result else {
            return Outcome(execution.result)
        }
        let sequence = call.active.commits.sequence
        if sequence > 0 { response.headers.append(CommitIndex(sequence).header(call.active.cluster)) }
        return .success(response)
    }

    /// Records and answers what came after the request's first records.
    private func respond(
        _ result: Result<LogicalResponse, VaultError>, _ execution: Execution, _ call: Call
    ) {
        guard isRecorded(execution, call.active) else {
            return call.answer(Outcome(unlessSealed(result, call)), execution.mount)
        }
        call.active.audit.record(.response(result), of: execution.audited(call)) { refusal in
            call.answer(refusal.map { .failure($0) } ?? Outcome(result), execution.mount)
        }
    }

    /// Sealing has closed the audit devices: from then on only an answer that says nothing goes out.
    private func unlessSealed(
        _ result: Result<LogicalResponse, VaultError>, _ call: Call
    ) -> Result<LogicalResponse, VaultError> {
        guard case .success(let response) = result, active() !== call.active else { return result }
        let isSilent =
            response.data == nil && response.auth == nil && response.raw == nil && response.wrapInfo == nil
        return isSilent ? result : .failure(.sealed)
    }

    private func startTask(
        _ handler: @escaping AsyncHandler, _ request: LogicalRequest, _ transactions: any Transactions,
        _ completion: Completion?, _ done: @escaping @Sendable (Result<LogicalResponse, VaultError>) -> Void
    ) {
        // The tasks of the group run where this one does.
        Task.detached(executorPreference: ServerExecutor.shared) {
            await withTaskGroup(of: Void.self) { group in
                group.addTask {
                    do throws(VaultError) {
                        done(.success(try await Self.complete(handler, request, transactions, completion)))
                    } catch {
                        done(.failure(error))
                    }
                }
                if let limit = request.timeLimit { group.addTask { try? await Task.sleep(for: limit) } }
                _ = await group.next()
                group.cancelAll()
            }
        }
    }

    /// A handler that is late has lost its client: what it made for it is given back, and nothing is minted.
    private static func complete(
        _ handler: AsyncHandler, _ request: LogicalRequest, _ transactions: any Transactions,
        _ completion: Completion?
    ) async throws(VaultError) -> LogicalResponse {
        let response = try await handler(request, transactions)
        guard let completion else { return response }
        if Task.isCancelled {
            await completion.discard(response)
            throw .unavailable("the request took longer than this listener allows", retryAfterSeconds: 0)
        }
        return try await completion.apply(response)
    }
}

/// For handlers that run while there is no storage to reach.
private struct SealedTransactions: Transactions {
    func run<Result: Sendable>(
        _ body: @escaping @Sendable (inout Transaction) throws(VaultError) -> Result
    ) async throws(VaultError) -> Result { throw .sealed }
}
