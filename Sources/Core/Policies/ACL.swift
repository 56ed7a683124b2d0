import Base
package import PluginKit

/// Several policies merged and compiled: answers for each request what its token may do.
///
/// One path meets one rule: an exact one first, else the most specific of those with wildcards
/// (`PathRank`), never a union over several. Only rules with the very same path text merge, across
/// policies. A list is asked for with and without its trailing slash, and the most specific rule
/// over both forms counts, so that a refusal written either way holds.
/// A value is immutable and may be read by all threads at once; a lookup allocates nothing.
package final class ACL: Sendable {
    /// Whether this is the root token's: everything is allowed, sudo included.
    package let isRoot: Bool
    private let exact: PathTable
    private let prefixes: PathTable
    /// The highest rank first.
    private let patterns: [SegmentPattern]
    private let permissions: [Permissions]

    /// What the `root` policy gives.
    package static let root = ACL(isRoot: true, [])

    /// Merges and compiles.
    /// - Parameter value: gives the value behind the text between `{{` and `}}` in a path, nil when there is
    ///   none. Without an identity nothing gives one, and such a rule gives nothing.
    package convenience init(
        _ policies: [PolicyDocument], filling value: (Substring) -> String? = { _ in nil }
    ) {
        self.init(
            isRoot: false,
            policies.flatMap(\.rules).compactMap { rule in
                rule.isTemplated ? PolicyTemplate.filled(rule, value) : rule
            })
    }

    private init(isRoot: Bool, _ rules: [PolicyRule]) {
        var places: [[UInt8]: Int] = [:]
        var permissions: [Permissions] = []
        var exact: [(key: [UInt8], value: Int)] = []
        var prefixes: [(key: [UInt8], value: Int)] = []
        var patterns: [SegmentPattern] = []
        for rule in rules {
            let path = Array(rule.path.utf8)
            if let place = places[path] {
                permissions[place].merge(rule.permissions)
                continue
            }
            let place = permissions.count
            places[path] = place
            permissions.append(rule.permissions)
            if SegmentPattern.isPattern(path) {
                patterns.append(SegmentPattern(path, value: place))
            } else if path.last == UInt8(ascii: "*") {
                prefixes.append((path.dropLast(), place))
            } else {
                exact.append((path, place))
            }
        }
        self.isRoot = isRoot
        self.permissions = permissions
        self.exact = PathTable(exact)
        self.prefixes = PathTable(prefixes)
        // Equal ranks cannot both fit one path with different text but by chance; bytes then decide.
        self.patterns = patterns.sorted {
            $0.rank != $1.rank ? $0.rank > $1.rank : $1.text.lexicographicallyPrecedes($0.text)
        }
    }

    /// Judges one request. `path` has no leading slash and no `/v1/`.
    /// - Parameters:
    ///   - parameters: the fields of body or query, as in `LogicalRequest.fields`, repeats included.
    ///   - wrapTTL: the lifetime that the client asked for a wrapping token; nil for none.
    ///   - requiresSudo: whether the route is one that needs `sudo` besides.
    package func decide(
        path: String, operation: Operation, parameters: [(name: String, value: FieldInput)] = [],
        wrapTTL: Duration? = nil, requiresSudo: Bool = false
    ) -> PolicyDecision {
        if isRoot { return .allowed(PolicyGrant(isRoot: true, hasSudo: true)) }
        guard let needed = CapabilitySet(operation) else {
            // Help tells nothing that a document does not, and needs no right.
            return .allowed(PolicyGrant(isRoot: false, hasSudo: false))
        }
        guard let place = rule(for: path, isList: operation == .list) else { return .denied(.noRule) }
        // Read in place: a copy of the permissions would cost several retains.
        return permissions.withUnsafeBufferPointer { all in
            all[place].decide(needed, parameters, wrapTTL, requiresSudo)
        }
    }

    /// What `sys/capabilities` shows for a path: sorted names, `["deny"]` or `["root"]`.
    package func capabilities(_ path: String) -> [String] {
        if isRoot { return [Capability.root.rawValue] }
        return capabilitySet(path).names
    }

    /// The capabilities of the rule that meets this path; empty without one.
    package func capabilitySet(_ path: String) -> CapabilitySet {
        rule(for: path, isList: path.utf8.last == UInt8(ascii: "/")).map { permissions[$0].capabilities }
            ?? []
    }

    /// Whether anything at all is allowed at or below a mount's path (with its trailing slash): which
    /// mounts `sys/internal/ui/mounts` shows.
    package func grantsAnything(below mountPath: String) -> Bool {
        if isRoot || isUseful(capabilitySet(mountPath)) { return true }
        return withBytes(of: mountPath) { head in
            exact.values(below: head).contains { isUseful(permissions[$0].capabilities) }
                || prefixes.values(below: head).contains { isUseful(permissions[$0].capabilities) }
                || patterns.contains {
                    isUseful(permissions[$0.value].capabilities) && $0.mayMatch(below: head)
                }
        }
    }

    /// Every merged rule, for `sys/internal/ui/resultant-acl`.
    package var rules: [ACLRule] {
        func text(_ bytes: some Sequence<UInt8>) -> String { String(decoding: Array(bytes), as: UTF8.self) }
        let exactRules = (0..<exact.count).map {
            ACLRule(
                kind: .exact, path: text(exact.key($0)),
                capabilities: permissions[exact.values[$0]].capabilities)
        }
        let prefixRules = (0..<prefixes.count).map {
            ACLRule(
                kind: .prefix, path: text(prefixes.key($0)),
                capabilities: permissions[prefixes.values[$0]].capabilities)
        }
        let patternRules = patterns.map {
            ACLRule(
                kind: .segments, path: text($0.text) + ($0.isPrefix ? "*" : ""),
                capabilities: permissions[$0.value].capabilities)
        }
        return exactRules + prefixRules + patternRules
    }

    /// The place of the one rule that meets a path.
    private func rule(for path: String, isList: Bool) -> Int? {
        withBytes(of: path) { whole in
            if let found = exact.exact(whole) { return found }
            var bare = whole
            if isList {
                if whole.last == UInt8(ascii: "/") {
                    bare = UnsafeBufferPointer(rebasing: whole.dropLast())
                    if let found = exact.exact(bare) { return found }
                } else if !whole.isEmpty {
                    return listRule(whole)
                }
            }
            return wildcardRule(whole, bare)
        }
    }

    /// A list that came without its slash, which the front adds: only for callers that did not.
    private func listRule(_ bare: UnsafeBufferPointer<UInt8>) -> Int? {
        let whole = Array(bare) + [UInt8(ascii: "/")]
        return whole.withUnsafeBufferPointer { exact.exact($0) ?? wildcardRule($0, bare) }
    }

    /// The most specific rule with wildcards that fits either form of a path.
    private func wildcardRule(
        _ whole: UnsafeBufferPointer<UInt8>, _ bare: UnsafeBufferPointer<UInt8>
    ) -> Int? {
        // Every prefix of the bare form is one of the whole.
        let prefix = prefixes.longestPrefix(of: whole)
        let prefixRank = prefix.map {
            PathRank(firstWildcard: $0.length, isPrefix: true, wildcards: 0, length: $0.length)
        }
        return patterns.withUnsafeBufferPointer { patterns in
            for index in patterns.indices {
                if let prefixRank, patterns[index].rank <= prefixRank { break }
                let fits =
                    patterns[index].matches(whole)
                    || bare.count < whole.count && patterns[index].matches(bare)
                if fits { return patterns[index].value }
            }
            return prefix?.value
        }
    }

    private func isUseful(_ capabilities: CapabilitySet) -> Bool {
        !capabilities.isEmpty && !capabilities.contains(.deny)
    }

    /// The path's bytes without leading slashes.
    private func withBytes<Result>(of path: String, _ body: (UnsafeBufferPointer<UInt8>) -> Result) -> Result
    {
        var path = path
        return path.withUTF8 { bytes in
            body(UnsafeBufferPointer(rebasing: bytes.drop { $0 == UInt8(ascii: "/") }))
        }
    }
}

/// What an ACL says to a request.
package enum PolicyDecision: Sendable, Equatable {
    case allowed(PolicyGrant)
    case denied(PolicyRefusal)

    /// Whether the request may go on.
    package var isAllowed: Bool { if case .allowed = self { true } else { false } }
}

/// What came with the permission.
package struct PolicyGrant: Sendable, Equatable {
    /// Whether the root policy gave it.
    package let isRoot: Bool
    /// Whether the rule that was met gives `sudo`.
    package let hasSudo: Bool

    /// A permission and what came with it.
    package init(isRoot: Bool, hasSudo: Bool) {
        self.isRoot = isRoot
        self.hasSudo = hasSudo
    }
}

/// Why not. For the log and for tests: a client always reads just `permission denied`.
package enum PolicyRefusal: Sendable, Equatable {
    case noRule
    case explicitDeny
    case missingCapability
    case sudoRequired
    case wrappingTTL
    case missingParameter(String)
    case deniedParameter(String)
    case parameterNotAllowed(String)
}

/// A merged rule, as shown to the UI.
package struct ACLRule: Sendable, Equatable {
    /// How the path is matched.
    package enum Kind: Sendable { case exact, prefix, segments }
    /// How `path` is to be read.
    package let kind: Kind
    /// Without its trailing `*` for `.prefix`.
    package let path: String
    /// What the rule gives.
    package let capabilities: CapabilitySet
}
