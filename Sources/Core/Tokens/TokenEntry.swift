package import Base
package import PluginKit

/// Service tokens are stored; batch tokens carry all that there is to know in themselves.
package enum TokenType: UInt8, Sendable {
    case service = 0
    case batch = 1

    /// As the API spells it.
    package var name: String { self == .service ? "service" : "batch" }
}

/// The login that granted a token, for its renewals.
package struct LoginOrigin: Sendable, Equatable {
    /// The auth mount's accessor, which it keeps when it is moved.
    package var mountAccessor: String
    /// What the method asked to be kept.
    package var internalData: [String: String]

    package init(mountAccessor: String, internalData: [String: String] = [:]) {
        self.mountAccessor = mountAccessor
        self.internalData = internalData
    }
}

/// How long a token lives. All spans are in whole seconds when they come from a client.
package struct TokenLifetime: Sendable, Equatable {
    /// When the token was made.
    package var created: Timestamp
    /// The span that it was made with; zero for a root token without an end.
    package var ttl: Duration = .zero
    /// Counted from `created`; no renewal goes beyond it. Zero for none.
    package var explicitMaxTTL: Duration = .zero
    /// The span that each renewal gives; zero for none.
    package var period: Duration = .zero
    /// When the token dies; nil for never. The same moment as that of its lease.
    package var expires: Timestamp?
    /// When it was renewed last.
    package var renewed: Timestamp?
    package var isRenewable = false

    package init(created: Timestamp) { self.created = created }

    /// The span that the last renewal, or else the creation, gave.
    package var lastGranted: Duration {
        if let renewed, let expires { expires - renewed } else { ttl }
    }

    /// What is left; zero when there is no end, or when it has passed.
    package func left(at now: Timestamp) -> Duration {
        guard let expires, expires > now else { return .zero }
        return expires - now
    }

    package func isOver(at now: Timestamp) -> Bool { expires.map { $0 <= now } ?? false }
}

/// A token as storage knows it: everything but the token itself.
package struct TokenEntry: Sendable, Equatable {
    /// The keyed hash of the token: its name in storage. Empty for a batch token, which has no place there.
    package var hash: String
    /// Empty for a batch token.
    package var accessor = ""
    /// The hash of the token that made this one; empty for an orphan.
    package var parent = ""
    package var type = TokenType.service
    /// Sorted, in lower case, without repetition.
    package var policies: [String] = []
    /// The API path that made the token: `auth/token/create`, `auth/userpass/login/ann`.
    package var path = ""
    package var displayName = ""
    package var metadata: [String: String]?
    package var lifetime: TokenLifetime
    /// Uses left; 0 for any number, `lastUseSpent` once the last one has begun.
    package var numberOfUses = 0
    package var entityID = ""
    /// Networks from which the token may be used; empty for all.
    package var boundCIDRs: [CIDRBlock] = []
    /// The token role that made it; empty for none.
    package var role = ""
    /// Nil for a token that no login granted, and for a batch token, which is never renewed.
    package var login: LoginOrigin?

    package init(hash: String, created: Timestamp) {
        self.hash = hash
        lifetime = TokenLifetime(created: created)
    }

    /// `numberOfUses` of a token whose last use is under way: good for that request alone.
    package static let lastUseSpent = -1

    package var isOrphan: Bool { parent.isEmpty }
    package var isRoot: Bool { policies.contains("root") }
    package var isLastUseSpent: Bool { numberOfUses == Self.lastUseSpent }

    /// The name of the lease that ends this token; nil when nothing does.
    package var leaseID: String? {
        guard type == .service, lifetime.expires != nil else { return nil }
        return "\(path)/h\(hash)"
    }

    /// Who asks, in the waist's words.
    package var client: ClientIdentity {
        var client = ClientIdentity(
            displayName: displayName, accessor: accessor, policies: policies, entityID: entityID,
            storageID: hash,
            isRoot: isRoot)
        client.leaseOwnerID = type == .batch ? parent : hash
        client.expires = lifetime.expires
        client.isInLastUse = isLastUseSpent
        return client
    }

    /// Whether the token may be used from an address (text, without a port).
    package func isAllowed(from address: String) -> Bool {
        boundCIDRs.isEmpty || boundCIDRs.contains { $0.contains(address) }
    }
}
