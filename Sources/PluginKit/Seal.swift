package import Base

/// What protects the root key while the server is down: a KMS, an HSM, another server, a key in a file.
///
/// A seal wraps one small key, the seal key, under which the core encrypts the root key and authenticates
/// it: so a seal need not notice that a blob was changed, and tells nothing about the root key to its KMS.
///
/// Both functions may block, and are called on threads that may. They end within 30 seconds by themselves
/// and may be called from several threads at once. What they throw is shown to operators, in the log, in
/// `status` and to who asks `sys/health`: it names what is wrong, and neither secrets nor accounts.
package protocol Seal: Sendable {
    /// The name of the stanza: `awskms`, `transit`, …
    static var type: String { get }
    /// The keys of its stanza. Those that all seals share (`disabled`, `name`, `priority`, `purpose`) are
    /// the server's.
    static var settings: [SealSetting] { get }

    /// Reads the settings, and asks nothing outside of the process and its files.
    /// - Throws: `.badRequest` that names the setting and what was expected.
    init(_ context: SealContext) throws(VaultError)

    /// What the server shows at its start, in this order: which key of which KMS. No secrets.
    var facts: [(name: String, value: String)] { get }

    /// Encrypts a key of 32 bytes under the newest version of the KMS's key.
    /// - Throws: `.unavailable` when the KMS is away or busy; `.forbidden` when it refuses our credential;
    ///   `.badRequest` when it cannot do what the configuration asks.
    func wrap(_ key: SecretBytes) throws(VaultError) -> WrappedKey

    /// Gives the key back, also one that an older version of the KMS's key has wrapped.
    /// - Throws: what `wrap` throws; `.badRequest` for what this key did not wrap, or was changed since.
    func unwrap(_ wrapped: WrappedKey) throws(VaultError) -> SecretBytes
}

/// A key as a seal gave it out for storage.
package struct WrappedKey: Sendable, Equatable {
    /// Which key and version wrapped it, in the KMS's words. When a later `wrap` gives another one, the KMS's
    /// key was rotated, and the core has the key wrapped anew.
    package let keyID: String
    /// What `unwrap` needs beside the id; at most 64 KiB.
    package let ciphertext: [UInt8]

    /// What a seal has wrapped.
    package init(keyID: String, ciphertext: [UInt8]) {
        self.keyID = keyID
        self.ciphertext = ciphertext
    }
}

/// One key of a seal's stanza.
package struct SealSetting: Sendable {
    /// As it is written in the stanza.
    package let name: String
    /// Older names of the same key.
    package let aliases: [String]
    /// Variables of the environment that come before the file, in their order.
    package let environment: [String]
    /// One line for the documentation.
    package let summary: String

    /// Takes each part as it is.
    package init(
        _ name: String, aliases: [String] = [], environment: [String] = [], _ summary: String
    ) {
        self.name = name
        self.aliases = aliases
        self.environment = environment
        self.summary = summary
    }
}

/// What an operator has set for one seal: the environment, then the stanza.
package struct SealSettings: Sendable {
    private let written: [String: String]
    private let environment: @Sendable (String) -> String?

    /// - Parameters:
    ///   - written: the stanza's strings, numbers and booleans as text.
    ///   - environment: gives a variable's value; tests pass their own.
    package init(
        _ written: [String: String], environment: @escaping @Sendable (String) -> String? = { _ in nil }
    ) {
        self.written = written
        self.environment = environment
    }

    /// The text of a setting; nil when it is empty or not set.
    package func text(_ setting: SealSetting) -> String? {
        for name in setting.environment {
            if let text = environment(name), !text.isEmpty { return text }
        }
        for name in [setting.name] + setting.aliases {
            if let text = written[name], !text.isEmpty { return text }
        }
        return nil
    }

    /// - Throws: `.badRequest` when it is not set.
    package func required(_ setting: SealSetting) throws(VaultError) -> String {
        if let text = text(setting) { return text }
        let variables = setting.environment.map { " or \($0)" }.joined()
        throw .badRequest("'\(setting.name)'\(variables): expected a value, found none")
    }

    /// - Throws: `.badRequest` for what is neither true nor false.
    package func flag(_ setting: SealSetting) throws(VaultError) -> Bool {
        guard let text = text(setting) else { return false }
        guard let flag = Bool(vaultText: text) else {
            throw .badRequest("'\(setting.name)': expected true or false")
        }
        return flag
    }

    /// A secret: the text itself, or what the file or variable holds that `file://path` or `env://NAME`
    /// names, without a line's end.
    /// - Throws: `.badRequest` when the file cannot be read, or the variable is not set.
    package func secret(_ setting: SealSetting) throws(VaultError) -> SecretBytes? {
        guard let text = text(setting) else { return nil }
        if text.hasPrefix("env://") {
            let name = String(text.dropFirst(6))
            guard let value = environment(name), !value.isEmpty else {
                throw .badRequest("'\(setting.name)': the variable \(name) is not set")
            }
            return SecretBytes(copying: value.utf8)
        }
        guard text.hasPrefix("file://") else { return SecretBytes(copying: text.utf8) }
        let path = String(text.dropFirst(7))
        do throws(VaultError) {
            var bytes = try SmallFile.read(path)
            defer { bytes.wipe() }
            while let last = bytes.last, last == 10 || last == 13 { bytes.removeLast() }
            return SecretBytes(copying: bytes)
        } catch { throw .badRequest("'\(setting.name)': \(error.messages.joined())") }
    }

    /// A variable of the environment that is no setting of the stanza: what a cloud puts into its machines.
    package func variable(_ name: String) -> String? {
        environment(name).flatMap { $0.isEmpty ? nil : $0 }
    }
}

/// What one seal knows of its server.
package struct SealContext: Sendable {
    /// Of this seal's stanza and environment.
    package let settings: SealSettings
    /// The only way to the time.
    package let clock: any Clock
    /// The only way to randomness.
    package let random: any RandomSource
    /// For what a KMS says in its own words, which strangers must not see.
    package let log: Log

    /// Takes each part as it is.
    package init(
        settings: SealSettings, clock: any Clock = SystemClock(), random: any RandomSource = SystemRandom(),
        log: Log = Log()
    ) {
        self.settings = settings
        self.clock = clock
        self.random = random
        self.log = log
    }
}
