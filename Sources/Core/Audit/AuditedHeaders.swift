package import Base
package import PluginKit

/// Which headers of requests are recorded, and which of them hashed: `sys/config/auditing/request-headers`.
package enum AuditedHeaders {
    package static let recordKey = "core/audited-headers"
    /// Each costs every audited request a look at its head.
    private static let mostHeaders = 64
    private static let mostNameBytes = 128
    /// What carries a credential is never recorded, hashed or not: it would be in memory as text.
    private static let credentials: Set<String> = [
        "x-vault-token", "authorization", "proxy-authorization", "cookie",
    ]

    /// Names in lower case, and whether their values are hashed.
    package static func read(_ tx: inout Transaction) throws(VaultError) -> [String: Bool] {
        guard let bytes = try tx.get(recordKey) else { return [:] }
        return parse(bytes)
    }

    static func read(_ view: any StorageView) throws(VaultError) -> [String: Bool] {
        try view.get(recordKey).map(parse) ?? [:]
    }

    /// Records a header from now on.
    /// - Throws: `.badRequest` when the name is none, or there are too many.
    package static func set(_ name: String, hashed: Bool, _ tx: inout Transaction) throws(VaultError) {
        let name = name.lowercased()
        try check(name)
        var headers = try read(&tx)
        headers[name] = hashed
        guard headers.count <= mostHeaders else {
            throw .badRequest("header: expected at most \(mostHeaders) audited headers")
        }
        write(headers, &tx)
    }

    /// Records a header no longer; there need not be such a one.
    package static func remove(_ name: String, _ tx: inout Transaction) throws(VaultError) {
        var headers = try read(&tx)
        if headers.removeValue(forKey: name.lowercased()) != nil { write(headers, &tx) }
    }

    private static func write(_ headers: [String: Bool], _ tx: inout Transaction) {
        let members = headers.sorted { $0.key < $1.key }.map { ($0.key, JSONValue.bool($0.value)) }
        tx.put(recordKey, JSONValue.object(members).encoded())
    }

    private static func parse(_ bytes: [UInt8]) -> [String: Bool] {
        var headers: [String: Bool] = [:]
        RawJSON(trusted: bytes).forEachMember { headers[$0] = $1.bool ?? true }
        return headers
    }

    private static func check(_ name: String) throws(VaultError) {
        let isToken = name.utf8.allSatisfy { byte in
            switch byte {
            case 48...57, 97...122: true
            default: "!#$%&'*+-.^_`|~".utf8.contains(byte)
            }
        }
        guard isToken, !name.isEmpty, name.utf8.count <= mostNameBytes else {
            throw .badRequest("header: expected the name of a header, at most \(mostNameBytes) bytes")
        }
        if credentials.contains(name) {
            throw .badRequest("header: \(name) carries a credential and is never recorded")
        }
    }
}
