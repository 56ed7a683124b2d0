internal import APIClient
internal import Base
internal import Net

/// What a user may do about a failure. Decided by kinds and statuses, and where these leave it open, by
/// asking the server for its state; never by an error's text.
enum Hint {
    /// How long a hint may take to be found.
    private static let patience: Duration = .seconds(2)

    static func text(for error: APIError, _ client: Client) -> String {
        switch error {
        case .transport(let fault, _): transport(fault, client.address)
        case .response(let answer): response(answer, client)
        case .unreadable: "\(client.address) may be a proxy or another service: check -address or VAULT_ADDR."
        case .misuse, .shown: ""
        }
    }

    private static func transport(_ fault: TransportFault, _ address: String) -> String {
        switch fault {
        case .unreachable:
            "nothing answers at \(address). Is the server running there? "
                + "VAULT_ADDR or -address names another."
        case .timeout:
            "the server did not answer in time. VAULT_CLIENT_TIMEOUT allows more, such as 120s."
        case .plainText:
            "the server speaks plain HTTP: give the address with http:// in place of https://."
        case .tls:
            "the certificate was not accepted. -ca-cert or VAULT_CACERT names the authority that signed it, "
                + "-tls-server-name the name that it carries."
        case .broken where address.hasPrefix("http://"):
            "if the server speaks TLS, its address starts with https://."
        case .broken, .other: ""
        }
    }

    private static func response(_ answer: ResponseError, _ client: Client) -> String {
        let isAnonymous = client.configuration.token.isEmpty
        // A login is anonymous by its nature: its 400 is about the credentials.
        let isLogin = answer.url.contains("/v1/auth/") && answer.url.contains("/login")
        switch answer.status {
        case 503: return state(of: client)
        // What speaks HTTP in plain text to a TLS port gets, from most servers, this and no JSON.
        case 400 where answer.isRaw && answer.url.hasPrefix("http://"):
            return "if the server speaks TLS, its address starts with https://."
        case 400 where isAnonymous && !isLogin, 403 where isAnonymous && !isLogin:
            return "no token was sent. Log in with \"\(Help.program) login\", or set VAULT_TOKEN."
        case 403 where !isAnonymous:
            return
                "the token is expired, or its policies do not allow this. \"\(Help.program) token lookup\" "
                + "shows the token, the flag -output-policy what the request needs."
        default: return ""
        }
    }

    /// Sealed and uninitialised servers say so without a token.
    private static func state(of client: Client) -> String {
        var configuration = ClientConfiguration()
        configuration.address = client.configuration.address
        configuration.connection = client.configuration.connection
        configuration.connection.timeout = patience
        configuration.maxRetries = 0
        let status: RawJSON?
        do throws(APIError) {
            status = try Client(configuration).call("GET", "sys/seal-status")
        } catch { return "" }
        if status?["initialized"]?.bool == false {
            return "the server is new: \"\(Help.program) operator init\" initializes it."
        }
        guard status?["sealed"]?.bool == true else { return "" }
        if status?["recovery_seal"]?.bool == true {
            let reason = status?["sealed_reason"]?.string ?? ""
            return "the server is sealed until it can unseal itself" + (reason.isEmpty ? "." : ": \(reason)")
        }
        return "the server is sealed: hand in shares of its key with \"\(Help.program) operator unseal\"."
    }
}
