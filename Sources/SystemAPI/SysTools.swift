package import Base
import Crypto
package import PluginKit

/// `sys/tools/*`: random bytes and hashes.
package struct SysTools: Sendable {
    private let random: any RandomSource

    package init(random: any RandomSource) { self.random = random }

    private static let input = Field<RawJSON>("input", "What to hash, in base64.")
    private static let algorithm = Field<String>("algorithm", default: "sha2-256", "The hash function.")
    private static let urlAlgorithm = Field<String>("urlalgorithm", "The hash function.")
    private static let format = Field<String>("format", "hex or base64.")
    private static let bytes = Field<Int>("bytes", default: 32, "How many bytes.")
    private static let urlBytes = Field<String>("urlbytes", "How many bytes; or where they come from.")
    private static let source = Field<String>(
        "source", default: "platform", "Where the bytes come from: platform or all.")

    /// Random bytes in one answer (Vault's own bound).
    private static let mostBytes = 128 << 10

    package static var routes: [Route<Self>] {
        [
            Route(
                .update, "tools/hash", "Hash some bytes.", fields: input, algorithm, format, run: Self.hash),
            Route(
                .update, "tools/hash/:urlalgorithm", "Hash some bytes.",
                fields: urlAlgorithm, input, algorithm, format, run: Self.hash),
            Route(
                .update, "tools/random", "Make random bytes.", fields: bytes, format, source,
                run: Self.makeRandom),
            Route(
                .update, "tools/random/:urlbytes", "Make random bytes.",
                fields: urlBytes, bytes, format, source, run: Self.makeRandom),
            Route(
                .update, "tools/random/:source/:urlbytes", "Make random bytes.",
                fields: urlBytes, source, format, run: Self.makeRandom),
        ]
    }

    // MARK: Hashes

    private func hash(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        let inPath = try request.optional(Self.urlAlgorithm)
        let usual = try request[Self.algorithm]
        let name = inPath ?? usual
        guard let algorithm = HashAlgorithm(rawValue: name) else {
            let known = HashAlgorithm.allCases.map(\.rawValue).joined(separator: ", ")
            throw .badRequest("unsupported algorithm \"\(name)\": expected one of \(known)")
        }
        let isBase64 = try isBase64(request, unlessSent: false)
        var input = try inputBytes(request)
        defer { input.wipe() }
        let sum = try input.withRaw { (bytes) throws(VaultError) in try algorithm.digest(bytes) }
        return LogicalResponse(data: [
            "sum": .string(isBase64 ? Base64.standard.encode(sum) : Hex.encode(sum))
        ])
    }

    /// The bytes may be a secret: they never become a `String`.
    private func inputBytes(_ request: LogicalRequest) throws(VaultError) -> [UInt8] {
        guard let sent = try request.optional(Self.input) else { return [] }
        guard var text = sent.stringBytes else { throw .badRequest("field 'input': expected a string") }
        defer { text.wipe() }
        guard let bytes = text.withUnsafeBytes({ Base64.standard.decode($0) }) else {
            throw .badRequest("field 'input': unable to decode as base64")
        }
        return bytes
    }

    private func isBase64(_ request: LogicalRequest, unlessSent usual: Bool) throws(VaultError) -> Bool {
        switch try request.optional(Self.format) {
        case nil, "": return usual
        case "hex": return false
        case "base64": return true
        case .some(let other):
            throw .badRequest("unsupported encoding format \"\(other)\"; must be \"hex\" or \"base64\"")
        }
    }

    // MARK: Random bytes

    private func makeRandom(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        var source = try request[Self.source]
        var count = try request[Self.bytes]
        if let inPath = try request.optional(Self.urlBytes) {
            if let number = Int(inPath) {
                count = number
            } else if ["platform", "seal", "all"].contains(inPath) {
                source = inPath
            } else {
                throw .badRequest("field 'bytes': expected a number, found \"\(inPath)\"")
            }
        }
        switch source {
        case "", "platform", "all": break
        case "seal": throw .badRequest("field 'source': this server's seal gives no random bytes")
        default: throw .badRequest("field 'source': expected platform or all, found \"\(source)\"")
        }
        if count < 1 { throw .badRequest("\"bytes\" cannot be less than 1") }
        if count > Self.mostBytes { throw .badRequest("\"bytes\" cannot be more than \(Self.mostBytes)") }
        let isBase64 = try isBase64(request, unlessSent: true)
        let bytes = SecretBytes.random(count, from: random)
        let text = isBase64 ? Base64.standard.encode(bytes) : Hex.encode(bytes)
        return LogicalResponse(data: ["random_bytes": .secret(text)])
    }
}
