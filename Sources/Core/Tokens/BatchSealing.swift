package import Base
import PluginKit

/// Turns a batch token's entry into the token and back. The token is the sealed entry itself, so that
/// it costs no storage and cannot be forged without the key.
package struct BatchSealing: Sendable {
    private static let prefix = Array("hvb.".utf8)
    private static let legacyPrefix = Array("b.".utf8)

    private let seal: @Sendable ([UInt8]) throws(VaultError) -> [UInt8]
    private let open: @Sendable ([UInt8]) -> [UInt8]?

    /// - Parameters:
    ///   - seal: encrypts and authenticates.
    ///   - open: gives the plain bytes back, or nil for what `seal` did not make.
    package init(
        seal: @escaping @Sendable ([UInt8]) throws(VaultError) -> [UInt8],
        open: @escaping @Sendable ([UInt8]) -> [UInt8]?
    ) {
        self.seal = seal
        self.open = open
    }

    /// Whether a token is one of these; no stored token looks so.
    package static func isBatch(_ token: UnsafeRawBufferPointer) -> Bool {
        token.starts(with: prefix) || token.starts(with: legacyPrefix)
    }

    /// The token that carries an entry.
    package func sealed(_ entry: TokenEntry) throws(VaultError) -> SecretBytes {
        let body = try seal(TokenCodec.encode(entry)).withUnsafeBytes { Base64.url.encode($0) }
        return SecretBytes(copying: Self.prefix + body)
    }

    /// The entry inside of a token, or nil when we did not make it.
    func opened(_ token: UnsafeRawBufferPointer) -> TokenEntry? {
        let prefix = token.starts(with: Self.prefix) ? Self.prefix : Self.legacyPrefix
        guard token.starts(with: prefix),
            let sealed = Base64.url.decode(UnsafeRawBufferPointer(rebasing: token[prefix.count...])),
            let plain = open(sealed), let entry = TokenCodec.decode(plain, hash: ""), entry.type == .batch
        else { return nil }
        return entry
    }
}

extension TokenStore {
    /// A batch token is good until its end, as long as its parent is good.
    func openBatch(
        _ token: UnsafeRawBufferPointer, now: Timestamp, _ tx: inout Transaction
    ) throws(VaultError) -> TokenEntry? {
        guard let entry = batch.opened(token), !entry.lifetime.isOver(at: now) else { return nil }
        if !entry.parent.isEmpty, try live(hash: entry.parent, now: now, &tx) == nil { return nil }
        return entry
    }
}
