import Synchronization

/// A call that waits for its answer; whoever comes first gives it.
final class OpenCall<Answer: Sendable>: Sendable {
    private let done: @Sendable (Answer) -> Void
    fileprivate let since: UInt64
    private let isDone = Atomic<Bool>(false)

    /// - Parameter since: nanoseconds on the node's clock.
    init(_ done: @escaping @Sendable (Answer) -> Void, since: UInt64) {
        self.done = done
        self.since = since
    }

    fileprivate var isOpen: Bool { !isDone.load(ordering: .relaxed) }

    func finish(_ answer: Answer) {
        if !isDone.exchange(true, ordering: .acquiringAndReleasing) { done(answer) }
    }
}

/// The calls that wait, and some that do no more: they go when the list has grown.
struct OpenCalls<Answer: Sendable> {
    private var all: [OpenCall<Answer>] = []
    private var most = Self.fewest

    private static var fewest: Int { 1_024 }

    /// How many are kept, waiting or not.
    var count: Int { all.count }

    mutating func add(_ call: OpenCall<Answer>) {
        if all.count >= most {
            all.removeAll { !$0.isOpen }
            most = max(Self.fewest, 2 * all.count)
        }
        all.append(call)
    }

    /// Takes out those that were made more than `limit` nanoseconds before `now`.
    mutating func late(_ limit: UInt64, at now: UInt64) -> [OpenCall<Answer>] {
        let moment = now > limit ? now - limit : 0
        all.removeAll { !$0.isOpen }
        let late = all.filter { $0.since < moment }
        if !late.isEmpty { all.removeAll { $0.since < moment } }
        return late
    }
}
