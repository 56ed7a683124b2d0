package import Base
package import PluginKit
import Synchronization

/// What operators have set about HTTP answers (Vault API: `sys/config/cors`, `sys/config/ui/headers`): an
/// immutable snapshot, replaced whole when a commit changes a record of it.
package struct HTTPConfig: Sendable, Equatable {
    package var cors = CORSConfig()
    /// In the order of their names.
    package var uiHeaders: [UIHeader] = []

    package init() {}

    /// Whether a commit of this key changes the snapshot.
    static func concerns(_ key: String) -> Bool { key == CORSConfig.key || key == UIHeader.key }

    init(_ view: any StorageView) throws(VaultError) {
        var tx = Transaction(view: view)
        cors = try CORSConfig(&tx)
        uiHeaders = try UIHeader.readAll(&tx)
    }
}

/// The newest snapshot, for every request; what nothing says while the server is sealed.
package final class HTTPSettings: Sendable {
    private let held = Mutex(HTTPConfig())
    private let hasCORS = Atomic<Bool>(false)

    init() {}

    /// The newest snapshot.
    package var config: HTTPConfig { held.withLock { $0 } }

    /// The rules for web pages of other origins while they are switched on. Nearly always nil: then this
    /// costs one load.
    package var cors: CORSConfig? {
        guard hasCORS.load(ordering: .acquiring) else { return nil }
        let cors = config.cors
        return cors.isEnabled ? cors : nil
    }

    func set(_ config: HTTPConfig) {
        held.withLock { $0 = config }
        hasCORS.store(config.cors.isEnabled, ordering: .releasing)
    }
}

/// Which web pages of other origins may read answers.
package struct CORSConfig: Sendable, Equatable {
    static let key = "core/cors-config"
    private static let mostOrigins = 128
    private static let mostHeaders = 64
    private static let longestText = 512
    /// What a page may always send: the headers of this API.
    package static let standardHeaders = [
        "Content-Type", "X-Requested-With", "X-Vault-AWS-IAM-Server-ID", "X-Vault-MFA", "X-Vault-Namespace",
        "X-Vault-No-Request-Forwarding", "X-Vault-Wrap-Format", "X-Vault-Wrap-TTL",
        "X-Vault-Policy-Override", "Authorization", "X-Vault-Token",
    ]

    package var isEnabled = false
    /// `["*"]` for all.
    package var allowedOrigins: [String] = []
    /// The standard ones, then the operators' own.
    package var allowedHeaders: [String] = []

    package init() {}

    /// The configuration that lets these origins in.
    /// - Throws: `.badRequest` that names what cannot be.
    package init(origins: [String], headers: [String]) throws(VaultError) {
        guard (1...Self.mostOrigins).contains(origins.count) else {
            throw .badRequest("allowed_origins: expected 1 to \(Self.mostOrigins) origins, or \"*\"")
        }
        if origins.contains("*"), origins.count > 1 {
            throw .badRequest("allowed_origins: \"*\" must stand alone")
        }
        for origin in origins where !Self.isOrigin(origin) {
            throw .badRequest("allowed_origins: expected origins such as \"https://ui.example.com\"")
        }
        guard headers.count <= Self.mostHeaders else {
            throw .badRequest("allowed_headers: expected at most \(Self.mostHeaders)")
        }
        for name in headers where !HeaderText.isName(name) {
            throw .badRequest("allowed_headers: expected names of HTTP headers")
        }
        isEnabled = true
        allowedOrigins = origins
        let standard = Set(Self.standardHeaders.map { $0.lowercased() })
        allowedHeaders = Self.standardHeaders + headers.filter { !standard.contains($0.lowercased()) }
    }

    /// Whether a page of this origin may read answers.
    package func allows(_ origin: String) -> Bool {
        isEnabled && (allowedOrigins == ["*"] || allowedOrigins.contains(origin))
    }

    private static func isOrigin(_ text: String) -> Bool {
        !text.isEmpty && text.utf8.count <= longestText && text.utf8.allSatisfy { $0 > 32 && $0 < 127 }
    }

    // MARK: The record

    package init(_ tx: inout Transaction) throws(VaultError) {
        guard let bytes = try tx.get(Self.key) else { return }
        let json = RawJSON(trusted: bytes)
        isEnabled = json["enabled"]?.bool ?? false
        allowedOrigins = json["allowed_origins"].flatMap { [String].parse(.json($0)) } ?? []
        allowedHeaders = json["allowed_headers"].flatMap { [String].parse(.json($0)) } ?? []
    }

    /// Stores this in place of what was set before.
    package func write(_ tx: inout Transaction) {
        let record: JSONValue = [
            "enabled": .bool(isEnabled), "allowed_origins": .strings(allowedOrigins),
            "allowed_headers": .strings(allowedHeaders),
        ]
        tx.put(Self.key, record.encoded())
    }

    /// Shuts out all other origins.
    package static func delete(_ tx: inout Transaction) { tx.delete(key) }
}

/// A header that every answer below `/ui/` carries.
package struct UIHeader: Sendable, Equatable {
    static let key = "core/ui-headers"
    private static let mostHeaders = 64
    private static let mostValues = 32

    /// In its canonical spelling, `X-Custom`.
    package let name: String
    package let values: [String]

    /// - Throws: `.badRequest` for what is no header, or one that is the server's own.
    package init(name: String, values: [String]) throws(VaultError) {
        self.name = try Self.canonicalName(name)
        guard (1...Self.mostValues).contains(values.count) else {
            throw .badRequest("values: expected 1 to \(Self.mostValues) values")
        }
        for value in values where !HeaderText.isValue(value) {
            throw .badRequest("values: expected text without control characters, of at most 4096 bytes")
        }
        self.values = values
    }

    private init(stored name: String, _ values: [String]) {
        self.name = name
        self.values = values
    }

    /// The one spelling of a header's name.
    /// - Throws: `.badRequest` when it is none, or may not be set.
    package static func canonicalName(_ name: String) throws(VaultError) -> String {
        guard HeaderText.isName(name) else { throw .badRequest("header: expected a name of an HTTP header") }
        let lower = name.lowercased()
        if lower.hasPrefix("x-vault-") { throw .badRequest("X-Vault headers cannot be set") }
        if HeaderText.framing.contains(lower) {
            throw .badRequest("header: \(name) belongs to the framing of HTTP and cannot be set")
        }
        return HeaderText.canonical(name)
    }

    // MARK: The record

    /// All of them, in the order of their names.
    package static func readAll(_ tx: inout Transaction) throws(VaultError) -> [UIHeader] {
        guard let bytes = try tx.get(key) else { return [] }
        return RawJSON(trusted: bytes).members.map { name, values in
            UIHeader(stored: name, [String].parse(.json(values)) ?? [])
        }
    }

    /// Sets this header in place of one of the same name.
    package func write(_ tx: inout Transaction) throws(VaultError) {
        var all = try Self.readAll(&tx).filter { $0.name != name }
        guard all.count < Self.mostHeaders else {
            throw .badRequest("header: there are \(Self.mostHeaders) already, which is the most")
        }
        all.append(self)
        Self.store(all, &tx)
    }

    /// Removes the header of this canonical name, if there is one.
    package static func delete(name: String, _ tx: inout Transaction) throws(VaultError) {
        let all = try readAll(&tx)
        let rest = all.filter { $0.name != name }
        if rest.count < all.count { store(rest, &tx) }
    }

    private static func store(_ headers: [UIHeader], _ tx: inout Transaction) {
        let sorted = headers.sorted { $0.name < $1.name }
        tx.put(key, JSONValue.object(sorted.map { ($0.name, .strings($0.values)) }).encoded())
    }
}

/// What may stand in an HTTP header (RFC 9110 §5).
package enum HeaderText {
    /// Headers that say where a message ends; they are the server's alone.
    static let framing: Set = [
        "connection", "content-length", "content-type", "date", "keep-alive", "te", "trailer",
        "transfer-encoding", "upgrade",
    ]
    private static let marks = Set("!#$%&'*+-.^_`|~".utf8)

    /// Whether this is a token of at most 128 bytes.
    package static func isName(_ text: String) -> Bool {
        (1...128).contains(text.utf8.count)
            && text.utf8.allSatisfy {
                (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0)
                    || marks.contains($0)
            }
    }

    /// Whether this is visible text of at most 4,096 bytes, so that it cannot begin another header.
    package static func isValue(_ text: String) -> Bool {
        text.utf8.count <= 4_096 && text.utf8.allSatisfy { $0 >= 32 && $0 < 127 || $0 == 9 }
    }

    /// With a capital at the beginning and behind each hyphen.
    static func canonical(_ name: String) -> String {
        name.split(separator: "-", omittingEmptySubsequences: false)
            .map { $0.prefix(1).uppercased() + $0.dropFirst().lowercased() }.joined(separator: "-")
    }
}
