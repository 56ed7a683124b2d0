import Base
import PluginKit

/// `identity/lookup`: who is behind an id, a name or an alias.
extension IdentityMount {
    static var lookupRoutes: [Route<Self>] {
        [
            Route(
                .update, "lookup/entity", "Find an entity by one of its names.", fields: id, name, aliasID,
                aliasName, aliasMount, run: Self.lookUpEntity),
            Route(
                .update, "lookup/group", "Find a group by one of its names.", fields: id, name, aliasID,
                aliasName, aliasMount, run: Self.lookUpGroup),
        ]
    }

    private enum Question {
        case id(String)
        case name(String)
        case aliasID(String)
        case alias(String, accessor: String)
    }

    /// - Throws: `.badRequest` unless exactly one thing is asked for.
    private func question(_ request: LogicalRequest) throws(VaultError) -> Question {
        var asked: [Question] = []
        if let id = try text(Self.id, request) { asked.append(.id(id)) }
        if let name = try text(Self.name, request) { asked.append(.name(name)) }
        if let id = try text(Self.aliasID, request) { asked.append(.aliasID(id)) }
        let alias = try text(Self.aliasName, request)
        let accessor = try text(Self.aliasMount, request)
        switch (alias, accessor) {
        case (let alias?, let accessor?): asked.append(.alias(alias, accessor: accessor))
        case (nil, nil): break
        default: throw .badRequest("alias_name and alias_mount_accessor are needed together")
        }
        guard asked.count == 1 else {
            throw .badRequest(
                "expected one of id, name, alias_id, or alias_name with alias_mount_accessor")
        }
        return asked[0]
    }

    @Sendable private func lookUpEntity(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        let found: Entity? =
            switch try question(request) {
            case .id(let id): try store.entity(id: id, tx)
            case .name(let name): try store.entity(named: name, tx)
            case .aliasID(let id): try store.entity(ofAlias: id, tx)
            case .alias(let name, let accessor): try store.entity(ofAlias: name, at: accessor, tx)
            }
        guard let found else { return .empty }
        return LogicalResponse(data: try describe(found, tx))
    }

    @Sendable private func lookUpGroup(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        let found: IdentityGroup? =
            switch try question(request) {
            case .id(let id): try store.group(id: id, tx)
            case .name(let name): try store.group(named: name, tx)
            case .aliasID(let id): try store.group(ofAlias: id, tx)
            case .alias(let name, let accessor): try store.group(ofAlias: name, at: accessor, tx)
            }
        guard let found else { return .empty }
        return LogicalResponse(data: try describe(found, tx))
    }
}
