import Base
import Net
import PluginKit

/// Turns an HTTP request into a logical one, or says why not.
enum RequestDecoder {
    private static let apiPrefix = Array("/v1/".utf8)

    /// - Parameters:
    ///   - client: where the request came from, as far as the listener believes it.
    ///   - limits: those of its listener.
    ///   - isRaw: whether the body of a write to this path is no JSON.
    ///   - admit: asked before the body is looked at.
    static func decode(
        _ request: HTTPRequest, from client: ConnectionInfo, limits: Limits, id: String, now: Timestamp,
        isRaw: (String) -> Bool = { _ in false },
        admit: (LogicalRequest) throws(VaultError) -> Void = { _ in }
    ) throws(RequestRefusal) -> LogicalRequest {
        var path = try path(request)
        do throws(VaultError) {
            try checkHeaders(request)
            let query = request.rawQuery.isEmpty ? [] : try PathCodec.query(request.rawQuery)
            let operation = try operation(request, path, query)
            if operation == .list, !path.hasSuffix("/"), !path.isEmpty { path += "/" }
            var logical = LogicalRequest(
                id: id, operation: operation, path: path, connection: client, now: now)
            logical.contentType = request.contentType
            logical.wrapTTL = try wrapTTL(request)
            try admit(logical)
            if operation == .update, isRaw(path) {
                logical.rawBody = request.body
                logical.fields = query.map { ($0.name, .text($0.value)) }
            } else if operation == .update || operation == .patch {
                try readBody(request, limits, into: &logical)
            } else {
                logical.fields = query.map { ($0.name, .text($0.value)) }
                // The API ignores the body of a DELETE, but for the few of `sys/` that name in it what they
                // mean (a nonce).
                if operation == .delete, !request.body.isEmpty, path.utf8.starts(with: "sys/".utf8) {
                    try readBody(request, limits, into: &logical)
                    logical.fields += query.map { ($0.name, .text($0.value)) }
                }
            }
            return logical
        } catch { throw .error(error) }
    }

    /// The client's token: `X-Vault-Token`, or else `Authorization: Bearer`. Nil without one.
    static func token(_ request: HTTPRequest) -> [UInt8]? {
        if let token = request.vaultToken, !token.isEmpty { return Array(token) }
        guard let value = request.authorization, value.starts(with: "Bearer ".utf8) else { return nil }
        let token = value.dropFirst(7).drop { $0 == 32 }
        return token.isEmpty ? nil : Array(token)
    }

    /// The headers of these names (in lower case) with all their values; those that were not sent are left
    /// out.
    static func headers(_ request: HTTPRequest, _ names: [String]) -> [(name: String, values: [String])] {
        if names.isEmpty { return [] }
        var found: [String: [String]] = [:]
        request.forEachHeader { name, value in
            let name = String(decoding: name, as: UTF8.self).lowercased()
            if names.contains(name) {
                found[name, default: []].append(String(decoding: value, as: UTF8.self))
            }
        }
        return names.compactMap { name in found[name].map { (name, $0) } }
    }

    /// The headers of these names for the mount that asked for them; never the one that holds the token.
    static func passed(_ request: HTTPRequest, _ names: [String]) -> [(name: String, value: String)] {
        if names.isEmpty { return [] }
        let hasTokenHeader = !(request.vaultToken?.isEmpty ?? true)
        let holdsToken = !hasTokenHeader && token(request) != nil
        return headers(request, names.filter { $0 != "authorization" || !holdsToken })
            .flatMap { name, values in values.map { (name, $0) } }
    }

    // MARK: Path

    /// The path below `/v1/`, decoded and clean.
    private static func path(_ request: HTTPRequest) throws(RequestRefusal) -> String {
        if let path = request.rawPath.withUnsafeBufferPointer(plainPath) { return path }
        let path = try cleanPath(request)
        guard path.utf8.starts(with: apiPrefix) else { throw .error(.notFound) }
        if path.utf8.count - apiPrefix.count > Limits.standard.pathBytes {
            throw .error(.badRequest("the path is longer than \(Limits.standard.pathBytes) bytes"))
        }
        return String(path.utf8.dropFirst(apiPrefix.count)) ?? ""
    }

    /// The whole path, decoded: text in one spelling, without a control character and without a segment that
    /// is empty, `.` or `..`.
    static func cleanPath(_ request: HTTPRequest) throws(RequestRefusal) -> String {
        let raw = request.rawPath
        let isEscaped = raw.contains(UInt8(ascii: "%"))
        let decoded: [UInt8]
        do throws(VaultError) { decoded = isEscaped ? try PathCodec.decode(raw) : Array(raw) } catch {
            throw .error(error)
        }
        guard decoded.allSatisfy({ $0 >= 32 && $0 != 127 }) else {
            throw .error(.badRequest("the path has a control character"))
        }
        guard let text = String(validating: decoded, as: UTF8.self) else {
            throw .error(.badRequest("the path is not UTF-8"))
        }
        // Swift takes canonically equivalent texts for equal, storage does not: only one spelling may enter.
        guard text.utf8.allSatisfy({ $0 < 128 }) || text.isNormalized else {
            throw .error(.badRequest("the path is not in Unicode's normal form C"))
        }
        if let clean = cleaned(text) {
            if isEscaped || request.method != .get {
                throw .error(
                    .badRequest(
                        "the path has a '.', '..' or empty segment; clean it: paths are taken as they are"))
            }
            let query =
                request.rawQuery.isEmpty ? "" : "?" + String(decoding: request.rawQuery, as: UTF8.self)
            throw .redirect(clean + query)
        }
        return text
    }

    /// The path below `/v1/` of nearly every request: visible ASCII without an escape and without anything
    /// that could be unclean. Nil for all others, which are looked at more closely.
    private static func plainPath(_ raw: UnsafeBufferPointer<UInt8>) -> String? {
        guard raw.count > apiPrefix.count, raw.count - apiPrefix.count <= Limits.standard.pathBytes,
            raw.starts(with: apiPrefix)
        else { return nil }
        var previous = UInt8(ascii: "/")
        for index in apiPrefix.count..<raw.count {
            let byte = raw[index]
            if byte <= 32 || byte >= 127 || byte == UInt8(ascii: "%") { return nil }
            if previous == UInt8(ascii: "/"), byte == UInt8(ascii: "/") || byte == UInt8(ascii: ".") {
                return nil
            }
            previous = byte
        }
        return String(decoding: UnsafeBufferPointer(rebasing: raw[apiPrefix.count...]), as: UTF8.self)
    }

    /// Nil when the path has no `.`, `..` or empty segment (a slash at the end is fine); else the path
    /// without them.
    private static func cleaned(_ path: String) -> String? {
        var previous: UInt8 = 0
        var isSuspect = false
        for byte in path.utf8 {
            // Every unclean segment begins with "//" or "/.".
            if previous == UInt8(ascii: "/"), byte == UInt8(ascii: "/") || byte == UInt8(ascii: ".") {
                isSuspect = true
                break
            }
            previous = byte
        }
        guard isSuspect else { return nil }
        var kept: [Substring] = []
        let segments = path.split(separator: "/", omittingEmptySubsequences: false).dropFirst()
        var isUnclean = false
        for (index, segment) in segments.enumerated() {
            switch segment {
            case "": if index < segments.count - 1 { isUnclean = true }
            case ".": isUnclean = true
            case "..":
                isUnclean = true
                _ = kept.popLast()
            default: kept.append(segment)
            }
        }
        guard isUnclean else { return nil }
        return "/" + kept.joined(separator: "/") + (path.hasSuffix("/") && !kept.isEmpty ? "/" : "")
    }

    // MARK: Verb and headers

    private static func operation(
        _ request: HTTPRequest, _ path: String, _ query: [(name: String, value: String)]
    ) throws(VaultError) -> Operation {
        switch request.method {
        case .get:
            if let help = query.first(where: { $0.name == "help" }), Bool(vaultText: help.value) == true {
                return .help
            }
            guard let list = query.first(where: { $0.name == "list" }) else { return .read }
            guard list.value.isEmpty || Bool(vaultText: list.value) != nil else {
                throw .badRequest("query parameter 'list': expected true or false")
            }
            return Bool(vaultText: list.value) == true ? .list : .read
        case .list: return .list
        case .other("HELP"): return .help
        case .put, .post: return .update
        case .patch: return .patch
        case .delete: return .delete
        case .head where path == "sys/health": return .read
        case .options: throw token(request) == nil ? .missingToken : .unsupportedOperation
        default: throw .methodNotAllowed
        }
    }

    private static func checkHeaders(_ request: HTTPRequest) throws(VaultError) {
        if let namespace = request.vaultNamespace, !["", "/", "root", "root/"].contains(namespace) {
            throw .badRequest("X-Vault-Namespace: this server has only the root namespace")
        }
        if let format = request.header("x-vault-wrap-format"), !format.isEmpty {
            throw .badRequest("X-Vault-Wrap-Format: wrapping tokens have one form here; leave it out")
        }
        if let override = request.header("x-vault-policy-override"), Bool(vaultText: override) == nil {
            throw .badRequest("X-Vault-Policy-Override: expected true or false")
        }
    }

    private static func wrapTTL(_ request: HTTPRequest) throws(VaultError) -> Duration? {
        guard let text = request.vaultWrapTTL, !text.isEmpty else { return nil }
        guard let ttl = Duration(vaultText: text), ttl >= .zero else {
            throw .badRequest("X-Vault-Wrap-TTL: expected seconds or a duration such as 5m")
        }
        return ttl == .zero ? nil : ttl
    }

    // MARK: Body

    private static func readBody(
        _ request: HTTPRequest, _ limits: Limits, into logical: inout LogicalRequest
    ) throws(VaultError) {
        let body = request.body
        if body.isEmpty { return }
        let isForm = request.contentType?.lowercased().hasPrefix("application/x-www-form-urlencoded") ?? false
        let first = body.first { $0 != 32 && $0 != 9 && $0 != 10 && $0 != 13 }
        if isForm, first != UInt8(ascii: "{") {
            logical.fields = try PathCodec.query(body).map { ($0.name, .text($0.value)) }
            return
        }
        let json = try RawJSON(validating: body, limits: limits)
        switch json.kind {
        case .object:
            logical.body = json
            logical.fields = json.members.map { ($0.name, .json($0.value)) }
        case .null: break
        default: throw .badRequest("failed to parse JSON input: expected an object")
        }
    }
}
