import Net
import Synchronization

/// A connection over which a member asks for something: from the moment on at which it is a member no more,
/// nothing that comes is looked at, and a while later the connection ends.
final class PeerGuest: Sendable {
    /// Looks of `isLate` at one that has left, until its last answers must be out.
    private static let looks = 10

    let link: PeerLink
    private let left = Atomic<Int>(0)

    init(_ link: PeerLink) { self.link = link }

    /// Whether it is a member no more.
    var hasLeft: Bool { left.load(ordering: .acquiring) > 0 }

    func leave() { _ = left.compareExchange(expected: 0, desired: 1, ordering: .acquiringAndReleasing) }

    /// Whether it left some looks ago.
    var isLate: Bool { left.load(ordering: .relaxed) > Self.looks }

    /// One look.
    func age() { left.add(1, ordering: .relaxed) }
}
