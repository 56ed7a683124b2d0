package import Base
import PluginKit

/// One row of the table of audit devices, as it is stored and shown. A row never changes: a device is
/// disabled and enabled again.
package struct AuditEntry: Sendable, Equatable {
    /// With a trailing slash: `file/`.
    package var path: String
    package var type: String
    package var description: String
    package var options: [String: String]
    package var isLocal: Bool
    /// Names the device's salt.
    package var uuid: String

    package init(
        path: String, type: String, description: String, options: [String: String], isLocal: Bool,
        uuid: String
    ) {
        self.path = path
        self.type = type
        self.description = description
        self.options = options
        self.isLocal = isLocal
        self.uuid = uuid
    }

    /// The object in `sys/audit`.
    package var listing: JSONValue {
        [
            "description": .string(description), "local": .bool(isLocal), "options": .map(options),
            "path": .string(path), "type": .string(type),
        ]
    }

    /// The record in storage.
    var record: JSONValue {
        [
            "path": .string(path), "type": .string(type), "description": .string(description),
            "options": .map(options), "local": .bool(isLocal), "uuid": .string(uuid),
        ]
    }

    init(record json: RawJSON) throws(VaultError) {
        func text(_ name: String) throws(VaultError) -> String {
            guard let value = json[name]?.string else { throw .corrupted(place: "audit table: \(name)") }
            return value
        }
        path = try text("path")
        type = try text("type")
        description = try text("description")
        uuid = try text("uuid")
        isLocal = json["local"]?.bool ?? false
        options = json["options"].flatMap { [String: String].parse(.json($0)) } ?? [:]
    }
}
