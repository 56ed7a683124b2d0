internal import Base
package import Net

/// Where the server is and how to speak to it.
package struct ClientConfiguration: Sendable {
    /// `http://`, `https://` or `unix://` and the socket's path.
    package var address = "https://127.0.0.1:8200"
    package var token = ""
    package var namespace = ""
    /// Headers that go with every request.
    package var headers: [(String, String)] = []
    /// Asks the server to wrap its answer for so long, such as `5m`.
    package var wrapTTL: String?
    /// Further attempts after a 5xx, a 412 or a broken connection.
    package var maxRetries = 2
    /// Waits between attempts.
    package var retryPause: Duration = .seconds(1)
    /// What `.shown` carries in place of sending anything; nil sends.
    package var shows: Shown?
    /// False leaves a redirect as an error.
    package var followsRedirects = true
    /// Files, certificates and deadlines.
    package var connection = HTTPClientSettings()

    /// A way to look at a request without sending it.
    package enum Shown: Sendable { case curl, policy }

    package init() {}

    /// Defaults, changed by the `VAULT_*` variables (or the same names with `HOLDFAST_`) that
    /// `variable` finds.
    /// - Throws: `.misuse` that names a variable whose value cannot be read.
    package init(environment variable: (String) -> String?) throws(APIError) {
        func text(_ name: String) -> String? {
            guard let value = variable("VAULT_" + name) ?? variable("HOLDFAST_" + name), !value.isEmpty else {
                return nil
            }
            return value
        }
        if let value = text("AGENT_ADDR") ?? text("ADDR") { address = value }
        if let value = text("TOKEN") { token = value }
        if let value = text("NAMESPACE") { namespace = value }
        wrapTTL = text("WRAP_TTL")
        connection.caFile = text("CACERT")
        connection.caPath = text("CAPATH")
        connection.clientCertificateFile = text("CLIENT_CERT")
        connection.clientKeyFile = text("CLIENT_KEY")
        connection.serverName = text("TLS_SERVER_NAME")
        if let value = text("SKIP_VERIFY") {
            guard let flag = Bool(goText: value) else {
                throw .misuse("could not parse VAULT_SKIP_VERIFY: expected true or false")
            }
            connection.skipVerify = flag
        }
        if let value = text("CACERT_BYTES") { connection.caPEM = Array(value.utf8) }
        connection.proxy = text("PROXY_ADDR") ?? text("HTTP_PROXY")
        if let value = text("DISABLE_REDIRECTS") {
            guard let flag = Bool(goText: value) else {
                throw .misuse("could not parse VAULT_DISABLE_REDIRECTS: expected true or false")
            }
            followsRedirects = !flag
        }
        if let value = text("MFA") {
            for credential in value.split(separator: ",") {
                headers.append(("X-Vault-MFA", String(credential)))
            }
        }
        if let value = text("HEADERS") { headers += try Self.headers(of: value) }
        if let value = text("CLIENT_TIMEOUT") {
            guard let span = Duration(vaultText: value), span >= .zero else {
                throw .misuse(
                    "could not parse VAULT_CLIENT_TIMEOUT \"\(value)\": expected a duration such as 60s")
            }
            connection.timeout = span
        }
        if let value = text("MAX_RETRIES") {
            guard let count = Int(value), count >= 0 else {
                throw .misuse("could not parse VAULT_MAX_RETRIES \"\(value)\": expected a number from 0")
            }
            maxRetries = min(count, 100)
        }
    }

    /// `VAULT_HEADERS`: an object of names and values (or lists of them).
    private static func headers(of text: String) throws(APIError) -> [(String, String)] {
        let fault = APIError.misuse(
            "could not parse VAULT_HEADERS: expected a JSON object of header names and values")
        guard let body = try? RawJSON(validating: Array(text.utf8)), body.kind == .object else { throw fault }
        var headers: [(String, String)] = []
        for (name, value) in body.members {
            let values = value.kind == .array ? value.strings : value.string.map { [$0] } ?? []
            if values.isEmpty || name.isEmpty { throw fault }
            headers += values.map { (name, $0) }
        }
        return headers
    }
}

extension Bool {
    /// The words that Go's `strconv.ParseBool` takes; nil for any other.
    package init?(goText text: String) {
        switch text {
        case "1", "t", "T", "true", "TRUE", "True": self = true
        case "0", "f", "F", "false", "FALSE", "False": self = false
        default: return nil
        }
    }
}
