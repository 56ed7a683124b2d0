/// The headers that every answer of a listener carries, by status: made once, then shared, so that an
/// answer costs no allocation for them.
///
/// What an operator sets (`custom_response_headers`) goes from the general to the particular: `default`,
/// then the class (`4xx`), then the status; the later one of a name wins, over our own ones too.
package struct ResponseHeaders: Sendable {
    /// One HTTP field.
    package typealias Field = (name: String, value: String)

    private let common: [Field]
    /// Those from `firstStatus` on; empty when all are `common`.
    private let byStatus: [[Field]]

    private static let firstStatus = 100
    private static let statusCount = 500
    private static let own: [Field] = [
        ("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff"),
    ]
    /// Names that frame the message; whoever set them could make two answers of one.
    private static let framing: Set<String> = [
        "connection", "content-length", "date", "transfer-encoding", "upgrade", "keep-alive", "trailer", "te",
    ]

    /// - Parameters:
    ///   - custom: by `default`, class or status, checked with `isStatusKey` and `mayBeSet`.
    ///   - isTLS: adds `Strict-Transport-Security`, which means nothing on a plain listener.
    ///   - more: of the whole server, such as the host's name.
    package init(_ custom: [String: [Field]] = [:], isTLS: Bool = false, more: [Field] = []) {
        var common = Self.own
        if isTLS { common.append(("Strict-Transport-Security", "max-age=31536000; includeSubDomains")) }
        common = Self.merge(common, more)
        common = Self.merge(common, custom["default"] ?? [])
        self.common = common
        guard custom.contains(where: { $0.key != "default" }) else {
            byStatus = []
            return
        }
        byStatus = (Self.firstStatus..<Self.firstStatus + Self.statusCount).map { status in
            let class_ = Self.merge(common, custom["\(status / 100)xx"] ?? [])
            return Self.merge(class_, custom["\(status)"] ?? [])
        }
    }

    /// Adds nothing: for what another node's listener sends out.
    static let bare = ResponseHeaders(common: [])

    private init(common: [Field]) {
        self.common = common
        byStatus = []
    }

    /// The headers of an answer of this status.
    func of(_ status: Int) -> [Field] {
        let place = status - Self.firstStatus
        return byStatus.indices.contains(place) ? byStatus[place] : common
    }

    /// The same with this answer's own, which win.
    func of(_ status: Int, with more: [Field]) -> [Field] {
        more.isEmpty ? of(status) : Self.merge(of(status), more)
    }

    /// Whether a key of `custom_response_headers` names a set of statuses.
    package static func isStatusKey(_ key: String) -> Bool {
        if key == "default" { return true }
        let bytes = Array(key.utf8)
        guard bytes.count == 3, (49...53).contains(bytes[0]) else { return false }
        let rest = bytes[1...]
        return rest.elementsEqual("xx".utf8) || rest.allSatisfy { (48...57).contains($0) }
    }

    /// Whether an operator may set a header of this name: a token, neither of the message's framing nor
    /// one that the API gives a meaning (`X-Vault-…`).
    package static func mayBeSet(_ name: String) -> Bool {
        let lower = name.lowercased()
        let isToken =
            !name.isEmpty
            && name.utf8.allSatisfy {
                (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0)
                    || "!#$%&'*+-.^_`|~".utf8.contains($0)
            }
        return isToken && !lower.hasPrefix("x-vault-") && !framing.contains(lower)
    }

    private static func merge(_ first: [Field], _ second: [Field]) -> [Field] {
        var merged = first
        for field in second {
            let name = field.name.lowercased()
            if let place = merged.firstIndex(where: { $0.name.lowercased() == name }) {
                merged[place] = field
            } else {
                merged.append(field)
            }
        }
        return merged
    }
}
