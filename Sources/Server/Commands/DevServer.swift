import Base
import Core
import Glibc
import PluginKit

/// A development server: initialised and unsealed at once, with a root token that is shown and KV at
/// `secret/`.
enum DevServer {
    static func prepare(_ node: Node, rootToken: String?, storesToken: Bool, _ addresses: String)
        throws(VaultError)
    {
        let id = rootToken.map { SecretBytes(copying: $0.utf8) }
        let keys = try node.seal.initialize(shares: 1, threshold: 1, rootTokenID: id)
        let unsealKey = Base64.standard.encode(keys.shares[0])
        try node.seal.enter(share: unsealKey)
        guard let active = node.core.active else {
            throw .internal("a development server that does not unseal")
        }
        try mountSecret(node, active)
        if storesToken { storeToken(keys.rootToken) }
        show(unsealKey, keys.rootToken, addresses, storesToken)
    }

    private static func mountSecret(_ node: Node, _ active: ActiveCore) throws(VaultError) {
        let mounts = node.core.mounts
        let random = node.core.random
        try active.transactions.runBlocking { tx throws(VaultError) in
            var entries = try mounts.readEntries(&tx)
            var entry = MountEntry(
                kind: .secret, path: "secret/", type: "kv", description: "key/value secret storage",
                random: random)
            entry.options = ["version": "2"]
            let mount = try mounts.build(entry)
            var scoped = tx.scoped(to: mount.storagePrefix)
            try mount.prepare(&scoped)
            entries.append(entry)
            mounts.writeEntries(entries, &tx)
        }
    }

    /// Where the CLI looks for it, readable by the user alone.
    private static func storeToken(_ token: SecretBytes) {
        guard let home = getenv("HOME") else { return }
        let path = String(cString: home) + "/.vault-token"
        let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { return }
        fchmod(descriptor, 0o600)
        token.withBytes { _ = write(descriptor, $0.baseAddress, $0.count) }
        close(descriptor)
    }

    /// This is the one place where keys are printed: a development server's are no secrets.
    private static func show(
        _ unsealKey: SecretBytes, _ token: SecretBytes, _ addresses: String, _ stored: Bool
    ) {
        func text(_ secret: SecretBytes) -> String {
            secret.withBytes { String(decoding: $0, as: UTF8.self) }
        }
        let address = addresses.split(separator: ",").first.map(String.init) ?? ""
        StandardStream.output.print(
            """
            ==> Holdfast \(Version.product) development server

                WARNING! Development mode: everything is kept in memory, unsealed, and is gone
                when this process ends. Never keep real secrets in it.

                Address:     http://\(address)
                Unseal Key:  \(text(unsealKey))
                Root Token:  \(text(token))

                Try, in another terminal:

                    $ export VAULT_ADDR='http://\(address)'
                    $ export VAULT_TOKEN='\(text(token))'
                    $ holdfast status
                    $ holdfast kv put -mount=secret first password=s3cret
                    $ holdfast kv get -mount=secret first

            """)
    }
}

/// The process's own streams, without the C library's buffers, which Swift cannot share between threads.
enum StandardStream: Int32 {
    case output = 1
    case error = 2

    func print(_ text: String) {
        var left = Array(text.utf8)[...]
        while !left.isEmpty {
            let written = left.withUnsafeBytes { write(rawValue, $0.baseAddress, $0.count) }
            if written <= 0 { return }
            left = left.dropFirst(written)
        }
    }
}
