package import Base
import Barrier
package import PluginKit
import Synchronization

/// Replaces the unseal key or the recovery key with its shares (Vault API: `sys/rekey`,
/// `sys/rekey-recovery-key`).
///
/// Holders enter the shares in use until there are enough; then a new key is made. With Shamir's seal it is
/// the unseal key, and wraps a new root key. With the others the recovery key has shares, and the barrier
/// has none: its rekeying makes a new root key, which the seals wrap. Keys, seal configuration and backup
/// change in one commit. With verification the new key waits, and nothing has changed, until enough of its
/// shares have come back.
///
/// There is one attempt at a time; every step names its nonce, also to cancel it, so that nobody ends
/// another's by accident or malice. Sealing drops it, and so does the end
/// of the node's duty. The methods may block: call them from the pool.
package final class Rekey: Sendable {
    /// Which key is replaced.
    package enum Target: Sendable { case barrier, recovery }

    /// What is asked for.
    package struct Request: Sendable {
        package var shares: Int
        package var threshold: Int
        /// In base64, one for each share; empty for shares in the clear.
        package var pgpKeys: [String]
        /// Whether the encrypted shares are kept behind the barrier, too.
        package var isBackedUp: Bool
        package var requiresVerification: Bool
        /// Whether the new recovery key can unseal without any seal.
        package var breakGlass: Bool

        package init(
            shares: Int, threshold: Int, pgpKeys: [String], isBackedUp: Bool, requiresVerification: Bool,
            breakGlass: Bool = false
        ) {
            self.shares = shares
            self.threshold = threshold
            self.pgpKeys = pgpKeys
            self.isBackedUp = isBackedUp
            self.requiresVerification = requiresVerification
            self.breakGlass = breakGlass
        }
    }

    /// How an attempt stands.
    package struct Status: Sendable {
        /// Empty when there is no attempt.
        package var nonce = ""
        package var isStarted = false
        /// Of the new key; zero when there is no attempt.
        package var threshold = 0
        package var shares = 0
        /// Shares of the key in use that were entered, of those `required`.
        package var progress = 0
        package var required = 0
        package var pgpFingerprints: [String] = []
        package var isBackedUp = false
        package var requiresVerification = false
        /// Empty until the new key waits for verification.
        package var verificationNonce = ""
    }

    /// The new shares, which are given out once.
    package struct Completion: Sendable {
        package let nonce: String
        package let shares: [SecretBytes]
        package let pgpFingerprints: [String]
        package let isBackedUp: Bool
        /// Empty when the new shares are in use already.
        package let verificationNonce: String
    }

    /// What entering a share came to.
    package enum Progress: Sendable {
        case waiting(Status)
        case complete(Completion)
    }

    /// How the proof of the new shares stands.
    package struct Verification: Sendable {
        package let nonce: String
        package let threshold: Int
        package let shares: Int
        package let progress: Int
        package let isComplete: Bool
    }

    private struct Attempt {
        let nonce: String
        let request: Request
        let fingerprints: [String]
        var shares = KeyShares()
        /// The new key while it waits for its proof.
        var made: HolderKey?
        var verificationNonce = ""
        var proof = KeyShares()
    }

    private let core: VaultCore
    private let seal: SealController
    private let target: Target
    private let attempt = Mutex<Attempt?>(nil)

    package init(core: VaultCore, seal: SealController, target: Target = .barrier) {
        self.core = core
        self.seal = seal
        self.target = target
        core.onDutyEnd { [weak self] in self?.attempt.withLock { $0 = nil } }
    }

    /// Whether seals wrap the barrier's key, and holders have recovery keys.
    package var isAutomatic: Bool { seal.config?.automatic != nil }

    /// - Throws: `.badRequest` when the seal in use has no such key.
    package func checkSupported() throws(VaultError) {
        if target == .recovery, !isAutomatic {
            throw .badRequest("recovery rekeying is not supported: seal type shamir has no recovery keys")
        }
    }

    /// How the attempt stands, or that there is none.
    package func status() throws(VaultError) -> Status {
        try checkSupported()
        return try attempt.withLock { (attempt) throws(VaultError) in try status(of: attempt) }
    }

    /// Begins an attempt.
    /// - Throws: `.badRequest` for impossible numbers or PGP keys, or when there is one already.
    package func start(_ request: Request) throws(VaultError) -> Status {
        let request = try fitted(request)
        try HolderKey.check(Self.wish(request))
        if request.isBackedUp, request.pgpKeys.isEmpty {
            throw .badRequest("backup: expected PGP keys as well: shares in the clear are not stored")
        }
        return try attempt.withLock { (attempt) throws(VaultError) in
            guard core.active != nil else { throw .sealed }
            guard attempt == nil else { throw .badRequest("rekey already in progress") }
            attempt = Attempt(
                nonce: core.random.uuid(), request: request,
                fingerprints: try HolderKey.fingerprints(of: request.pgpKeys))
            return try status(of: attempt)
        }
    }

    /// Ends the attempt, if there is one.
    /// - Throws: `.badRequest` when the nonce is another's.
    package func cancel(nonce: String) throws(VaultError) {
        try attempt.withLock { (attempt) throws(VaultError) in
            guard let current = attempt else { return }
            try Self.check(nonce, current.nonce)
            attempt = nil
        }
    }

    /// Takes one share of the key in use.
    /// - Throws: `.badRequest` when nonce or share are wrong. When the shares together are, progress is lost.
    package func enter(share text: SecretBytes, nonce: String) throws(VaultError) -> Progress {
        try attempt.withLock { (attempt) throws(VaultError) in
            guard let active = core.active else { throw .sealed }
            guard let current = attempt else { throw .badRequest("no rekey in progress") }
            try Self.check(nonce, current.nonce)
            guard current.made == nil else {
                throw .badRequest("rekey operation already finished, awaiting verification")
            }
            let required = try seal.threshold()
            var shares = current.shares
            guard shares.add(try KeyShares.decode(text, threshold: required)) else {
                throw .badRequest("'key': this key share was already entered in this operation")
            }
            if shares.count < required {
                attempt?.shares = shares
                return .waiting(try status(of: attempt))
            }
            attempt?.shares = KeyShares()
            let present = try seal.prove(shares, active)
            let request = current.request
            if isKeptBySeal {
                try seal.replaceRootKey(recoveryKey: present, active)
                attempt = nil
                core.log.info("rekeyed: the seal has wrapped a new root key")
                return .complete(
                    Completion(
                        nonce: current.nonce, shares: [], pgpFingerprints: [], isBackedUp: false,
                        verificationNonce: ""))
            }
            let made = try HolderKey(Self.wish(request), random: core.random)
            if request.requiresVerification {
                attempt?.made = made
                attempt?.verificationNonce = core.random.uuid()
            } else {
                try adopt(made, current, active)
            }
            let verificationNonce = attempt?.verificationNonce ?? ""
            if !request.requiresVerification { attempt = nil }
            return .complete(
                Completion(
                    nonce: current.nonce, shares: made.shares, pgpFingerprints: current.fingerprints,
                    isBackedUp: request.isBackedUp, verificationNonce: verificationNonce))
        }
    }

    // MARK: Verification

    /// - Throws: `.badRequest` when nothing waits for verification.
    package func verification() throws(VaultError) -> Verification {
        try attempt.withLock { (attempt) throws(VaultError) in try Self.verification(of: attempt) }
    }

    /// Forgets the new shares that were entered, and gives the verification another nonce.
    package func restartVerification(nonce: String) throws(VaultError) -> Verification {
        try attempt.withLock { (attempt) throws(VaultError) in
            try Self.check(nonce, try Self.verification(of: attempt).nonce)
            attempt?.proof = KeyShares()
            attempt?.verificationNonce = core.random.uuid()
            return try Self.verification(of: attempt)
        }
    }

    /// Takes one of the new shares. With enough of them the new key takes effect.
    /// - Throws: `.badRequest` when nonce or share are wrong. When the shares together are, progress is lost.
    package func verify(share text: SecretBytes, nonce: String) throws(VaultError) -> Verification {
        try attempt.withLock { (attempt) throws(VaultError) in
            guard let active = core.active else { throw .sealed }
            guard let current = attempt, let made = current.made else { throw Self.nothingToVerify }
            try Self.check(nonce, current.verificationNonce)
            let required = made.holders.threshold
            var proof = current.proof
            guard proof.add(try KeyShares.decode(text, threshold: required)) else {
                throw .badRequest("'key': this key share was already entered in this operation")
            }
            if proof.count < required {
                attempt?.proof = proof
                return try Self.verification(of: attempt)
            }
            attempt?.proof = KeyShares()
            guard try proof.combined() == made.key else {
                throw .badRequest("the key shares are wrong: expected shares of the new set")
            }
            try adopt(made, current, active)
            attempt = nil
            return Verification(
                nonce: nonce, threshold: required, shares: made.holders.shares, progress: required,
                isComplete: true)
        }
    }

    // MARK: -

    /// Whether nobody gets shares of the key that is replaced.
    private var isKeptBySeal: Bool { target == .barrier && isAutomatic }

    /// The request as the seal in use can fulfil it.
    /// - Throws: `.badRequest` for what makes no sense with it.
    private func fitted(_ request: Request) throws(VaultError) -> Request {
        try checkSupported()
        guard isKeptBySeal else { return request }
        if !request.pgpKeys.isEmpty {
            throw .badRequest("pgp_keys: PGP key encryption not supported when using stored keys")
        }
        if request.isBackedUp { throw .badRequest("backup: key backup not supported when using stored keys") }
        if request.requiresVerification {
            throw .badRequest(
                "require_verification: requiring verification not supported when rekeying the barrier key "
                    + "with recovery keys")
        }
        // Whatever number is asked for: the seal keeps the one key.
        var request = request
        (request.shares, request.threshold) = (1, 1)
        return request
    }

    private static func wish(_ request: Request) -> HolderKey.Wish {
        HolderKey.Wish(shares: request.shares, threshold: request.threshold, pgpKeys: request.pgpKeys)
    }

    /// Makes the new key the one in use.
    private func adopt(_ made: HolderKey, _ attempt: Attempt, _ active: ActiveCore) throws(VaultError) {
        var writes: [String: [UInt8]?] = [:]
        if attempt.request.isBackedUp {
            writes[RekeyBackup.key(target)] =
                RekeyBackup(
                    nonce: attempt.nonce, fingerprints: attempt.fingerprints, shares: made.shares
                ).record
        }
        try seal.replaceHolderKey(
            made, breakGlass: attempt.request.breakGlass, alongside: writes, active)
        core.log.info(
            target == .barrier ? "rekeyed" : "rekeyed the recovery key",
            ["shares": String(made.holders.shares), "threshold": String(made.holders.threshold)])
    }

    private func status(of attempt: Attempt?) throws(VaultError) -> Status {
        var status = Status()
        status.required = try seal.threshold()
        guard let attempt else { return status }
        status.nonce = attempt.nonce
        status.isStarted = true
        status.threshold = attempt.request.threshold
        status.shares = attempt.request.shares
        status.progress = attempt.shares.count
        status.pgpFingerprints = attempt.fingerprints
        status.isBackedUp = attempt.request.isBackedUp
        status.requiresVerification = attempt.request.requiresVerification
        status.verificationNonce = attempt.verificationNonce
        return status
    }

    private static func verification(of attempt: Attempt?) throws(VaultError) -> Verification {
        guard let attempt, let made = attempt.made else { throw nothingToVerify }
        return Verification(
            nonce: attempt.verificationNonce, threshold: made.holders.threshold, shares: made.holders.shares,
            progress: attempt.proof.count, isComplete: false)
    }

    private static var nothingToVerify: VaultError { .badRequest("no rekey verification in progress") }

    private static func check(_ given: String, _ expected: String) throws(VaultError) {
        if given.isEmpty { throw .badRequest("missing nonce: expected the one of this operation") }
        guard given == expected else { throw .badRequest("nonce: expected the one of this operation") }
    }
}

/// The new shares, encrypted to their holders' PGP keys and kept for them behind the barrier.
package struct RekeyBackup: Sendable {
    /// Where it is stored.
    package static func key(_ target: Rekey.Target) -> String {
        target == .barrier ? "core/unseal-keys-backup" : "core/recovery-keys-backup"
    }
    package let nonce: String
    /// In the order of the shares: a holder may have several.
    package let shares: [(fingerprint: String, message: [UInt8])]

    init(nonce: String, fingerprints: [String], shares: [SecretBytes]) {
        self.nonce = nonce
        self.shares = zip(fingerprints, shares).map { ($0, $1.withBytes { Array($0) }) }
    }

    /// - Throws: `.corrupted`.
    package init?(_ tx: inout Transaction, _ target: Rekey.Target) throws(VaultError) {
        let key = Self.key(target)
        guard let bytes = try tx.get(key) else { return nil }
        let json = RawJSON(trusted: bytes)
        guard let nonce = json["nonce"]?.string, let rows = json["shares"]?.elements else {
            throw .corrupted(place: key)
        }
        self.nonce = nonce
        var shares: [(fingerprint: String, message: [UInt8])] = []
        for row in rows {
            guard let fingerprint = row["fingerprint"]?.string,
                let message = row["message"]?.string.flatMap({ Base64.standard.decode($0) })
            else { throw .corrupted(place: key) }
            shares.append((fingerprint, message))
        }
        self.shares = shares
    }

    var record: [UInt8] {
        let rows: [JSONValue] = shares.map { share in
            [
                "fingerprint": .string(share.fingerprint),
                "message": .string(Base64.standard.encode(share.message)),
            ]
        }
        let record: JSONValue = ["nonce": .string(nonce), "shares": .array(rows)]
        return record.encoded()
    }
}
