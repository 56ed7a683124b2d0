import Base

/// Identity records as bytes: JSON with a version. Every member must be there, so that a damaged or foreign
/// value is an error and never an entity with other rights.
enum IdentityCodec {
    private static let version = 1
    /// The barrier has authenticated what is read, and lists in it may be longer than those of a request.
    private static let limits: Limits = {
        var limits = Limits()
        limits.jsonStringBytes = limits.entryBytes
        limits.jsonArrayElements = limits.entryBytes
        limits.jsonObjectEntries = limits.entryBytes
        return limits
    }()

    static func encode(_ entity: Entity) -> [UInt8] {
        var writer = JSONWriter(reserving: 512)
        writer.beginObject()
        writer.field("v", version)
        writer.field("name", entity.name)
        writer.field("meta", .map(entity.metadata))
        writer.field("policies", entity.policies)
        writer.field("disabled", entity.isDisabled)
        writer.field("created", Int(entity.created.nanoseconds))
        writer.field("updated", Int(entity.updated.nanoseconds))
        writer.field("merged", entity.mergedIDs)
        writer.field("groups", entity.groupIDs)
        writer.name("aliases")
        writer.beginArray()
        for alias in entity.aliases { encode(alias, &writer) }
        writer.endArray()
        writer.endObject()
        return writer.bytes
    }

    static func entity(_ bytes: [UInt8], id: String) -> Entity? {
        guard let json = record(bytes), let name = json["name"]?.string, let metadata = map(json["meta"]),
            let policies = texts(json["policies"]), let isDisabled = json["disabled"]?.bool,
            let created = moment(json["created"]), let updated = moment(json["updated"]),
            let merged = texts(json["merged"]), let groups = texts(json["groups"]),
            let stored = json["aliases"], stored.kind == .array
        else { return nil }
        var entity = Entity(id: id, name: name, created: created)
        entity.metadata = metadata
        entity.policies = policies
        entity.isDisabled = isDisabled
        entity.updated = updated
        entity.mergedIDs = merged
        entity.groupIDs = groups
        for element in stored.elements {
            guard let alias = alias(element) else { return nil }
            entity.aliases.append(alias)
        }
        return entity
    }

    static func encode(_ group: IdentityGroup) -> [UInt8] {
        var writer = JSONWriter(reserving: 512)
        writer.beginObject()
        writer.field("v", version)
        writer.field("name", group.name)
        writer.field("external", group.isExternal)
        writer.field("policies", group.policies)
        writer.field("meta", .map(group.metadata))
        writer.field("created", Int(group.created.nanoseconds))
        writer.field("updated", Int(group.updated.nanoseconds))
        writer.field("index", group.modifyIndex)
        writer.field("parents", group.parentIDs)
        writer.field("members", group.memberGroupIDs)
        if let alias = group.alias {
            writer.name("alias")
            encode(alias, &writer)
        }
        writer.endObject()
        return writer.bytes
    }

    static func group(_ bytes: [UInt8], id: String) -> IdentityGroup? {
        guard let json = record(bytes), let name = json["name"]?.string,
            let isExternal = json["external"]?.bool,
            let policies = texts(json["policies"]), let metadata = map(json["meta"]),
            let created = moment(json["created"]), let updated = moment(json["updated"]),
            let index = json["index"]?.int, let parents = texts(json["parents"]),
            let members = texts(json["members"])
        else { return nil }
        var group = IdentityGroup(id: id, name: name, created: created)
        group.isExternal = isExternal
        group.policies = policies
        group.metadata = metadata
        group.updated = updated
        group.modifyIndex = index
        group.parentIDs = parents
        group.memberGroupIDs = members
        if let stored = json["alias"] {
            guard let alias = alias(stored) else { return nil }
            group.alias = alias
        }
        return group
    }

    private static func encode(_ alias: IdentityAlias, _ writer: inout JSONWriter) {
        writer.beginObject()
        writer.field("id", alias.id)
        writer.field("name", alias.name)
        writer.field("accessor", alias.mountAccessor)
        writer.field("meta", .map(alias.metadata))
        writer.field("custom", .map(alias.customMetadata))
        writer.field("created", Int(alias.created.nanoseconds))
        writer.field("updated", Int(alias.updated.nanoseconds))
        writer.field("from", alias.mergedFrom)
        writer.endObject()
    }

    private static func alias(_ json: RawJSON) -> IdentityAlias? {
        guard let id = json["id"]?.string, let name = json["name"]?.string,
            let accessor = json["accessor"]?.string, let metadata = map(json["meta"]),
            let custom = map(json["custom"]), let created = moment(json["created"]),
            let updated = moment(json["updated"]), let from = texts(json["from"])
        else { return nil }
        var alias = IdentityAlias(id: id, name: name, mountAccessor: accessor, created: created)
        alias.metadata = metadata
        alias.customMetadata = custom
        alias.updated = updated
        alias.mergedFrom = from
        return alias
    }

    // MARK: Members

    private static func record(_ bytes: [UInt8]) -> RawJSON? {
        guard let json = try? RawJSON(validating: bytes, limits: limits), json["v"]?.int == version else {
            return nil
        }
        return json
    }

    private static func texts(_ json: RawJSON?) -> [String]? {
        guard let json, json.kind == .array else { return nil }
        var values: [String] = []
        for element in json.elements {
            guard let text = element.string else { return nil }
            values.append(text)
        }
        return values
    }

    private static func map(_ json: RawJSON?) -> [String: String]? {
        guard let json, json.kind == .object else { return nil }
        var values: [String: String] = [:]
        for (name, value) in json.members {
            guard let text = value.string else { return nil }
            values[name] = text
        }
        return values
    }

    /// Nanoseconds: all 64 bits of them, which a `Double` would not hold.
    private static func moment(_ json: RawJSON?) -> Timestamp? {
        json?.int.map { Timestamp(nanoseconds: Int64($0)) }
    }
}
