package import Base
import CPKCS11
import Synchronization

/// How a key in an HSM encrypts.
package enum PKCS11Mechanism: UInt8, Sendable, CaseIterable {
    // The raw values are part of what is stored.
    /// `CKM_AES_GCM` with a secret key.
    case aesGCM = 1
    /// `CKM_RSA_PKCS_OAEP` with a key pair.
    case rsaOAEP = 2

    /// By the standard's name or number, as configurations write it.
    package init?(configured text: String) {
        switch text.uppercased() {
        case "CKM_AES_GCM", "AES_GCM", "0X1087", "4231": self = .aesGCM
        case "CKM_RSA_PKCS_OAEP", "RSA_PKCS_OAEP", "RSA_OAEP", "0X9", "0X0009", "9": self = .rsaOAEP
        default: return nil
        }
    }
}

/// The hash of OAEP and of its mask.
package enum PKCS11OAEPHash: String, Sendable, CaseIterable {
    case sha1, sha224, sha256, sha384, sha512

    /// `CKM_…` and `CKG_MGF1_…`; part of what is stored is the place in the list of cases.
    var codes: (hash: UInt, mask: UInt) {
        switch self {
        case .sha1: (CKM_SHA_1, CKG_MGF1_SHA1)
        case .sha224: (CKM_SHA224, CKG_MGF1_SHA224)
        case .sha256: (CKM_SHA256, CKG_MGF1_SHA256)
        case .sha384: (CKM_SHA384, CKG_MGF1_SHA384)
        case .sha512: (CKM_SHA512, CKG_MGF1_SHA512)
        }
    }
}

/// Which key of which token.
package struct PKCS11Configuration: Sendable {
    /// Path of the module.
    package var module: String
    /// One of slot and label of the token.
    package var slot: UInt?
    package var tokenLabel: String?
    package var pin: SecretBytes
    /// One or both of the key's label (`CKA_LABEL`) and id (`CKA_ID`).
    package var keyLabel: String?
    package var keyID: [UInt8]?
    /// Nil: what the kind of key that is found asks for.
    package var mechanism: PKCS11Mechanism?
    package var oaepHash: PKCS11OAEPHash

    package init(
        module: String, slot: UInt?, tokenLabel: String?, pin: SecretBytes, keyLabel: String?,
        keyID: [UInt8]?,
        mechanism: PKCS11Mechanism?, oaepHash: PKCS11OAEPHash
    ) {
        self.module = module
        self.slot = slot
        self.tokenLabel = tokenLabel
        self.pin = pin
        self.keyLabel = keyLabel
        self.keyID = keyID
        self.mechanism = mechanism
        self.oaepHash = oaepHash
    }
}

/// Encrypts short secrets with a key that does not leave its HSM. Blocking, for any thread; each call ends
/// within 20 seconds.
///
/// A token counts wrong PINs and locks itself, so a PIN that was refused once is never tried again.
package final class PKCS11Client: Sendable {
    private static let format: UInt8 = 1
    private static let headerBytes = 3
    private static let ivBytes = 12
    private static let tagBits = 128
    /// No mechanism of ours gives more for a short secret.
    private static let mostBytes = 2_048

    private let configuration: PKCS11Configuration
    private let random: any RandomSource
    private let refusal = Mutex<String?>(nil)

    package init(_ configuration: PKCS11Configuration, random: any RandomSource) {
        self.configuration = configuration
        self.random = random
    }

    /// - Returns: the ciphertext, and which key made it: its label and its id.
    /// - Throws: `.unavailable`, `.forbidden` for the PIN, `.badRequest` for what is configured wrongly.
    package func encrypt(_ secret: SecretBytes) throws(VaultError) -> (keyID: String, ciphertext: [UInt8]) {
        let iv = random.bytes(Self.ivBytes)
        let configuration = self.configuration
        return try withSession {
            (session: PKCS11Session) throws(VaultError) -> (keyID: String, ciphertext: [UInt8]) in
            let (mechanism, key) = try Self.encryptionKey(session, configuration)
            let hash = configuration.oaepHash
            let index = PKCS11OAEPHash.allCases.firstIndex(of: hash) ?? 0
            var message = [Self.format, mechanism.rawValue, mechanism == .rsaOAEP ? UInt8(index) : 0]
            var output = [UInt8](repeating: 0, count: Self.mostBytes)
            var used = iv
            let count = try secret.withBytes { (plain) throws(VaultError) in
                try Self.crypt(session, .encrypt, key, mechanism, hash, &used, plain, &output)
            }
            // Some HSMs put an IV of their own in the place of ours.
            if mechanism == .aesGCM { message += used }
            return (Self.name(key), message + output.prefix(count))
        }
    }

    /// - Throws: as `encrypt`; `.badRequest` for what this HSM did not encrypt, or was changed since.
    package func decrypt(_ ciphertext: [UInt8], keyID: String) throws(VaultError) -> SecretBytes {
        guard ciphertext.count > Self.headerBytes, ciphertext[0] == Self.format,
            let mechanism = PKCS11Mechanism(rawValue: ciphertext[1]),
            Int(ciphertext[2]) < (mechanism == .rsaOAEP ? PKCS11OAEPHash.allCases.count : 1),
            let (label, id) = Self.parse(keyID)
        else { throw .badRequest("the stored key was not wrapped by a PKCS #11 seal, or was changed") }
        let hash = PKCS11OAEPHash.allCases[Int(ciphertext[2])]
        var rest = Array(ciphertext.dropFirst(Self.headerBytes))
        guard rest.count <= Self.mostBytes, mechanism == .rsaOAEP || rest.count > Self.ivBytes else {
            throw .badRequest("the stored key was changed")
        }
        var iv: [UInt8] = []
        if mechanism == .aesGCM {
            iv = Array(rest.prefix(Self.ivBytes))
            rest.removeFirst(Self.ivBytes)
        }
        let (sealed, sent) = (rest, iv)
        return try withSession { (session: PKCS11Session) throws(VaultError) -> SecretBytes in
            let kind = mechanism == .aesGCM ? CKO_SECRET_KEY : CKO_PRIVATE_KEY
            let keys = try session.keys(
                CK_OBJECT_CLASS(kind), label: id.isEmpty ? label : nil, id: id.isEmpty ? nil : id)
            guard let key = keys.first else {
                throw .badRequest("the HSM no longer has the key that wrapped the stored key (\(keyID))")
            }
            var iv = sent
            var plain = [UInt8](repeating: 0, count: Self.mostBytes)
            defer { plain.wipe() }
            let count = try sealed.withRaw { (sealed) throws(VaultError) in
                try Self.crypt(session, .decrypt, key, mechanism, hash, &iv, sealed, &plain)
            }
            return SecretBytes(copying: plain.prefix(count))
        }
    }

    private func withSession<Result: Sendable>(
        _ work: @escaping @Sendable (PKCS11Session) throws(VaultError) -> Result
    ) throws(VaultError) -> Result {
        if let refused = refusal.withLock({ $0 }) {
            throw .forbidden(
                refused
                    + "; it is not tried again before the server starts anew, so that the token is not locked"
            )
        }
        let token = PKCS11Token(
            slot: configuration.slot, label: configuration.tokenLabel, pin: configuration.pin)
        do throws(VaultError) {
            return try PKCS11Module.module(configuration.module).withSession(token, work)
        } catch {
            if case .forbidden(let text) = error { refusal.withLock { $0 = text } }
            throw error
        }
    }

    // MARK: Keys

    private static func encryptionKey(
        _ session: PKCS11Session, _ configuration: PKCS11Configuration
    ) throws(VaultError) -> (PKCS11Mechanism, PKCS11Key) {
        let (label, id) = (configuration.keyLabel, configuration.keyID)
        for mechanism in PKCS11Mechanism.allCases
        where configuration.mechanism.map({ $0 == mechanism }) ?? true {
            let kind = mechanism == .aesGCM ? CKO_SECRET_KEY : CKO_PUBLIC_KEY
            let keys = try session.keys(CK_OBJECT_CLASS(kind), label: label, id: id)
            if keys.count > 1 {
                throw .badRequest(
                    "\(keys.count) keys of the token fit 'key_label' and 'key_id': expected one")
            }
            if let key = keys.first { return (mechanism, key) }
        }
        let kind =
            switch configuration.mechanism {
            case .aesGCM: "secret key"
            case .rsaOAEP: "public key"
            case nil: "secret or public key"
            }
        throw .badRequest("'key_label', 'key_id': the token has no such \(kind)")
    }

    /// `object=<label>;id=<hexadecimal>`, in the manner of PKCS #11 URIs.
    private static func name(_ key: PKCS11Key) -> String { "object=\(key.label);id=\(Hex.encode(key.id))" }

    private static func parse(_ name: String) -> (label: String, id: [UInt8])? {
        guard name.hasPrefix("object="), let mark = name.lastIndex(of: ";") else { return nil }
        let tail = name[mark...]
        guard tail.hasPrefix(";id="), let id = Hex.decode(String(tail.dropFirst(4))) else { return nil }
        return (String(name[..<mark].dropFirst("object=".count)), id)
    }

    // MARK: Mechanisms

    private static func crypt(
        _ session: PKCS11Session, _ direction: PKCS11Session.Direction, _ key: PKCS11Key,
        _ mechanism: PKCS11Mechanism, _ hash: PKCS11OAEPHash, _ iv: inout [UInt8],
        _ input: UnsafeRawBufferPointer, _ output: inout [UInt8]
    ) throws(VaultError) -> Int {
        var outcome: Result<Int, VaultError> = .success(0)
        output.withUnsafeMutableBytes { output in
            iv.withUnsafeMutableBufferPointer { iv in
                func run<Parameters>(_ code: UInt, _ parameters: inout Parameters) {
                    withUnsafeMutableBytes(of: &parameters) { bytes in
                        var sent = CK_MECHANISM()
                        sent.mechanism = CK_MECHANISM_TYPE(code)
                        sent.pParameter = bytes.baseAddress
                        sent.ulParameterLen = CK_ULONG(bytes.count)
                        do throws(VaultError) {
                            outcome = .success(try session.crypt(direction, key, &sent, input, into: output))
                        } catch { outcome = .failure(error) }
                    }
                }
                switch mechanism {
                case .aesGCM:
                    var parameters = CK_GCM_PARAMS()
                    parameters.pIv = iv.baseAddress
                    parameters.ulIvLen = CK_ULONG(iv.count)
                    parameters.ulIvBits = CK_ULONG(iv.count * 8)
                    parameters.ulTagBits = CK_ULONG(tagBits)
                    run(CKM_AES_GCM, &parameters)
                case .rsaOAEP:
                    var parameters = CK_RSA_PKCS_OAEP_PARAMS()
                    parameters.hashAlg = CK_MECHANISM_TYPE(hash.codes.hash)
                    parameters.mgf = CK_RSA_PKCS_MGF_TYPE(hash.codes.mask)
                    parameters.source = CK_RSA_PKCS_OAEP_SOURCE_TYPE(CKZ_DATA_SPECIFIED)
                    run(CKM_RSA_PKCS_OAEP, &parameters)
                }
            }
        }
        return try outcome.get()
    }
}
