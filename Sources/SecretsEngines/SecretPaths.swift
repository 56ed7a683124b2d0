import Base
import PluginKit

/// What the engines that store whole bodies under free paths ask of a request.
extension LogicalRequest {
    /// The secret's path, for reads: one that cannot exist is not found.
    var secretPath: String {
        get throws(VaultError) {
            guard let path = parameters.first?.value, !path.isEmpty, path.utf8.last != UInt8(ascii: "/")
            else {
                throw .notFound
            }
            return path
        }
    }

    /// The secret's path, for writes.
    /// - Throws: `.badRequest` when no secret may have that name.
    var writableSecretPath: String {
        get throws(VaultError) {
            guard let path = parameters.first?.value, !path.isEmpty else { throw .badRequest("missing path") }
            if path.utf8.last == UInt8(ascii: "/") {
                throw .badRequest("cannot write to a path ending in '/'")
            }
            if Self.hasEmptySegment(path) { throw .badRequest("path: expected no empty segments") }
            return path
        }
    }

    /// Whether a slash stands first, or behind another.
    private static func hasEmptySegment(_ path: String) -> Bool {
        var previous = UInt8(ascii: "/")
        for byte in path.utf8 {
            if byte == UInt8(ascii: "/"), previous == byte { return true }
            previous = byte
        }
        return false
    }

    /// The folder that a list asks for: empty or with a trailing slash.
    var folder: String {
        guard let path = parameters.first?.value, !path.isEmpty else { return "" }
        return path.utf8.last == UInt8(ascii: "/") ? path : path + "/"
    }

    /// The whole body as one JSON object, or a form's fields as an object of strings.
    /// - Throws: `.badRequest` when there is nothing in it.
    var wholeBody: RawJSON {
        get throws(VaultError) {
            if let body {
                guard body.kind == .object else { throw .badRequest("expected a JSON object") }
                if JSONShape.isEmptyObject(body) { throw .badRequest("missing data fields") }
                return body
            }
            if fields.isEmpty { throw .badRequest("missing data fields") }
            var writer = JSONWriter()
            writer.beginObject()
            for (name, value) in fields {
                switch value {
                case .text(let text): writer.field(name, text)
                case .json(let json): writer.field(name, json)
                }
            }
            writer.endObject()
            return RawJSON(trusted: writer.bytes)
        }
    }
}

/// Quick looks at JSON that is known to be well-formed.
enum JSONShape {
    static func isEmptyObject(_ json: RawJSON) -> Bool {
        json.kind == .object && json.bytes.dropFirst().first { $0 > 32 } == UInt8(ascii: "}")
    }
}
