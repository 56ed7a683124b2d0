import Base
import Crypto
import PluginKit

/// Hashes and random bytes, for clients whose policies reach a transit mount and not `sys/tools/`.
extension TransitEngine {
    private static let input = Field<RawJSON>("input", "What to hash, in base64.")
    private static let algorithm = Field<String>("algorithm", default: "sha2-256", "The hash function.")
    private static let pathAlgorithm = Field<String>("urlalgorithm", "The hash function.")
    private static let format = Field<String>("format", "hex or base64.")
    private static let bytes = Field<Int>("bytes", default: 32, "How many bytes.")
    private static let pathBytes = Field<Int>("urlbytes", "How many bytes.")

    /// Random bytes in one answer (Vault's own bound).
    private static let mostBytes = 128 << 10

    static var toolRoutes: [Route<Self>] {
        [
            Route(.update, "hash", "Hash some bytes.", fields: input, algorithm, format, run: Self.hash),
            Route(
                .update, "hash/:urlalgorithm", "Hash some bytes.",
                fields: pathAlgorithm, input, algorithm, format, run: Self.hash),
            Route(.update, "random", "Make random bytes.", fields: bytes, format, run: Self.makeRandom),
            Route(
                .update, "random/:urlbytes", "Make random bytes.", fields: pathBytes, bytes, format,
                run: Self.makeRandom),
        ]
    }

    @Sendable func hash(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        let isInPath = request.has(Self.pathAlgorithm)
        let algorithm = try HashAlgorithm(
            named: try request[isInPath ? Self.pathAlgorithm : Self.algorithm])
        let isBase64 = try Self.isBase64(request, unlessSent: false)
        var message = try Base64Input.bytes(try request.optional(Self.input), "input") ?? []
        defer { message.wipe() }
        let sum = try message.withRaw { (message) throws(VaultError) in try algorithm.digest(message) }
        return LogicalResponse(data: [
            "sum": .string(isBase64 ? Base64.standard.encode(sum) : Hex.encode(sum))
        ])
    }

    @Sendable func makeRandom(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        let count = try request[request.has(Self.pathBytes) ? Self.pathBytes : Self.bytes]
        guard (1...Self.mostBytes).contains(count) else {
            throw .badRequest("field 'bytes': expected a number from 1 to \(Self.mostBytes)")
        }
        let isBase64 = try Self.isBase64(request, unlessSent: true)
        let secret = SecretBytes.random(count, from: context.random)
        let text = isBase64 ? Base64.standard.encode(secret) : Hex.encode(secret)
        return LogicalResponse(data: ["random_bytes": .secret(text)])
    }

    private static func isBase64(_ request: LogicalRequest, unlessSent usual: Bool) throws(VaultError) -> Bool
    {
        switch try request.optional(format) {
        case nil, "": return usual
        case "hex": return false
        case "base64": return true
        case .some(let other):
            throw .badRequest("field 'format': expected hex or base64, found \"\(other)\"")
        }
    }
}
