import Base
import Crypto
import PluginKit

/// Encrypting and decrypting what clients send.
extension TransitEngine {
    static let plaintext = Field<RawJSON>("plaintext", "What to encrypt, in base64.")
    static let ciphertext = Field<RawJSON>("ciphertext", "What to decrypt, as encrypting answered it.")
    static let nonce = Field<RawJSON>("nonce", "Refused unless empty: nonces are made here.")
    static let associatedData = Field<RawJSON>(
        "associated_data", "What decrypting must be told again, in base64; it is not encrypted.")
    static let usualType = Field<String>(
        "type", default: KeyType.aes256GCM96.name, "Type of the key that is made if there is none.")
    static let usualConvergence = Field<Bool>(
        "convergent_encryption", default: false,
        "Whether the key that is made if there is none is convergent.")
    static let dataKeyKind = Field<String>(
        required: "plaintext", "plaintext for the key and its ciphertext, wrapped for the ciphertext only.")
    static let bits = Field<Int>("bits", default: 256, "Length of the key: 128, 256 or 512.")

    static var dataRoutes: [Route<Self>] {
        [
            Route(
                .update, "encrypt/:name", "Encrypt; makes the key if there is none.",
                fields: name, plaintext, keyContext, nonce, associatedData, keyVersion, usualType,
                usualConvergence, Batch.field, exists: Self.keyExists, run: Self.encrypt),
            Route(
                .update, "decrypt/:name", "Decrypt.",
                fields: name, ciphertext, keyContext, nonce, associatedData, Batch.field, run: Self.decrypt),
            Route(
                .update, "rewrap/:name", "Decrypt and encrypt again, with the latest version of the key.",
                fields: name, ciphertext, keyContext, nonce, associatedData, keyVersion, Batch.field,
                run: Self.rewrap),
            Route(
                .update, "datakey/:plaintext/:name", "Make a key for use elsewhere.",
                fields: dataKeyKind, name, keyContext, nonce, keyVersion, bits, run: Self.makeDataKey),
        ]
    }

    @Sendable func keyExists(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError) -> Bool {
        guard let name = request.parameters.first(where: { $0.name == "name" })?.value else { return false }
        return try tx.get(Place.policy(name)) != nil
    }

    @Sendable func encrypt(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        let name = try Self.keyName(request)
        let (items, isBatch) = try Self.items(request)
        let hasContext = items.first?.hasContext ?? false
        if items.contains(where: { $0.hasContext != hasContext }) {
            throw .badRequest("context should be set either in all the request blocks or in none")
        }
        if !isBatch, items.first?.plaintext == nil { throw .badRequest("missing plaintext to encrypt") }
        let key =
            if let found = try findKey(name, tx) { found } else {
                try makeKey(name, for: request, isDerived: hasContext, &tx)
            }
        let view = tx
        return try Batch.answer(items, isBatch: isBatch) { (item, writer) throws(VaultError) in
            var plain = try Base64Input.bytes(item.plaintext, "plaintext") ?? []
            defer { plain.wipe() }
            let (text, version) = try plain.withRaw { (plain) throws(VaultError) in
                try key.encrypt(plain, item, random: context.random, view)
            }
            Self.write(text, version, &writer)
        }
    }

    /// A key that encrypting finds missing.
    private func makeKey(
        _ name: String, for request: LogicalRequest, isDerived: Bool, _ tx: inout Transaction
    ) throws(VaultError) -> OpenKey {
        let type = try KeyType(named: try request[Self.usualType])
        let isConvergent = try request[Self.usualConvergence]
        if isConvergent, !isDerived {
            throw .badRequest(
                "convergent encryption requires derivation to be enabled, so context is required")
        }
        let policy = try createKey(
            KeyPolicy(
                name: name, id: KeyID(random: context.random), type: type, isDerived: isDerived,
                isConvergent: isConvergent), now: request.now, &tx)
        // Not the cached ring: the handler may be run again, and then this key was never there.
        return OpenKey(policy: policy, ring: KeyRing())
    }

    @Sendable func decrypt(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        let (items, isBatch) = try Self.items(request)
        if !isBatch, items.first?.ciphertext == nil { throw .badRequest("missing ciphertext to decrypt") }
        let key = try openKey(try Self.keyName(request), tx)
        let view = tx
        return try Batch.answer(items, isBatch: isBatch, failed: { $0.field("plaintext", "") }) {
            (item, writer) throws(VaultError) in
            var plain = try key.decrypt(item, view)
            defer { plain.wipe() }
            Self.write(plain, as: "plaintext", &writer)
        }
    }

    @Sendable func rewrap(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        let (items, isBatch) = try Self.items(request)
        if !isBatch, items.first?.ciphertext == nil { throw .badRequest("missing ciphertext to decrypt") }
        let key = try openKey(try Self.keyName(request), tx)
        let view = tx
        return try Batch.answer(items, isBatch: isBatch) { (item, writer) throws(VaultError) in
            var plain = try key.decrypt(item, view)
            defer { plain.wipe() }
            let (text, version) = try plain.withRaw { (plain) throws(VaultError) in
                try key.encrypt(plain, item, random: context.random, view)
            }
            Self.write(text, version, &writer)
        }
    }

    @Sendable func makeDataKey(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        let kind = try request[Self.dataKeyKind]
        guard kind == "plaintext" || kind == "wrapped" else {
            throw .badRequest("invalid path: expected plaintext or wrapped, found \"\(kind)\"")
        }
        let bits = try request[Self.bits]
        guard [128, 256, 512].contains(bits) else {
            throw .badRequest("field 'bits': invalid bit length: expected 128, 256 or 512")
        }
        var item = try CipherItem(request)
        item.associatedData = nil
        let key = try openKey(try Self.keyName(request), tx)
        let view = tx
        let secret = SecretBytes.random(bits / 8, from: context.random)
        return try Batch.answer([item], isBatch: false) { (item, writer) throws(VaultError) in
            let (text, version) = try secret.withBytes { (plain) throws(VaultError) in
                try key.encrypt(plain, item, random: context.random, view)
            }
            Self.write(text, version, &writer)
            if kind == "plaintext" { writer.field("plaintext", .secret(Base64.standard.encode(secret))) }
        }
    }

    private static func items(
        _ request: LogicalRequest
    ) throws(VaultError) -> (items: [CipherItem], isBatch: Bool) {
        if let elements = try Batch.elements(request) { return (elements.map { CipherItem($0) }, true) }
        return ([try CipherItem(request)], false)
    }

    private static func write(_ ciphertext: [UInt8], _ version: Int, _ writer: inout JSONWriter) {
        writer.name("ciphertext")
        writer.string(unescaped: ciphertext)
        writer.field("key_version", version)
    }

    private static func write(_ secret: [UInt8], as name: String, _ writer: inout JSONWriter) {
        var text = secret.withUnsafeBytes { Base64.standard.encode($0) }
        defer { text.wipe() }
        writer.name(name)
        writer.string(unescaped: text)
    }
}
