import Base
import Crypto
import PluginKit

/// HMACs of what clients send, under a key's own HMAC key, and their verification.
extension TransitEngine {
    private static let input = Field<RawJSON>("input", "What the HMAC is of, in base64.")
    private static let hmac = Field<RawJSON>("hmac", "The HMAC to verify, as hmac/ answered it.")
    private static let algorithm = Field<String>("algorithm", default: "sha2-256", "The hash function.")
    private static let hashAlgorithm = Field<String>(
        "hash_algorithm", "The hash function; comes before algorithm.")
    private static let pathAlgorithm = Field<String>(required: "urlalgorithm", "The hash function.")

    static var codeRoutes: [Route<Self>] {
        [
            Route(
                .update, "hmac/:name", "Make the HMAC of some bytes.",
                fields: name, input, algorithm, keyVersion, Batch.field, run: Self.makeHMAC),
            Route(
                .update, "hmac/:name/:urlalgorithm", "Make the HMAC of some bytes.",
                fields: name, pathAlgorithm, input, algorithm, keyVersion, Batch.field, run: Self.makeHMAC),
            Route(
                .update, "verify/:name", "Verify an HMAC.",
                fields: name, input, hmac, algorithm, hashAlgorithm, Batch.field, run: Self.verify),
            Route(
                .update, "verify/:name/:urlalgorithm", "Verify an HMAC.",
                fields: name, pathAlgorithm, input, hmac, algorithm, hashAlgorithm, Batch.field,
                run: Self.verify),
        ]
    }

    private struct CodeItem {
        var input: RawJSON?
        var hmac: RawJSON?
        var hasSignature = false

        init(_ request: LogicalRequest) throws(VaultError) {
            input = try request.optional(TransitEngine.input)
            hmac = try request.optional(TransitEngine.hmac)
            hasSignature = request.input("signature") != nil
        }

        init(_ element: RawJSON) {
            element.forEachMember { name, value in
                let value = value.isNull ? nil : value
                switch name {
                case "input": input = value
                case "hmac": hmac = value
                case "signature": hasSignature = value != nil
                default: break
                }
            }
        }

        /// What the HMAC is of. The caller wipes it.
        var message: [UInt8] {
            get throws(VaultError) {
                guard let bytes = try Base64Input.bytes(input, "input") else {
                    throw .badRequest("missing input for HMAC")
                }
                return bytes
            }
        }
    }

    @Sendable func makeHMAC(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        let algorithm = try Self.hash(request)
        let (items, isBatch) = try Self.codeItems(request)
        let key = try openKey(try Self.keyName(request), tx)
        let number = try key.policy.encryptionVersion(try request[Self.keyVersion], for: "HMAC")
        let version = try key.version(number, tx)
        return try Batch.answer(items, isBatch: isBatch) { (item, writer) throws(VaultError) in
            var message = try item.message
            defer { message.wipe() }
            let code = try message.withRaw { (message) throws(VaultError) in
                try algorithm.code(key: version.hmacKey, message)
            }
            writer.name("hmac")
            writer.string(unescaped: Ciphertext.text(version: number, code))
        }
    }

    @Sendable func verify(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        let algorithm = try Self.hash(request)
        let (items, isBatch) = try Self.codeItems(request)
        let key = try openKey(try Self.keyName(request), tx)
        let view = tx
        return try Batch.answer(items, isBatch: isBatch) { (item, writer) throws(VaultError) in
            guard let sent = item.hmac else {
                throw .badRequest(
                    item.hasSignature
                        ? "key type \(key.policy.type.name) does not support verifying signatures"
                        : "neither a 'signature' nor an 'hmac' was given to verify")
            }
            let parsed = try Ciphertext(sent, "hmac")
            try key.policy.checkDecryptionVersion(parsed.version, of: "hmac")
            var message = try item.message
            defer { message.wipe() }
            let version = try key.version(parsed.version, view)
            let code = try message.withRaw { (message) throws(VaultError) in
                try algorithm.code(key: version.hmacKey, message)
            }
            writer.field("valid", constantTimeEqual(code, parsed.sealed))
        }
    }

    private static func codeItems(
        _ request: LogicalRequest
    ) throws(VaultError) -> (items: [CodeItem], isBatch: Bool) {
        if let elements = try Batch.elements(request) { return (elements.map { CodeItem($0) }, true) }
        return ([try CodeItem(request)], false)
    }

    private static func hash(_ request: LogicalRequest) throws(VaultError) -> HashAlgorithm {
        for field in [pathAlgorithm, hashAlgorithm] where request.has(field) {
            let name = try request[field]
            if !name.isEmpty { return try HashAlgorithm(named: name) }
        }
        return try HashAlgorithm(named: try request[algorithm])
    }
}

extension HashAlgorithm {
    /// - Throws: `.badRequest` that lists what there is.
    init(named name: String) throws(VaultError) {
        guard let algorithm = Self(rawValue: name) else {
            let known = Self.allCases.map(\.rawValue).joined(separator: ", ")
            throw .badRequest("unsupported algorithm \"\(name)\": expected one of \(known)")
        }
        self = algorithm
    }
}
