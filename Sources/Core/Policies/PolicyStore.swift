package import Base
package import PluginKit

/// The ACL policies in storage, below `sys/policy/`: one record of JSON for each, with the text as
/// it was written.
///
/// Names are lower case without blanks around them wherever they come from, so that no spelling of
/// `root` is another policy. Whoever commits a change must then invalidate the `ACLCache`.
package struct PolicyStore: Sendable {
    private static let prefix = "sys/policy/"
    /// Bytes of a name: it must fit a storage key and a line of a list.
    private static let nameBytes = 256

    /// Holds nothing itself.
    package init() {}

    /// The name under which a policy is kept: lower case, no blanks at its ends.
    package static func canonicalName(_ name: String) -> String { name.trimmingBlanks().lowercased() }

    /// The text of a policy; nil when there is none of that name. `root` has an empty one.
    package func read(_ name: String, in transaction: Transaction) throws(VaultError) -> String? {
        let name = Self.canonicalName(name)
        if BuiltInPolicies.immutableNames.contains(name) { return BuiltInPolicies.text(name) }
        guard !name.isEmpty, let bytes = try transaction.scoped(to: Self.prefix).get(name) else {
            return BuiltInPolicies.text(name)
        }
        let record = try? RawJSON(validating: bytes, limits: Self.recordLimits)
        guard let text = record?["policy"]?.string else { throw .corrupted(place: Self.prefix + name) }
        return text
    }

    /// Whether there is a policy of that name. Looks at no text.
    package func exists(_ name: String, in transaction: Transaction) throws(VaultError) -> Bool {
        let name = Self.canonicalName(name)
        if BuiltInPolicies.text(name) != nil { return true }
        if name.isEmpty { return false }
        return try transaction.scoped(to: Self.prefix).get(name) != nil
    }

    /// The names of all policies that a token can have, sorted, `default` and `root` included.
    package func list(in transaction: Transaction) throws(VaultError) -> [String] {
        let stored = try transaction.scoped(to: Self.prefix).scan("")
        return Set(stored + [BuiltInPolicies.rootName, BuiltInPolicies.defaultName]).sorted()
    }

    /// Checks and stores a policy.
    /// - Returns: what the text asks for and this version does not enforce.
    /// - Throws: `.badRequest` for a bad name, an empty text, `root`, or a fault in the text, with its place.
    @discardableResult
    package func put(
        _ name: String, _ text: String, in transaction: inout Transaction
    ) throws(VaultError) -> [String] {
        let name = try Self.writableName(name, verb: "update")
        let document = try Self.check(text)
        let record = JSONValue.object([("type", "acl"), ("policy", .string(text))])
        var own = transaction.scoped(to: Self.prefix)
        own.put(name, record.encoded())
        return document.warnings
    }

    /// Deletes a policy; one that is not there is no error.
    /// - Throws: `.badRequest` for `root`, `default` and a bad name.
    package func delete(_ name: String, in transaction: inout Transaction) throws(VaultError) {
        let name = try Self.writableName(name, verb: "delete")
        if name == BuiltInPolicies.defaultName { throw .badRequest("cannot delete default policy") }
        var own = transaction.scoped(to: Self.prefix)
        own.delete(name)
    }

    /// Reads a text as `put` would, without storing it.
    package static func check(_ text: String) throws(VaultError) -> PolicyDocument {
        if text.allSatisfy(\.isWhitespace) { throw .badRequest("'policy' parameter not supplied or empty") }
        do throws(VaultError) {
            return try PolicyDocument(parsing: text)
        } catch {
            guard case .badRequest(let reason) = error else { throw error }
            throw .badRequest("failed to parse policy: \(reason)")
        }
    }

    /// The API takes a policy as it is or in standard base64: gives the text behind either.
    package static func text(fromAPI sent: String) -> String {
        var bytes: [UInt8] = []
        var bits: UInt32 = 0
        var count = 0
        let digits = sent.utf8.filter { $0 != 10 && $0 != 13 }
        guard !digits.isEmpty, digits.count % 4 == 0 else { return sent }
        let body = digits.prefix { $0 != UInt8(ascii: "=") }
        guard digits.count - body.count <= 2, digits[body.count...].allSatisfy({ $0 == UInt8(ascii: "=") })
        else {
            return sent
        }
        for digit in body {
            let value: UInt8
            switch digit {
            case 65...90: value = digit - 65
            case 97...122: value = digit - 71
            case 48...57: value = digit + 4
            case UInt8(ascii: "+"): value = 62
            case UInt8(ascii: "/"): value = 63
            default: return sent
            }
            bits = bits << 6 | UInt32(value)
            count += 6
            if count >= 8 {
                count -= 8
                bytes.append(UInt8(truncatingIfNeeded: bits >> UInt32(count)))
            }
        }
        return String(validating: bytes, as: UTF8.self) ?? sent
    }

    /// A text's JSON escapes may make its record longer than any request.
    private static let recordLimits: Limits = {
        var limits = Limits()
        limits.jsonStringBytes = limits.entryBytes
        return limits
    }()

    private static func writableName(_ name: String, verb: String) throws(VaultError) -> String {
        let name = canonicalName(name)
        if name.isEmpty { throw .badRequest("policy name: expected a name, found nothing") }
        if name.utf8.count > nameBytes {
            throw .badRequest("policy name: expected at most \(nameBytes) bytes")
        }
        let segments = name.split(separator: "/", omittingEmptySubsequences: false)
        // ASCII: two names that Swift takes for the same (composed and decomposed letters) cannot both exist.
        if name.utf8.contains(where: { $0 < 32 || $0 > 126 })
            || segments.contains(where: { ["", ".", ".."].contains($0) })
        {
            throw .badRequest("policy name: expected printable ASCII and no empty, '.' or '..' segments")
        }
        if BuiltInPolicies.immutableNames.contains(name) {
            throw .badRequest("cannot \(verb) \"\(name)\" policy")
        }
        return name
    }
}
