package import Base
import CPosix
import Glibc
import Synchronization

/// The port between the members of a cluster: framed messages over mutual TLS 1.3, told apart by ALPN.
///
/// `init` binds, so that a wrong address stops the start; `start` serves with two threads (one for all
/// connections, one for looking up names); `stop` ends both. What the frames mean is the business of the
/// handlers that `accept` gives.
package final class PeerPort: Sendable {
    /// Where it listens, with the ports that the kernel chose.
    package let addresses: [String]

    private let protocols: [String]
    private let limits: PeerLimits
    private let log: Log
    private let clock: any Clock
    private let accept: PeerAcceptor
    private let mailbox = PeerMailbox()
    private let names = PeerNames()
    private let sockets: [ListeningSocket]
    private let phase = Mutex(Phase.bound)

    private enum Phase {
        case bound
        case serving([Thread])
        case stopped
    }

    /// - Parameters:
    ///   - addresses: `host:port` each.
    ///   - protocols: names for ALPN, the dearest first.
    /// - Throws: `.badRequest` when an address cannot be used.
    package init(
        addresses: [String], protocols: [String], limits: PeerLimits = PeerLimits(), log: Log,
        clock: any Clock = SystemClock(), accept: @escaping PeerAcceptor
    ) throws(VaultError) {
        self.protocols = protocols
        self.limits = limits
        self.log = log
        self.clock = clock
        self.accept = accept
        var sockets: [ListeningSocket] = []
        do throws(VaultError) {
            for address in addresses {
                sockets.append(try ListeningSocket(ListenerConfiguration(address: address), loops: 1))
            }
        } catch {
            for socket in sockets { socket.close() }
            throw error
        }
        self.sockets = sockets
        self.addresses = sockets.map(\.address)
    }

    deinit {
        if case .bound = phase.withLock({ $0 }) { for socket in sockets { socket.close() } }
    }

    /// Begins to accept and to connect. Once.
    /// - Throws: `.internal` when libssl refuses the credentials or the system gives no thread.
    package func start(_ credentials: PeerCredentials) throws(VaultError) {
        signal(SIGPIPE, SIG_IGN)
        let contexts = try PeerContexts(credentials, protocols: protocols)
        let listeners = sockets.flatMap(\.descriptors)
        let resolver = try names.start()
        do throws(VaultError) {
            let server = try Thread(name: "cluster") { [mailbox, limits, names, log, clock, accept] in
                PeerLoop(
                    mailbox: mailbox, listeners: listeners, contexts: contexts, limits: limits, names: names,
                    log: log, clock: clock, accept: accept
                ).run()
            }
            phase.withLock { $0 = .serving([server, resolver]) }
        } catch {
            names.close()
            resolver.join()
            throw error
        }
    }

    /// Uses other credentials for connections from now on; those that are open stay.
    /// - Throws: `.internal` when libssl refuses them; then the old ones stay in use.
    package func replace(_ credentials: PeerCredentials) throws(VaultError) {
        mailbox.deliver(.replace(try PeerContexts(credentials, protocols: protocols)))
    }

    /// Connects to another member; soon, and without waiting.
    /// - Parameters:
    ///   - address: `host:port`, a name or a number.
    ///   - delay: for how long to wait first.
    ///   - accept: judges who answers.
    ///   - failed: called instead of `accept`, or behind its refusal, with the reason. From any thread.
    package func dial(
        _ address: String, protocol name: String, after delay: Duration = .zero,
        accept: @escaping PeerAcceptor, failed: @escaping @Sendable (String) -> Void
    ) {
        let dial = PeerDial(
            address: address, protocolName: name,
            delayMilliseconds: Int(delay.wholeNanoseconds / 1_000_000), accept: accept, failed: failed)
        if !mailbox.deliver(.dial(dial)) { failed("this node stops") }
    }

    /// Ends every connection and both threads. Not to be called from one of them.
    package func stop() {
        let threads: [Thread] = phase.withLock { phase in
            guard case .serving(let threads) = phase else { return [] }
            phase = .stopped
            return threads
        }
        mailbox.deliver(.stop)
        names.close()
        for thread in threads { thread.join() }
    }
}
