import Base
import Core
import Net

/// The web UI: the page below `/ui/`, and the way to it from `/`.
///
/// Every node serves it from its own binary, sealed or not, active or standby; what the page shows it asks
/// the API for, with the token of whoever has signed in. So nothing here needs a token or holds a secret. An
/// address is looked up in a table and never in a file system. Addresses that are no file's are screens of
/// the page, which reads its own address: they all get `index.html`.
struct WebUI: Sendable {
    /// The headers that operators have set for the page (`sys/config/ui/headers`); none while sealed.
    typealias HeaderSource = @Sendable () -> [UIHeader]

    private static let root = Array("/ui/".utf8)
    private static let folder = "/ui/assets/"
    /// Nothing but what this server sends may run, load or be asked, no page may frame this one, and the
    /// browser refuses to make elements out of text.
    private static let policy =
        "default-src 'none'; connect-src 'self'; img-src 'self'; script-src 'self'; style-src 'self'; "
        + "worker-src 'none'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'; "
        + "require-trusted-types-for 'script'; trusted-types 'none'"
    private static let own: [ResponseHeaders.Field] = [
        ("Content-Security-Policy", policy), ("X-Content-Type-Options", "nosniff"),
        ("X-Frame-Options", "DENY"), ("Referrer-Policy", "no-referrer"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
    ]

    private let index: WebAsset
    private let assets: [String: WebAsset]
    private let operators: HeaderSource
    private let log: Log

    /// - Throws: `.internal` when the binary has no page in it.
    init(operators: @escaping HeaderSource, log: Log) throws(VaultError) {
        var assets: [String: WebAsset] = [:]
        for asset in WebAsset.all { assets[asset.path] = asset }
        guard let index = assets.removeValue(forKey: "/ui/") else {
            throw .internal("the binary has no page of the web UI")
        }
        self.index = index
        self.assets = assets
        self.operators = operators
        self.log = log
    }

    /// The answer to a request for the page, for one of its files, or for the way to it; nil for all others.
    func answer(_ request: HTTPRequest, _ rules: ListenerRules) -> HTTPResponse? {
        let raw = request.rawPath
        // One look at one byte is what a request of the API pays.
        if raw.count > 1, raw[raw.startIndex + 1] != UInt8(ascii: "u") { return nil }
        let isBelow = raw.starts(with: Self.root)
        let isGate = raw.elementsEqual("/".utf8)
        guard isBelow || isGate || raw.elementsEqual("/ui".utf8) else { return nil }
        let isRead = request.method == .get || request.method == .head
        if isGate, !isRead { return nil }
        do throws(RequestRefusal) {
            // The rules of proxies hold for the page too. The header of `require_request_header` cannot be
            // asked for: a browser does not send it with the address that its user has typed.
            do throws(VaultError) { _ = try rules.forwardedFor?.client(of: request) } catch {
                throw .error(error)
            }
            guard isRead else { throw .error(.methodNotAllowed) }
            return isBelow ? try page(request, rules.headers) : redirect(rules.headers)
        } catch {
            switch error {
            case .redirect(let location): return ResponseEncoder.redirect(to: location, rules.headers)
            case .error(let error): return ResponseEncoder.error(error, id: "", log, rules.headers)
            }
        }
    }

    private func page(_ request: HTTPRequest, _ headers: ResponseHeaders) throws(RequestRefusal)
        -> HTTPResponse
    {
        let path = try RequestDecoder.cleanPath(request)
        guard path.hasPrefix(Self.folder) else {
            return HTTPResponse(
                status: 200, contentType: index.contentType,
                headers: fields(200, headers, [("Cache-Control", "no-store")]), body: index.copy())
        }
        guard let asset = assets[path] else { throw .error(.notFound) }
        let tag = asset.tag
        let own = [("Cache-Control", "no-cache"), ("ETag", tag)]
        if let known = request.header("if-none-match"), WebAsset.isNamed(tag, in: known) {
            return HTTPResponse(status: 304, headers: fields(304, headers, own))
        }
        return HTTPResponse(
            status: 200, contentType: asset.contentType, headers: fields(200, headers, own),
            body: asset.copy())
    }

    private func redirect(_ headers: ResponseHeaders) -> HTTPResponse {
        HTTPResponse(
            status: 307, contentType: "text/plain; charset=utf-8",
            headers: headers.of(307, with: [("Location", "/ui/")]),
            body: Array("The web UI is at /ui/\n".utf8))
    }

    /// From the general to the particular, the later one of a name winning: ours, the listener's
    /// (`custom_response_headers`), what this file is, and those that operators have set for the page.
    private func fields(
        _ status: Int, _ headers: ResponseHeaders, _ particular: [ResponseHeaders.Field]
    ) -> [ResponseHeaders.Field] {
        var fields = headers.of(status, with: particular)
        var names = Set(fields.map { $0.name.lowercased() })
        fields += Self.own.filter { names.insert($0.name.lowercased()).inserted }
        for header in operators() {
            let name = header.name.lowercased()
            fields.removeAll { $0.name.lowercased() == name }
            fields += header.values.map { (header.name, $0) }
        }
        return fields
    }
}
