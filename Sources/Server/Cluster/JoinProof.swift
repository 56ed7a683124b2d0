import Base
import Crypto
import SystemAPI

/// What the two sides of joining prove to each other: that both hold the cluster's root key.
///
/// The joining node signs the challenge with what it says of itself; the cluster encrypts what it gives. Both
/// keys derive from the root key, so nothing that an eavesdropper sees helps it, over plain HTTP either.
struct JoinProof: Sendable {
    private let signing: HMACSHA256
    private let rootKey: SecretBytes
    private static let version: UInt8 = 1

    init(rootKey: SecretBytes) {
        self.rootKey = rootKey
        signing = HMACSHA256(key: HKDF.derive(from: rootKey, info: Array("holdfast/join/proof".utf8)))
    }

    /// The proof that belongs to an answer.
    func proof(of answer: JoinAnswer) -> [UInt8] {
        var message: [UInt8] = [Self.version, answer.isNonVoter ? 1 : 0]
        withUnsafeBytes(of: answer.raftID.bigEndian) { message.append(contentsOf: $0) }
        let texts = [
            answer.serverID, answer.clusterAddress, answer.apiAddress, answer.hostName, answer.version,
        ]
        for text in [answer.challenge] + texts.map({ Array($0.utf8) }) {
            withUnsafeBytes(of: UInt32(text.count).bigEndian) { message.append(contentsOf: $0) }
            message.append(contentsOf: text)
        }
        return signing.code(message)
    }

    /// Encrypts the reply to one answer.
    func seal(
        _ plain: [UInt8], for answer: JoinAnswer, random: any RandomSource
    ) throws(VaultError) -> [UInt8] {
        let nonce = random.bytes(AESGCM.nonceBytes)
        return try nonce
            + AESGCM(key: replyKey(answer)).seal(plain, nonce: nonce, aad: Array(answer.serverID.utf8))
    }

    /// Decrypts it; nil when it was not made by who holds the root key, or not for this answer.
    func open(_ sealed: [UInt8], for answer: JoinAnswer) throws(VaultError) -> [UInt8]? {
        guard sealed.count > AESGCM.nonceBytes else { return nil }
        return try AESGCM(key: replyKey(answer)).open(
            Array(sealed[AESGCM.nonceBytes...]), nonce: Array(sealed[..<AESGCM.nonceBytes]),
            aad: Array(answer.serverID.utf8))
    }

    private func replyKey(_ answer: JoinAnswer) -> SecretBytes {
        HKDF.derive(
            from: rootKey, salt: proof(of: answer), info: Array("holdfast/join/reply".utf8))
    }
}

/// Challenges that need no memory: each carries its end and a code by which its maker knows it again.
struct JoinChallenges: Sendable {
    /// What the barrier's key is derived for.
    static let purpose = "join-challenge"
    private static let nonceBytes = 16
    private static let seconds: Int64 = 300
    private static let bytes = nonceBytes + 8 + HMACSHA256.codeBytes

    private let mac: HMACSHA256

    init(key: SecretBytes) { mac = HMACSHA256(key: key) }

    func make(for serverID: String, now: Timestamp, random: any RandomSource) -> [UInt8] {
        var challenge = random.bytes(Self.nonceBytes)
        withUnsafeBytes(of: (now.seconds + Self.seconds).bigEndian) { challenge.append(contentsOf: $0) }
        return challenge + mac.code(challenge + Array(serverID.utf8))
    }

    /// Whether this was made for that node, and not too long ago.
    func isGood(_ challenge: [UInt8], for serverID: String, now: Timestamp) -> Bool {
        guard challenge.count == Self.bytes else { return false }
        let body = Array(challenge[..<(Self.nonceBytes + 8)])
        let code = Array(challenge[(Self.nonceBytes + 8)...])
        guard constantTimeEqual(code, mac.code(body + Array(serverID.utf8))) else { return false }
        let end = body[Self.nonceBytes...].reduce(Int64(0)) { $0 << 8 | Int64($1) }
        return now.seconds <= end
    }
}
