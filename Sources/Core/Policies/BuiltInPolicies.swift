/// The policies that exist without anybody writing them.
package enum BuiltInPolicies {
    /// Gives everything; has no text; can be neither changed nor combined with others.
    package static let rootName = "root"
    /// On every token that does not decline it; can be edited, not deleted.
    package static let defaultName = "default"
    /// What a wrapping token may do; can be neither changed nor given to a token.
    package static let responseWrappingName = "response-wrapping"

    /// Names that nobody may write or delete.
    package static let immutableNames: Set<String> = [rootName, responseWrappingName]
    /// Names that no request for a token may ask for.
    package static let nonAssignableNames: Set<String> = [responseWrappingName]

    /// The text behind a name for as long as storage has none.
    package static func text(_ name: String) -> String? {
        switch name {
        case rootName: ""
        case defaultName: defaultText
        case responseWrappingName: responseWrappingText
        default: nil
        }
    }

    private static let defaultText = """
        # Every token gets these rights unless it declines this policy. They let a client look after
        # itself and reach nobody else's data. An operator may edit them.

        # Its own token: see it, prolong it, end it.
        path "auth/token/lookup-self" {
            capabilities = ["read"]
        }
        path "auth/token/renew-self" {
            capabilities = ["update"]
        }
        path "auth/token/revoke-self" {
            capabilities = ["update"]
        }

        # What it may do elsewhere.
        path "sys/capabilities-self" {
            capabilities = ["update"]
        }
        path "sys/internal/ui/resultant-acl" {
            capabilities = ["read"]
        }

        # Its own identity, by id and by name.
        path "identity/entity/id/{{identity.entity.id}}" {
            capabilities = ["read"]
        }
        path "identity/entity/name/{{identity.entity.name}}" {
            capabilities = ["read"]
        }

        # Leases that it holds, by their ids.
        path "sys/renew" {
            capabilities = ["update"]
        }
        path "sys/leases/renew" {
            capabilities = ["update"]
        }
        path "sys/leases/lookup" {
            capabilities = ["update"]
        }

        # Storage that is its own and ends with it.
        path "cubbyhole/*" {
            capabilities = ["create", "read", "update", "delete", "list"]
        }

        # Wrapping answers for others and opening those meant for it.
        path "sys/wrapping/wrap" {
            capabilities = ["update"]
        }
        path "sys/wrapping/lookup" {
            capabilities = ["update"]
        }
        path "sys/wrapping/unwrap" {
            capabilities = ["update"]
        }

        # Hashes of its own input.
        path "sys/tools/hash" {
            capabilities = ["update"]
        }
        path "sys/tools/hash/*" {
            capabilities = ["update"]
        }

        # The state of an approval that it asked for.
        path "sys/control-group/request" {
            capabilities = ["update"]
        }

        """

    private static let responseWrappingText = """
        path "cubbyhole/response" {
            capabilities = ["create", "read"]
        }
        path "sys/wrapping/unwrap" {
            capabilities = ["update"]
        }

        """
}
