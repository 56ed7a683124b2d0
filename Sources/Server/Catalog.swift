import AuditDevices
import AuthMethods
import Base
import Core
import PluginKit
import Seals
import SecretsEngines
import StorageBackends

/// The one place that knows every plug-in: to add one is one line here.
enum Catalog {
    /// Secrets engines, by the type that `sys/mounts` takes.
    static let secretsEngines: [any SecretsEngine.Type] = [
        KVEngine.self,
        TransitEngine.self,
    ]

    /// Engines that are mounted by the server itself.
    static let cubbyhole = Cubbyhole.self

    /// Auth methods, by the type that `sys/auth` takes. The token method is part of the core.
    static let authMethods: [any AuthMethod.Type] = [
        UserpassMethod.self,
        AppRoleMethod.self,
    ]

    /// Storage backends, by the name of their stanza.
    static let storageBackends: [(type: String, settings: [String], open: StorageOpener)] = [
        (FileBackend.type, FileBackend.settings, FileBackend.open),
        (InMemoryBackend.type, InMemoryBackend.settings, InMemoryBackend.open),
        (RaftBackend.type, RaftBackend.settings, RaftBackend.open),
    ]

    /// Audit devices, by the type that `sys/audit` takes.
    static let auditKinds: [String: AuditBroker.Kind] = [
        FileDevice.type: AuditBroker.Kind(FileDevice.self),
        SocketDevice.type: AuditBroker.Kind(SocketDevice.self),
        SyslogDevice.type: AuditBroker.Kind(SyslogDevice.self),
    ]

    typealias StorageOpener = @Sendable ([String: String], Log) throws(VaultError) -> any StorageBackend

    /// Seals that need nobody, by the name of their stanza. Shamir's is part of the core.
    static let sealKinds: [any Seal.Type] = [
        AWSKMSSeal.self,
        AzureKeyVaultSeal.self,
        GoogleKMSSeal.self,
        AliCloudKMSSeal.self,
        TransitSeal.self,
        PKCS11Seal.self,
        StaticSeal.self,
    ]

    /// Kinds of seal that a configuration may name.
    static var seals: Set<String> { Set(sealKinds.map { $0.type } + ["shamir"]) }

    /// Every type that a mount may have, the core's own included.
    static var mountTypes: [String] {
        secretsEngines.map { $0.type } + authMethods.map { $0.type } + ["system", "token", "cubbyhole"]
    }

    static var secretFactories: [String: MountRegistry.Factory] {
        Dictionary(uniqueKeysWithValues: secretsEngines.map { ($0.type, factory($0)) })
    }

    static var authFactories: [String: MountRegistry.Factory] {
        Dictionary(uniqueKeysWithValues: authMethods.map { ($0.type, factory($0)) })
    }

    /// Opens the storage that a configuration names.
    /// - Throws: `.badRequest` for a type that does not exist, and what the backend says.
    static func openStorage(
        _ type: String, _ settings: [String: String], log: Log
    ) throws(VaultError) -> any StorageBackend {
        guard let kind = storageBackends.first(where: { $0.type == type }) else {
            let known = storageBackends.map(\.type).joined(separator: ", ")
            throw .badRequest("storage \"\(type)\": expected one of \(known)")
        }
        for key in settings.keys.sorted() where !kind.settings.contains(key) {
            log.warn("unknown key in the storage stanza", ["storage": type, "key": key])
        }
        return try kind.open(settings, log)
    }

    private static func factory<Engine: SecretsEngine>(_ type: Engine.Type) -> MountRegistry.Factory {
        MountRegistry.factory(type)
    }
    private static func factory<Method: AuthMethod>(_ type: Method.Type) -> MountRegistry.Factory {
        MountRegistry.factory(type)
    }
}
