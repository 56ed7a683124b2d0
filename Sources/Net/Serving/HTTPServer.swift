package import Base
import CPosix
import Glibc
import Synchronization

/// The HTTP front: listeners, I/O threads, TLS.
///
/// `init` binds every listener, so that a wrong address or certificate stops the start; `start` serves;
/// `stop` ends it. Each I/O thread runs an `EventLoop` with a socket of its own for each TCP listener. A
/// request that cannot be read is answered in Vault's error shape and its connection closed; nothing
/// that a client sends ends the process. Strictness is in `HTTPHeadParser` and `ChunkedDecoder`, which
/// know no sockets; limits are those of `Base.Limits`. HTTP/1.1 and 1.0 are spoken; requests of one
/// connection are answered in their order, one at a time.
package final class HTTPServer: Sendable {
    /// The I/O threads' loops.
    package let loops: [EventLoop]
    /// Where it listens, with the ports that the kernel chose: `127.0.0.1:8200`, `unix:/path`.
    package let addresses: [String]

    private let state: ServerState
    private let sockets: [ListeningSocket]
    private let stores: [TLSStore]
    private let phase = Mutex(Phase.bound)

    private enum Phase {
        case bound
        case serving([pthread_t])
        case stopped
    }

    /// Binds and reads certificates. `loopCount` nil takes what the machine suits. `limits` holds for the
    /// server as a whole (connections, bytes in flight, heads) and for listeners without their own.
    ///
    /// Throws `.badRequest` with the listener and the reason when an address or a certificate cannot be used.
    package init(
        handler: any HTTPHandler, listeners: [ListenerConfiguration], limits: Limits = .standard,
        loopCount: Int? = nil, log: Log, clock: any Clock = SystemClock()
    ) throws(VaultError) {
        state = ServerState(limits: limits, log: log, clock: clock, handler: handler)
        var loops: [EventLoop] = []
        for _ in 0..<max(1, loopCount ?? LoopCount.suitable()) { loops.append(try EventLoop(state)) }
        var sockets: [ListeningSocket] = []
        var stores: [TLSStore] = []
        do throws(VaultError) {
            for (index, listener) in listeners.enumerated() {
                let settings = ListenerSettings(
                    index: index, limits: listener.limits ?? limits, proxyProtocol: listener.proxyProtocol)
                var store: TLSStore?
                if let tls = listener.tls {
                    let made = try TLSStore(tls)
                    stores.append(made)
                    store = made
                }
                let socket = try ListeningSocket(listener, loops: loops.count)
                sockets.append(socket)
                for (loop, descriptor) in zip(loops, socket.descriptors) {
                    loop.listeners.append(
                        EventLoop.Listener(
                            descriptor: descriptor, tls: store, isUnix: socket.unixPath != nil,
                            settings: settings))
                }
            }
        } catch {
            for socket in sockets { socket.close() }
            throw error
        }
        self.loops = loops
        self.sockets = sockets
        self.stores = stores
        addresses = sockets.map(\.address)
        if !stores.isEmpty {
            loops[0].onTimer = { [log, stores] in for store in stores { store.reloadIfChanged(log) } }
        }
    }

    deinit {
        if case .bound = phase.withLock({ $0 }) { for socket in sockets { socket.close() } }
    }

    /// Starts the I/O threads. Ignores SIGPIPE for the whole process.
    ///
    /// Throws `.internal` when the system gives no thread.
    package func start() throws(VaultError) {
        signal(SIGPIPE, SIG_IGN)
        var threads: [pthread_t] = []
        for (index, loop) in loops.enumerated() {
            guard let thread = Self.spawn(loop, index) else {
                throw .internal("no thread for an event loop: \(String(cString: strerror(errno)))")
            }
            threads.append(thread)
        }
        phase.withLock { [threads] in $0 = .serving(threads) }
    }

    /// Stops accepting, lets running requests finish for at most `graceSeconds`, closes what is idle,
    /// and returns when every I/O thread has ended. Not to be called from one of them.
    package func stop(graceSeconds: Int) {
        let threads: [pthread_t] = phase.withLock { phase in
            guard case .serving(let threads) = phase else { return [] }
            phase = .stopped
            return threads
        }
        guard !threads.isEmpty else { return }
        state.isStopping.store(true, ordering: .relaxed)
        for loop in loops { loop.stop(graceSeconds: graceSeconds) }
        for thread in threads { pthread_join(thread, nil) }
        for socket in sockets where socket.unixPath != nil { socket.close() }
    }

    /// Reads every certificate again (SIGHUP). One that cannot be used leaves the old one in place and
    /// is logged. Without it, changed files are noticed within ten seconds.
    package func reloadTLS() {
        for store in stores { store.reload(state.log) }
    }

    /// Connections open at this moment.
    package var connectionCount: Int { state.connections.load(ordering: .relaxed) }

    private static func spawn(_ loop: EventLoop, _ index: Int) -> pthread_t? {
        var thread = pthread_t()
        let start = Unmanaged.passRetained(ThreadStart(loop: loop, name: "http-\(index)"))
        let code = pthread_create(
            &thread, nil,
            { argument in
                guard let argument else { return nil }
                let start = Unmanaged<ThreadStart>.fromOpaque(argument).takeRetainedValue()
                prctl_set_name(start.name)
                start.loop.run()
                return nil
            }, start.toOpaque())
        if code != 0 {
            start.release()
            errno = code
            return nil
        }
        return thread
    }

    private final class ThreadStart {
        let loop: EventLoop
        let name: String

        init(loop: EventLoop, name: String) {
            self.loop = loop
            self.name = name
        }
    }
}
