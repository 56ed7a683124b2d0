/// How a route's work is run.
package enum RouteAction: Sendable {
    case sync(SyncHandler)
    case async(AsyncHandler)
}

/// What sets a route apart.
package struct RouteTraits: OptionSet, Sendable {
    package let rawValue: Int
    package init(rawValue: Int) { self.rawValue = rawValue }

    /// No token is needed, and none is looked at.
    package static let unauthenticated = RouteTraits(rawValue: 1)
    /// The `sudo` capability is needed besides the operation's own.
    package static let sudo = RouteTraits(rawValue: 2)
    /// Answers while the server is sealed or not initialised. Implies no storage.
    package static let whileSealed = RouteTraits(rawValue: 4)
    /// Long computation: runs in the blocking pool.
    package static let heavy = RouteTraits(rawValue: 8)
    /// The body is not JSON; the handler reads `rawBody`.
    package static let rawBody = RouteTraits(rawValue: 16)
    /// Works without a token; one that comes along must be valid, and says more.
    package static let optionalToken = RouteTraits(rawValue: 32)
    /// About the node that is asked, whatever its role: never forwarded. It wants nothing written.
    package static let thisNode = RouteTraits(rawValue: 64)
    /// Rests on what only the active node knows: a standby forwards it, though it reads.
    package static let onActive = RouteTraits(rawValue: 128)
    /// Where the handler throws `.standby`, it has done nothing that counts: the next active node runs the
    /// request.
    package static let handsOver = RouteTraits(rawValue: 1 << 13)
    /// There only to refuse in a certain way, or as another spelling: no help and no document shows it.
    package static let hidden = RouteTraits(rawValue: 1 << 12)
    /// About a wrapping token, in the body or else the caller's own, which is judged before anything else.
    package static let wrappingToken = RouteTraits(rawValue: 1 << 10)
}

/// One endpoint of an engine: routing, validation, help, OpenAPI and docs read this one definition.
///
/// A pattern's segments are literals, `:name` (one segment) or once `*name` (the rest, slashes included;
/// never empty, except in a list), behind which only literals may stand.
package struct Route<Owner: Sendable>: Sendable {
    package private(set) var description: RouteDescription
    private let bindAction: @Sendable (Owner) -> RouteAction
    private let bindCheck: (@Sendable (Owner) -> ExistenceCheck)?

    package init<each Value>(
        _ operation: Operation, _ pattern: String, _ summary: String, _ traits: RouteTraits = [],
        fields: repeat Field<each Value>,
        exists: (@Sendable (Owner) -> ExistenceCheck)? = nil,
        run: @escaping @Sendable (Owner) -> SyncHandler
    ) {
        var descriptions: [FieldDescription] = []
        repeat descriptions.append((each fields).description)
        description = RouteDescription(operation, pattern, summary, traits, descriptions)
        bindAction = { .sync(run($0)) }
        bindCheck = exists
    }

    package init<each Value>(
        _ operation: Operation, _ pattern: String, _ summary: String, _ traits: RouteTraits = [],
        fields: repeat Field<each Value>,
        exists: (@Sendable (Owner) -> ExistenceCheck)? = nil,
        runAsync: @escaping @Sendable (Owner) -> AsyncHandler
    ) {
        var descriptions: [FieldDescription] = []
        repeat descriptions.append((each fields).description)
        description = RouteDescription(operation, pattern, summary, traits, descriptions)
        bindAction = { .async(runAsync($0)) }
        bindCheck = exists
    }

    /// This route with more fields: those that many routes share, such as `token_ttl` and its kin.
    package func adding(_ fields: [FieldDescription]) -> Route {
        var route = self
        route.description.fields += fields
        return route
    }

    /// This route with its owner filled in.
    package func bind(_ owner: Owner) -> BoundRoute {
        BoundRoute(description: description, action: bindAction(owner), exists: bindCheck?(owner))
    }
}

/// A route without its owner's type, for help, OpenAPI and the docs.
package struct RouteDescription: Sendable {
    package let operation: Operation
    package let pattern: PathPattern
    package let summary: String
    package let traits: RouteTraits
    package fileprivate(set) var fields: [FieldDescription]

    init(
        _ operation: Operation, _ pattern: String, _ summary: String, _ traits: RouteTraits,
        _ fields: [FieldDescription]
    ) {
        self.operation = operation
        self.pattern = PathPattern(pattern)
        self.summary = summary
        self.traits = traits
        self.fields = fields
    }
}

/// A route ready to run. A class, because every request copies a reference to one.
package final class BoundRoute: Sendable {
    package let description: RouteDescription
    package let action: RouteAction
    package let exists: ExistenceCheck?

    package init(description: RouteDescription, action: RouteAction, exists: ExistenceCheck?) {
        self.description = description
        self.action = action
        self.exists = exists
    }

    /// This route with its work wrapped into something more.
    package func running(_ action: RouteAction) -> BoundRoute {
        BoundRoute(description: description, action: action, exists: exists)
    }
}

/// A path with placeholders.
package struct PathPattern: Sendable, CustomStringConvertible {
    package enum Segment: Sendable, Equatable {
        case literal(String)
        case one(String)
        case rest(String)
    }
    package let segments: [Segment]
    package let description: String
    /// The segments up to and including `*name`, ready to be compared, and the literal bytes that follow it.
    private var head: [Part] = []
    private var suffix: [UInt8] = []
    /// A pattern that ends in a slash fits only paths that do: a list whose name alone is no path.
    private let needsSlash: Bool

    private enum Part: Sendable {
        case literal([UInt8])
        case one(String)
        case rest(String)
    }

    // Hundreds are made at each start: by bytes, for that takes a fraction of what characters do.
    package init(_ text: String) {
        description = text
        let slash = UInt8(ascii: "/")
        needsSlash = text.utf8.last == slash
        var segments: [Segment] = []
        var hasRest = false
        for part in text.utf8.split(separator: slash) {
            let bytes = Array(part)
            let name = { String(decoding: bytes.dropFirst(), as: UTF8.self) }
            switch bytes[0] {
            case UInt8(ascii: ":") where !hasRest:
                segments.append(.one(name()))
                head.append(.one(name()))
            case UInt8(ascii: "*") where !hasRest:
                hasRest = true
                segments.append(.rest(name()))
                head.append(.rest(name()))
            case UInt8(ascii: ":"), UInt8(ascii: "*"):
                preconditionFailure("only literals may follow '*'")
            default:
                segments.append(.literal(String(decoding: bytes, as: UTF8.self)))
                if hasRest { suffix += [slash] + bytes } else { head.append(.literal(bytes)) }
            }
        }
        self.segments = segments
    }

    /// The literal that the pattern begins with, if it does.
    fileprivate var firstLiteral: [UInt8]? {
        if case .literal(let bytes)? = head.first { bytes } else { nil }
    }

    /// The captured values when `path` fits, else nil.
    package func match(_ path: String, isList: Bool) -> [(name: String, value: String)]? {
        var path = path
        return path.withUTF8 { path in
            if suffix.isEmpty { return matchHead(path, isList) }
            // `mounts/*path/tune`: the rest ends where the suffix begins.
            let end = path.count - suffix.count
            guard end > 0, path[end...].elementsEqual(suffix) else { return nil }
            return matchHead(UnsafeBufferPointer(rebasing: path[..<end]), isList)
        }
    }

    private func matchHead(
        _ path: UnsafeBufferPointer<UInt8>, _ isList: Bool
    ) -> [(name: String, value: String)]? {
        func text(_ range: Range<Int>) -> String {
            String(decoding: UnsafeBufferPointer(rebasing: path[range]), as: UTF8.self)
        }
        var captured: [(name: String, value: String)] = []
        var at = 0
        for (index, part) in head.enumerated() {
            if case .rest(let name) = part {
                if at == path.count && !isList { return nil }
                captured.append((name, text(at..<path.count)))
                return captured
            }
            var end = at
            while end < path.count, path[end] != UInt8(ascii: "/") { end += 1 }
            switch part {
            // By bytes: `==` on text would take different spellings of a letter for the same.
            case .literal(let literal):
                guard end - at == literal.count, path[at..<end].elementsEqual(literal) else { return nil }
            case .one(let name):
                if at == end { return nil }
                captured.append((name, text(at..<end)))
            case .rest: break
            }
            let isLast = index == head.count - 1
            if end == path.count {
                if isLast { return needsSlash ? nil : captured }
                guard isList, index == head.count - 2, case .rest(let name) = head[index + 1] else {
                    return nil
                }
                captured.append((name, ""))
                return captured
            }
            at = end + 1
            if isLast { return (isList || needsSlash) && at == path.count ? captured : nil }
        }
        return path.isEmpty ? captured : nil
    }
}

/// The routes of one mount. Earlier routes win.
package struct RouteTable: Sendable {
    package let routes: [BoundRoute]
    /// Routes by the literal that their pattern begins with, in the order of its bytes; each list holds
    /// those that begin with a placeholder as well, in the order of the table.
    private let byFirst: [(literal: [UInt8], routes: [BoundRoute])]
    /// Routes that begin with a placeholder, or with nothing.
    private let others: [BoundRoute]

    package init(_ routes: [BoundRoute]) {
        self.routes = routes
        let firsts = routes.map(\.description.pattern.firstLiteral)
        let literals = Set(firsts.compactMap { $0 }).sorted { $0.lexicographicallyPrecedes($1) }
        let places = Dictionary(uniqueKeysWithValues: zip(literals, literals.indices))
        var byFirst: [(literal: [UInt8], routes: [BoundRoute])] = literals.map { ($0, []) }
        var others: [BoundRoute] = []
        for (route, first) in zip(routes, firsts) {
            if let place = first.flatMap({ places[$0] }) {
                byFirst[place].routes.append(route)
            } else {
                others.append(route)
                for place in byFirst.indices { byFirst[place].routes.append(route) }
            }
        }
        self.byFirst = byFirst
        self.others = others
    }

    /// What looking for a route came to.
    package enum Match: Sendable {
        case found(BoundRoute, parameters: [(name: String, value: String)])
        /// The path exists; the operation does not.
        case wrongOperation
        case none
    }

    /// Finds the route for an operation. A write is asked for as `.update`; `.create` routes do not exist.
    package func match(_ operation: Operation, _ path: String) -> Match {
        let candidates = candidates(path)
        for route in candidates where route.description.operation == operation {
            if let parameters = route.description.pattern.match(path, isList: operation == .list) {
                return .found(route, parameters: parameters)
            }
        }
        let pathExists = candidates.contains {
            $0.description.operation != operation && $0.description.pattern.match(path, isList: false) != nil
        }
        return pathExists ? .wrongOperation : .none
    }

    /// The routes whose patterns may fit, found by the path's first segment.
    private func candidates(_ path: String) -> [BoundRoute] {
        var path = path
        return path.withUTF8 { path in
            var end = 0
            while end < path.count, path[end] != UInt8(ascii: "/") { end += 1 }
            let first = UnsafeBufferPointer(rebasing: path[..<end])
            var low = 0
            var high = byFirst.count
            while low < high {
                let middle = (low + high) / 2
                switch Self.order(byFirst[middle].literal, first) {
                case 0: return byFirst[middle].routes
                case ..<0: low = middle + 1
                default: high = middle
                }
            }
            return others
        }
    }

    /// Negative when `a` stands before `b` in the order of bytes, 0 when they are the same.
    private static func order(_ a: [UInt8], _ b: UnsafeBufferPointer<UInt8>) -> Int {
        for index in 0..<min(a.count, b.count) where a[index] != b[index] {
            return Int(a[index]) - Int(b[index])
        }
        return a.count - b.count
    }
}
