/// What a client wants done at a path.
package enum Operation: String, Sendable, CaseIterable {
    case read, list, create, update, patch, delete, help
}

/// One right that a policy may give on a path.
package enum Capability: String, Sendable, CaseIterable, Comparable {
    case create, read, update, delete, list, sudo, patch, deny, root

    package static func < (a: Capability, b: Capability) -> Bool { a.rawValue < b.rawValue }
}
