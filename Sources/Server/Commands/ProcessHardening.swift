import CPosix
import Glibc

/// What a process that holds keys does before anything else.
enum ProcessHardening {
    static func apply() {
        // No core dump holds a key, and no process of the same user may attach.
        var none = rlimit(rlim_cur: 0, rlim_max: 0)
        setrlimit(__rlimit_resource_t(RLIMIT_CORE.rawValue), &none)
        prctl_set_not_dumpable()
        // As many connections as the system allows.
        var files = rlimit()
        if getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &files) == 0 {
            files.rlim_cur = files.rlim_max
            setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &files)
        }
        umask(0o077)
        signal(SIGPIPE, SIG_IGN)
        // A file at its limit is an error of that write, not the end of the process.
        signal(SIGXFSZ, SIG_IGN)
    }
}

/// Receives signals on one thread, in order, as values.
struct SignalReceiver {
    private var set = sigset_t()

    /// Blocks these signals for the calling thread and every thread that it starts from now on.
    init(_ signals: [Int32]) {
        sigemptyset(&set)
        for signal in signals { sigaddset(&set, signal) }
        pthread_sigmask(SIG_BLOCK, &set, nil)
    }

    /// Waits for the next one.
    func wait() -> Int32 {
        var set = set
        var signal: Int32 = 0
        while sigwait(&set, &signal) != 0 {}
        return signal
    }
}
