import Base
import PluginKit

/// The options that every audit device has: how its records look. The rest are the device's own.
struct AuditOptions: Sendable, Equatable {
    /// Values are written as they are, not hashed.
    var isRaw = false
    /// Accessors are hashed too.
    var hashesAccessors = true
    /// Lists are answered by their length.
    var elidesLists = false
    /// Stands before each record.
    var prefix: [UInt8] = []
    /// No record tries the device when it is enabled.
    var skipsTest = false

    /// The names, for the refusal of unknown ones.
    static let names = ["log_raw", "hmac_accessor", "elide_list_responses", "prefix", "format", "skip_test"]
    private static let mostPrefixBytes = 64

    init() {}

    /// Takes the shared options out of `options`.
    /// - Throws: `.badRequest` that names the option.
    init(_ options: [String: String]) throws(VaultError) {
        isRaw = try Self.flag("log_raw", options) ?? false
        hashesAccessors = try Self.flag("hmac_accessor", options) ?? true
        elidesLists = try Self.flag("elide_list_responses", options) ?? false
        skipsTest = try Self.flag("skip_test", options) ?? false
        if let format = options["format"], format != "json" {
            throw .badRequest("options: format: expected \"json\", the one format that there is")
        }
        prefix = Array((options["prefix"] ?? "").utf8)
        try Self.check(prefix)
    }

    private static func flag(_ name: String, _ options: [String: String]) throws(VaultError) -> Bool? {
        guard let text = options[name] else { return nil }
        guard let flag = Bool(vaultText: text) else {
            throw .badRequest("options: \(name): expected true or false")
        }
        return flag
    }

    /// A prefix must not turn the log into something that another program executes: no `#!`, no line of a
    /// crontab or of a shell (CVE-2025-6000). What collectors want, such as `@cee: `, has one word.
    private static func check(_ prefix: [UInt8]) throws(VaultError) {
        var word = prefix[...]
        if word.last == UInt8(ascii: " ") { word.removeLast() }
        let isHarmless = word.allSatisfy { byte in
            switch byte {
            case 48...57, 65...90, 97...122: true
            default: "@:_-.[]=".utf8.contains(byte)
            }
        }
        guard isHarmless, prefix.count <= mostPrefixBytes else {
            throw .badRequest(
                "options: prefix: expected at most \(mostPrefixBytes) letters, digits or @:_-.[]=, "
                    + "and one space at the end if you like")
        }
    }
}
