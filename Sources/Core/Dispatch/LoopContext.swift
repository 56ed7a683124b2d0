import Barrier
import Base
package import PluginKit

/// What one thread needs to read storage: its own reader and, while the server is unsealed, its own view.
/// Belongs to one thread.
package final class LoopContext {
    private let backend: any StorageBackend
    private var reader: (any StorageReader)?
    private var view: BarrierView?
    private var owner: ActiveCore?
    private(set) var tokens = TokenCache()

    /// Runs work on the context's thread, soon, behind what the thread has at hand.
    package typealias Post = @Sendable (@escaping @Sendable (LoopContext) -> Void) -> Void
    /// The way to this context's thread, where it belongs to a loop; nil for one that serves one request.
    package var post: Post?
    /// What waits for this turn's read index.
    private var unconfirmed: [Confirmed] = []
    /// Work behind a read index; the error says that nothing may be read.
    typealias Confirmed = @Sendable (LoopContext, VaultError?) -> Void

    package init(backend: any StorageBackend) { self.backend = backend }

    /// A view of the newest commit. Give it back with `release`.
    func begin(_ active: ActiveCore) throws(VaultError) -> BarrierView {
        if owner !== active { forget() }
        if let view {
            try view.refresh()
            return view
        }
        let reader: any StorageReader
        if let kept = self.reader { reader = kept } else { reader = try backend.makeReader() }
        self.reader = reader
        let fresh = try active.barrier.makeView(reader: reader)
        try fresh.refresh()
        view = fresh
        owner = active
        return fresh
    }

    func release() { view?.release() }

    /// Reads over the newest commit, of the plain text and of what stands beside it.
    func read<Result>(
        _ active: ActiveCore,
        _ body: (BarrierView, any StorageReader) throws(VaultError) -> Result
    ) throws(VaultError) -> Result {
        let view = try begin(active)
        defer { view.release() }
        guard let reader else { throw .internal("a view without its reader") }
        return try body(view, reader)
    }

    /// Runs `work` behind a read index, on this thread. All that one turn of the loop brings shares one.
    func whenConfirmed(by gate: ClusterGate, _ work: @escaping Confirmed) {
        Instruments.confirmedReads.add()
        guard let post else {
            return gate.confirm { [backend] in work(LoopContext(backend: backend), $0) }
        }
        unconfirmed.append(work)
        guard unconfirmed.count == 1 else { return }
        post { context in
            let group = context.unconfirmed
            context.unconfirmed = []
            gate.confirm { failure in
                post { context in for work in group { work(context, failure) } }
            }
        }
    }

    /// Drops the keys that this thread holds. Called on the thread itself when the server is sealed.
    package func forget() {
        view?.release()
        view = nil
        owner = nil
        tokens = TokenCache()
    }
}

/// The view of a sealed server: there is nothing to see.
final class SealedView: StorageView {
    var sequence: UInt64 { 0 }
    func get(_ key: String) throws(VaultError) -> [UInt8]? { throw .sealed }
    func list(_ prefix: String, after: String?, limit: Int) throws(VaultError) -> [String] { throw .sealed }
    func scan(_ prefix: String, after: String?, limit: Int) throws(VaultError) -> [String] { throw .sealed }
}
