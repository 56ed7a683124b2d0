package import Base
import Crypto
import PluginKit
import Synchronization

/// Makes a root token for holders of enough key shares (Vault API: `sys/generate-root`).
///
/// The token leaves XORed with a one-time pad, which only whoever began the attempt has, or encrypted to a
/// PGP key: so the last to enter a share cannot take it. There is one attempt at a time; every step names
/// its nonce, also to cancel it. Sealing drops it, and so does the end of the
/// node's duty. The methods may block: call them from the pool.
package final class RootGeneration: Sendable {
    /// How an attempt stands.
    package struct Status: Sendable {
        /// Empty when there is no attempt.
        package var nonce = ""
        package var isStarted = false
        package var progress = 0
        package var required = 0
        package var isComplete = false
        /// In base64: the token under the pad (without padding characters) or the PGP message.
        package var encodedToken: SecretBytes?
        package var pgpFingerprint = ""
        /// The pad; given once, by the call that begins the attempt, and only when we chose it.
        package var otp: SecretBytes?
    }

    /// What hides the token on its way out.
    private enum Cover {
        case pad(SecretBytes)
        case pgp(key: [UInt8], fingerprint: String)
    }

    private struct Attempt {
        let nonce: String
        let cover: Cover
        var shares = KeyShares()
    }

    /// Bytes of a pad: as many as a root token has.
    package static let otpBytes = TokenStore.serviceTokenBytes

    private let core: VaultCore
    private let seal: SealController
    private let attempt = Mutex<Attempt?>(nil)

    package init(core: VaultCore, seal: SealController) {
        self.core = core
        self.seal = seal
        core.onDutyEnd { [weak self] in self?.attempt.withLock { $0 = nil } }
    }

    /// How the attempt stands, or that there is none.
    package func status() throws(VaultError) -> Status {
        try attempt.withLock { (attempt) throws(VaultError) in try status(of: attempt) }
    }

    /// Begins an attempt with a pad, with a PGP key in base64, or with neither: then a pad is made.
    /// - Throws: `.badRequest` when they cannot be used, or when there is an attempt already.
    package func start(otp: SecretBytes?, pgpKey: String) throws(VaultError) -> Status {
        if otp != nil, !pgpKey.isEmpty { throw .badRequest("otp, pgp_key: expected one of them, not both") }
        if let otp, otp.count != Self.otpBytes {
            throw .badRequest("otp: expected \(Self.otpBytes) bytes, found \(otp.count)")
        }
        return try attempt.withLock { (attempt) throws(VaultError) in
            guard core.active != nil else { throw .sealed }
            guard attempt == nil else { throw .badRequest("root generation already in progress") }
            let chosen = otp == nil && pgpKey.isEmpty ? Self.makePad(core.random) : nil
            let cover: Cover
            if let pad = otp ?? chosen {
                cover = .pad(pad)
            } else {
                let key = Array(pgpKey.utf8)
                let trial = try PGP.encrypt(SecretBytes(copying: "trial".utf8), toPublicKey: key)
                cover = .pgp(key: key, fingerprint: trial.fingerprint)
            }
            attempt = Attempt(nonce: core.random.uuid(), cover: cover)
            var status = try status(of: attempt)
            status.otp = chosen
            return status
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

    /// Takes one key share; with enough of them the token is made.
    /// - Throws: `.badRequest` when nonce or share are wrong. When the shares together are, progress is lost.
    package func enter(share text: SecretBytes, nonce: String) throws(VaultError) -> Status {
        try attempt.withLock { (attempt) throws(VaultError) in
            guard let active = core.active else { throw .sealed }
            guard let current = attempt else { throw .badRequest("no root generation in progress") }
            try Self.check(nonce, current.nonce)
            let required = try seal.threshold()
            var shares = current.shares
            guard shares.add(try KeyShares.decode(text, threshold: required)) else {
                throw .badRequest("'key': this key share was already entered in this operation")
            }
            if shares.count < required {
                attempt?.shares = shares
                return try status(of: attempt)
            }
            attempt?.shares = KeyShares()
            try seal.prove(shares, active)
            var status = try status(of: attempt)
            status.encodedToken = try makeToken(current.cover, active)
            status.progress = required
            status.isComplete = true
            attempt = nil
            return status
        }
    }

    // MARK: -

    /// Makes a root token, in one transaction.
    /// - Returns: the token under its cover.
    private func makeToken(_ cover: Cover, _ active: ActiveCore) throws(VaultError) -> SecretBytes {
        let now = core.clock.now()
        let tokens = active.tokens
        let (token, entry) = try active.transactions.runBlocking { tx throws(VaultError) in
            try tokens.issueRoot(&tx, now: now)
        }
        core.log.warn("a root token was made by generate-root", ["accessor": entry.accessor])
        switch cover {
        case .pad(let pad):
            let covered = SecretBytes(count: token.count) { target in
                token.withBytes { token in
                    pad.withBytes { pad in
                        for index in 0..<token.count { target[index] = token[index] ^ pad[index] }
                    }
                }
            }
            return Base64.standardUnpadded.encode(covered)
        case .pgp(let key, _):
            do throws(VaultError) {
                let message = try PGP.encrypt(token, toPublicKey: key)
                return SecretBytes(copying: Base64.standard.encode(message.ciphertext).utf8)
            } catch {
                // The key could encrypt when the attempt began, and has expired since.
                _ = try active.transactions.runBlocking { tx throws(VaultError) in
                    try tokens.revoke(&tx, hash: entry.hash, now: now)
                }
                throw error
            }
        }
    }

    private func status(of attempt: Attempt?) throws(VaultError) -> Status {
        var status = Status()
        status.required = try seal.threshold()
        guard let attempt else { return status }
        status.nonce = attempt.nonce
        status.isStarted = true
        status.progress = attempt.shares.count
        if case .pgp(_, let fingerprint) = attempt.cover { status.pgpFingerprint = fingerprint }
        return status
    }

    /// Letters and digits, so that it can be copied by hand.
    private static func makePad(_ random: any RandomSource) -> SecretBytes {
        var text = Array(random.base62(otpBytes).utf8)
        defer { text.wipe() }
        return SecretBytes(copying: text)
    }

    private static func check(_ given: String, _ expected: String) throws(VaultError) {
        if given.isEmpty { throw .badRequest("missing nonce: expected the one of this operation") }
        guard given == expected else { throw .badRequest("nonce: expected the one of this operation") }
    }
}
