import Barrier
import Base
import PluginKit

/// The order of checks where the node is one of several: what is answered here, what waits for a read index,
/// and what the active node must do.
///
/// A request that reads waits for a read index, and is then run over the local view, on any node. One that
/// writes is run at once on the active node, for its commit confirms it; where it comes to no commit, it is
/// run again behind a read index, for a refusal is an answer, too. Everything that a standby must not do is
/// forwarded whole, before anything of it was recorded.
extension Dispatcher {
    private enum Place {
        /// Needs nothing of storage.
        case here
        /// Behind a read index, whatever this node is.
        case thisNode
        /// Behind a read index; what it wants written is the active node's to do.
        case confirmed
        /// A write on the active node.
        case commit
        case forward
    }

    func dispatch(_ call: Call, in context: LoopContext, behind gate: ClusterGate) {
        switch place(of: call) {
        case .here: run(call, context, isHere: true)
        case .forward: forward(call)
        case .thisNode: confirm(call, context, gate, isHere: true)
        case .confirmed: confirm(call, context, gate, isHere: false)
        case .commit:
            let execution: Execution
            do throws(VaultError) { execution = try executed(call, context) } catch {
                return call.answer(.failure(error), nil)
            }
            guard execution.writeSet != nil, execution.waiting == nil else {
                return confirm(call, context, gate, isHere: false)
            }
            finish(execution, tracked(call))
        }
    }

    private func place(of call: Call) -> Place {
        let request = call.request
        let isStandby = call.active.duty == nil
        if let traits = systemTraits(request) {
            if traits.contains(.whileSealed) { return .here }
            if traits.contains(.thisNode) { return .thisNode }
            if traits.contains(.onActive), isStandby { return .forward }
        }
        if isStandby, request.cluster?.wantsActiveNode == true { return .forward }
        switch request.operation {
        case .read, .list, .help: return .confirmed
        case .create, .update, .patch, .delete: return isStandby ? .forward : .commit
        }
    }

    /// Nil for what is no route of `sys/`: the others all rest on storage alone.
    func systemTraits(_ request: LogicalRequest) -> RouteTraits? {
        guard request.path.utf8.starts(with: "sys/".utf8), request.operation != .help else { return nil }
        guard
            case .found(let route, _) = systemRoutes.match(
                request.operation, String(request.path.utf8.dropFirst(4)) ?? "")
        else { return nil }
        return route.description.traits
    }

    private func executed(_ call: Call, _ context: LoopContext) throws(VaultError) -> Execution {
        let view = try context.begin(call.active)
        defer { context.release() }
        return execute(call.request, token: call.token, over: view, call.active, context.tokens)
    }

    private func confirm(_ call: Call, _ context: LoopContext, _ gate: ClusterGate, isHere: Bool) {
        let call = tracked(call)
        context.whenConfirmed(by: gate) { [self] context, failure in
            if let failure { return call.answer(.failure(failure), nil) }
            run(call, context, isHere: isHere)
        }
    }

    /// Runs a request over the local view, which is new enough.
    private func run(_ call: Call, _ context: LoopContext, isHere: Bool) {
        let execution: Execution
        do throws(VaultError) {
            if let behind = try lag(call, context) { return call.answer(behind, nil) }
            execution = try executed(call, context)
        } catch { return call.answer(.failure(error), nil) }
        if isDone(execution, call.active) {
            return call.answer(Outcome(execution.result), execution.mount)
        }
        if call.active.duty == nil {
            // The use of a limited token cannot be counted here; and the active node is not the one meant.
            if isHere, execution.writeSet != nil { return call.answer(.failure(.standby), nil) }
            if !isHere, execution.writeSet != nil || execution.waiting != nil { return forward(call) }
        }
        finish(execution, call)
    }

    /// What to do instead, when the client has seen a commit that is not here: one of another cluster, or of
    /// a state that was replaced. For every commit of this one a read index would have been enough.
    private func lag(_ call: Call, _ context: LoopContext) throws(VaultError) -> Outcome? {
        guard let options = call.request.cluster, options.requiredSequence > 0 else { return nil }
        let sequence = try context.begin(call.active).sequence
        context.release()
        if sequence >= options.requiredSequence { return nil }
        if options.forwardsWhenBehind, call.active.duty == nil { return .forward }
        return .failure(.preconditionFailed("required index state not present"))
    }

    private func forward(_ call: Call) {
        Instruments.forwardedRequests.add()
        call.answer(.forward, nil)
    }
}
