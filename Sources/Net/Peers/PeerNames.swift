import Base

/// Looks up the names of peers, one at a time, on a thread of its own: a resolver may take seconds.
final class PeerNames: Sendable {
    private struct Question: Sendable {
        let dial: PeerDial
        let mailbox: PeerMailbox
    }
    private let queue = BlockingQueue<Question>(limit: 64)

    /// - Throws: `.unavailable` when the system gives no thread.
    func start() throws(VaultError) -> Thread {
        try Thread(name: "peer-names") { [queue] in
            while let question = queue.take(most: 1).first {
                do throws(VaultError) {
                    let place = try SocketAddress(resolving: question.dial.address)
                    question.mailbox.deliver(.connect(question.dial, place))
                } catch {
                    question.dial.failed(error.messages.joined(separator: "; "))
                }
            }
        }
    }

    func resolve(_ dial: PeerDial, for mailbox: PeerMailbox) {
        if !queue.push(Question(dial: dial, mailbox: mailbox)) {
            dial.failed("too many names are being looked up")
        }
    }

    func close() { queue.close() }
}
