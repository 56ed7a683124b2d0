import CPosix
import Glibc
import Synchronization

/// An open connection to another member, for any thread. Frames go out in the order in which they were sent.
package final class PeerLink: Sendable {
    let token: UInt64
    private let mailbox: PeerMailbox
    private let most: Int
    private let queued = Atomic<Int>(0)
    private let isClosed = Atomic<Bool>(false)

    init(token: UInt64, mailbox: PeerMailbox, most: Int) {
        self.token = token
        self.mailbox = mailbox
        self.most = most
    }

    /// False when the connection has ended.
    package var isOpen: Bool { !isClosed.load(ordering: .acquiring) }

    /// Bytes that wait to be sent.
    package var queuedBytes: Int { queued.load(ordering: .relaxed) }

    /// Sends one frame, soon.
    /// - Returns: false when it was not taken: the connection has ended, or too much waits.
    package func send(_ frame: [UInt8]) -> Bool {
        guard isOpen, !frame.isEmpty else { return false }
        let size = frame.count + PeerConnection.headBytes
        if queued.add(size, ordering: .relaxed).newValue > most {
            queued.subtract(size, ordering: .relaxed)
            return false
        }
        return mailbox.deliver(.send(token, frame))
    }

    /// Stops or goes on reading, for whoever cannot take more at the moment.
    package func setPaused(_ isPaused: Bool) { _ = mailbox.deliver(.pause(token, isPaused)) }

    /// Ends the connection; what waits to be sent is lost.
    package func close() { _ = mailbox.deliver(.close(token)) }

    func noteSent(_ bytes: Int) { queued.subtract(bytes, ordering: .relaxed) }
    func noteClosed() { isClosed.store(true, ordering: .releasing) }
}

/// What happens on a connection. All calls come on the port's thread and must not wait.
package protocol PeerLinkHandler: AnyObject {
    /// One whole frame.
    func received(_ frame: [UInt8])
    /// Half of what may wait to be sent, or less, waits again.
    func drained()
    /// The connection has ended; nothing more comes.
    func closed(_ reason: String)
}

/// Who is at the other end, after a handshake that has proven it.
package struct PeerHello: Sendable {
    /// What both ends speak.
    package let protocolName: String
    /// The peer's certificate, DER, signed by the authority.
    package let certificate: [UInt8]
    /// The peer's address, for logs.
    package let address: String
}

/// Takes or refuses (nil) a peer. Called on the port's thread with a link that can be used at once.
package typealias PeerAcceptor = @Sendable (PeerHello, PeerLink) -> PeerAdmission?

/// What holds for a connection that was taken.
package struct PeerAdmission {
    /// What hears of the connection from now on.
    package let handler: any PeerLinkHandler
    /// Bytes of one incoming frame.
    package let frameBytes: Int

    /// Takes the peer, with a handler and a limit of its own.
    package init(_ handler: any PeerLinkHandler, frameBytes: Int) {
        self.handler = handler
        self.frameBytes = frameBytes
    }
}

/// A connection that shall be made.
struct PeerDial: Sendable {
    let address: String
    let protocolName: String
    /// For how long it waits before it begins.
    let delayMilliseconds: Int
    let accept: PeerAcceptor
    let failed: @Sendable (String) -> Void
}

/// What other threads tell the port's own.
final class PeerMailbox: Sendable {
    enum Mail: Sendable {
        case send(UInt64, [UInt8])
        case pause(UInt64, Bool)
        case close(UInt64)
        case dial(PeerDial)
        case connect(PeerDial, SocketAddress)
        case replace(PeerContexts)
        case stop
    }
    private struct Box {
        var mail: [Mail] = []
        var isClosed = false
    }

    /// Readable while there is mail.
    let wakeup: Int32
    private let box = Mutex(Box())

    init() { wakeup = eventfd(0, Int32(EFD_NONBLOCK | EFD_CLOEXEC)) }

    deinit { Glibc.close(wakeup) }

    /// False once nobody reads any more.
    @discardableResult
    func deliver(_ mail: Mail) -> Bool {
        let (isTaken, mustWake) = box.withLock { box in
            if box.isClosed { return (false, false) }
            box.mail.append(mail)
            return (true, box.mail.count == 1)
        }
        if mustWake {
            var one: UInt64 = 1
            _ = write(wakeup, &one, 8)
        }
        return isTaken
    }

    /// All that came, for the port's thread.
    func take() -> [Mail] {
        var count: UInt64 = 0
        _ = read(wakeup, &count, 8)
        return box.withLock { box in
            let mail = box.mail
            box.mail = []
            return mail
        }
    }

    /// Takes no more.
    func close() {
        box.withLock { box in
            box.isClosed = true
            box.mail = []
        }
    }
}
