/// What unsealing takes: what is stored, and what the configuration wants it to be.
enum SealPlan: Equatable {
    /// Shares of the unseal key.
    case shares
    /// One of the configured seals, and nobody.
    case automatic
    /// A quorum of holders, who let the server go over to another seal.
    case migration
    /// Nothing: the configuration has none of the seals that have wrapped the key.
    case impossible(String)

    init(_ config: SealConfig, _ seals: SealSet) {
        guard let automatic = config.automatic else {
            self = Self.shamir(config, seals.enabled)
            return
        }
        func opens(_ members: [SealSet.Member]) -> Bool {
            automatic.copies.contains { SealSet.member(of: $0, among: members) != nil }
        }
        if opens(seals.enabled) {
            self = .automatic
        } else if opens(seals.members) || automatic.breakGlass != nil {
            self = .migration
        } else {
            self = .impossible(Self.missing(automatic, config.left, seals.enabled))
        }
    }

    var isMigration: Bool { self == .migration }

    private static func shamir(_ config: SealConfig, _ enabled: [SealSet.Member]) -> SealPlan {
        if enabled.isEmpty { return .shares }
        // By -migrate on each node in turn, one that was forgotten would take the cluster back.
        guard enabled.allSatisfy({ isLeft($0, config.left) }) else { return .migration }
        return .impossible(
            "the cluster has gone over from the seal \(names(config.left)) to key shares: give its "
                + "stanza disabled = \"true\" or take it out, restart this node, and enter key shares (to go "
                + "back to it, give its stanza another 'name')")
    }

    private static func missing(
        _ automatic: SealConfig.Automatic, _ left: [SealConfig.SealName], _ enabled: [SealSet.Member]
    ) -> String {
        let stored = names(automatic.copies.map { SealConfig.SealName(name: $0.name, type: $0.type) })
        if enabled.contains(where: { isLeft($0, left) }) {
            return
                "the cluster has gone over from the seal \(names(left)) to \(stored): add the stanza of "
                + "that, give the old one disabled = \"true\", and restart this node"
        }
        return
            "this server's key is wrapped by the seal \(stored), which the configuration does not have: add "
            + "its stanza, with disabled = \"true\" to leave it"
    }

    private static func isLeft(_ member: SealSet.Member, _ left: [SealConfig.SealName]) -> Bool {
        left.contains(SealConfig.SealName(name: member.name, type: member.type))
    }

    private static func names(_ seals: [SealConfig.SealName]) -> String {
        seals.map { $0.name == $0.type ? $0.type : "\($0.type) named '\($0.name)'" }.joined(separator: ", ")
    }
}
