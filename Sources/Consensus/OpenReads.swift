import Synchronization

/// A call for a read index that waits for its answer; whoever comes first gives it.
final class OpenRead: Sendable {
    private let done: @Sendable (RaftError?) -> Void
    fileprivate let since: UInt64
    private let isDone = Atomic<Bool>(false)

    /// - Parameter since: nanoseconds on the node's clock.
    init(_ done: @escaping @Sendable (RaftError?) -> Void, since: UInt64) {
        self.done = done
        self.since = since
    }

    fileprivate var isOpen: Bool { !isDone.load(ordering: .relaxed) }

    func finish(_ error: RaftError?) {
        if !isDone.exchange(true, ordering: .acquiringAndReleasing) { done(error) }
    }
}

/// The calls that wait, and some that do no more: they go when the list has grown.
struct OpenReads {
    private static let fewest = 1_024
    private var all: [OpenRead] = []
    private var most = fewest

    /// How many are kept, waiting or not.
    var count: Int { all.count }

    mutating func add(_ read: OpenRead) {
        if all.count >= most {
            all.removeAll { !$0.isOpen }
            most = max(Self.fewest, 2 * all.count)
        }
        all.append(read)
    }

    /// Takes out those that were made before a moment.
    mutating func late(_ moment: UInt64) -> [OpenRead] {
        all.removeAll { !$0.isOpen }
        let late = all.filter { $0.since < moment }
        if !late.isEmpty { all.removeAll { $0.since < moment } }
        return late
    }
}
