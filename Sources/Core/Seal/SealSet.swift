import Barrier
package import Base
package import PluginKit
import Synchronization

/// The seals that the configuration names, in the order in which they are tried, and how each of them does.
///
/// Calls may block for as long as a KMS may take: never on an I/O thread.
package final class SealSet: Sendable {
    /// One stanza.
    package struct Member: Sendable {
        /// The stanza's `name`, or its type: how the stored copy of the seal key finds its seal again.
        package let name: String
        /// The kind, as the stanza is labelled.
        package let type: String
        /// Only unwraps what it wrapped, on the way to another seal.
        package let isDisabled: Bool
        /// What does the work.
        package let seal: any Seal
        /// How long its calls took.
        package let timers = SealTimers()

        /// A stanza whose kind is the type of the seal.
        package init<Kind: Seal>(name: String, isDisabled: Bool = false, seal: Kind) {
            self.name = name
            type = Kind.type
            self.isDisabled = isDisabled
            self.seal = seal
        }
    }

    /// How long calls took; outcome 0 is a success, 1 a failure.
    package final class SealTimers: Sendable {
        /// Of calls that wrap.
        package let wrap = MetricTimer()
        /// Of calls that unwrap.
        package let unwrap = MetricTimer()

        init() {}
    }

    /// All of them, disabled ones too, in the order of trying.
    package let members: [Member]
    private let healths: Mutex<[SealHealth]>
    private let clock: any Clock
    private let random: any RandomSource
    private let log: Log

    /// - Parameter members: with distinct names.
    package init(
        _ members: [Member] = [], clock: any Clock = SystemClock(), random: any RandomSource = SystemRandom(),
        log: Log = Log()
    ) {
        self.members = members
        self.clock = clock
        self.random = random
        self.log = log
        healths = Mutex(
            members.filter { !$0.isDisabled }.map { SealHealth(name: $0.name, type: $0.type) })
    }

    var enabled: [Member] { members.filter { !$0.isDisabled } }

    /// How the enabled seals did when they were last asked.
    package var health: [SealHealth] { healths.withLock { $0 } }

    /// Whether some member, enabled or not, has wrapped this copy.
    static func member(of copy: SealConfig.SealKeyCopy, among members: [Member]) -> Member? {
        members.first { $0.name == copy.name && $0.type == copy.type }
    }

    // MARK: Asking

    /// Wraps the seal key by one seal, and sees that it gives it back: a credential that may only encrypt
    /// would show on the day that the server restarts.
    func wrap(_ key: SecretBytes, by member: Member) throws(VaultError) -> SealConfig.SealKeyCopy {
        let wrapped = try asking(member, member.timers.wrap) { (seal) throws(VaultError) in
            try seal.wrap(key)
        }
        try check(member, gives: key, for: wrapped)
        return SealConfig.SealKeyCopy(name: member.name, type: member.type, wrapped: wrapped)
    }

    /// Wraps the seal key by all of these.
    /// - Throws: when one of them fails.
    func wrap(_ key: SecretBytes, by members: [Member]) throws(VaultError) -> [SealConfig.SealKeyCopy] {
        var copies: [SealConfig.SealKeyCopy] = []
        for member in members { copies.append(try wrap(key, by: member)) }
        return copies
    }

    /// The seal key and the root key under it, from the first of these seals that gives them.
    /// - Throws: `.unavailable` with what each of them said.
    func open(
        _ copies: [SealConfig.SealKeyCopy], _ wrappedRootKey: [UInt8], by members: [Member]
    ) throws(VaultError) -> (sealKey: SecretBytes, rootKey: SecretBytes) {
        var reasons: [String] = []
        var wait = 0
        for member in members {
            guard let copy = copies.first(where: { $0.name == member.name && $0.type == member.type }) else {
                continue
            }
            do throws(VaultError) {
                let key = try asking(member, member.timers.unwrap) { (seal) throws(VaultError) in
                    try seal.unwrap(copy.wrapped)
                }
                return (key, try Self.open(wrappedRootKey, under: key, of: member))
            } catch {
                reasons.append(Self.reason(error))
                if case .unavailable(_, let seconds) = error { wait = max(wait, seconds) }
            }
        }
        if reasons.isEmpty {
            reasons = [
                "no configured seal has wrapped this server's key: expected one of "
                    + copies.map { "\($0.type) named '\($0.name)'" }.joined(separator: ", ")
            ]
        }
        throw .unavailable(reasons.joined(separator: "; "), retryAfterSeconds: wait)
    }

    private static func open(
        _ wrappedRootKey: [UInt8], under key: SecretBytes, of member: Member
    ) throws(VaultError) -> SecretBytes {
        do throws(VaultError) { return try SealEnvelope.unwrapRootKey(wrappedRootKey, under: key) } catch {
            if case .corrupted = error { throw error }
            throw .unavailable(
                "seal \(member.name): what it gave back does not open the root key: the stored copy was "
                    + "changed, or is another server's", retryAfterSeconds: 0)
        }
    }

    private func check(
        _ member: Member, gives key: SecretBytes, for wrapped: WrappedKey
    ) throws(VaultError) {
        _ = try asking(member, member.timers.unwrap) { (seal) throws(VaultError) in
            let back = try seal.unwrap(wrapped)
            if back == key { return back }
            throw .unavailable("it does not give back what it wrapped", retryAfterSeconds: 0)
        }
    }

    /// Asks one seal to wrap a key that is of no use to anybody, and to give it back.
    /// - Returns: what is wrong; nil when it is well.
    package func failure(of member: Member) -> String? {
        do throws(VaultError) {
            _ = try wrap(SecretBytes.random(HolderKey.bytes, from: random), by: member)
            return nil
        } catch { return Self.reason(error) }
    }

    /// Asks one seal to wrap, and to open the root key by its stored copy.
    /// - Returns: whether it wraps, but has no copy of today's version that opens the root key.
    func needsCopy(
        _ member: Member, _ copies: [SealConfig.SealKeyCopy], _ wrappedRootKey: [UInt8]
    ) -> Bool {
        let trial = SecretBytes.random(HolderKey.bytes, from: random)
        let today = try? asking(member, member.timers.wrap) { (seal) throws(VaultError) in
            try seal.wrap(trial)
        }
        guard let today else { return false }
        guard copies.contains(where: { $0.name == member.name && $0.wrapped.keyID == today.keyID }) else {
            return true
        }
        return (try? open(copies, wrappedRootKey, by: [member])) == nil
    }

    /// Calls a seal, and notes how it did. Its errors get its name.
    private func asking<Result>(
        _ member: Member, _ timer: MetricTimer, _ body: (any Seal) throws(VaultError) -> Result
    ) throws(VaultError) -> Result {
        let start = MetricTimer.now()
        do throws(VaultError) {
            let result = try body(member.seal)
            timer.record(since: start)
            note(member, nil, (result as? WrappedKey)?.keyID)
            return result
        } catch {
            timer.record(since: start, outcome: 1)
            let reason = Self.reason(error)
            note(member, reason, nil)
            var seconds = 0
            if case .unavailable(_, let wait) = error { seconds = wait }
            throw .unavailable("seal \(member.name): \(reason)", retryAfterSeconds: seconds)
        }
    }

    private static func reason(_ error: VaultError) -> String {
        error.privateCause ?? error.messages.joined(separator: "; ")
    }

    private func note(_ member: Member, _ reason: String?, _ keyID: String?) {
        let now = clock.now()
        let changed: Bool = healths.withLock { healths in
            guard !member.isDisabled, let at = healths.firstIndex(where: { $0.name == member.name }) else {
                return false
            }
            let wasHealthy = healths[at].isHealthy
            healths[at].lastAsked = now
            healths[at].isHealthy = reason == nil
            healths[at].reason = reason ?? ""
            healths[at].unhealthySince = reason == nil ? nil : healths[at].unhealthySince ?? now
            if let keyID { healths[at].keyID = keyID }
            return wasHealthy != (reason == nil)
        }
        guard changed else { return }
        if let reason {
            log.warn("a seal fails", ["seal": member.name, "reason": reason])
        } else {
            log.info("a seal is well again", ["seal": member.name])
        }
    }

    /// Notes which of the seals have a copy of the seal key.
    func noteCopies(_ copies: [SealConfig.SealKeyCopy]) {
        healths.withLock { healths in
            for at in healths.indices {
                healths[at].hasCopy = copies.contains {
                    $0.name == healths[at].name && $0.type == healths[at].type
                }
            }
        }
    }
}
