internal import APIClient
internal import Base

enum LoginCommand: CommandDefinition {
    static let name = "login"
    static let synopsis = "Authenticate locally"
    static let operands = "[TOKEN | K=V...]"
    static let details = """
        Checks the credentials and keeps the token for the commands that follow, in ~/.vault-token or
        with the token helper. Without an argument it asks; - reads standard input.

            $ holdfast login s.2431fA…
            $ holdfast login -method=userpass username=ann
            $ holdfast login -method=approle role_id=5c1b… secret_id=@secret-id
        """
    static let count: ClosedRange<Int>? = nil
    static let shared = SharedFlags.all
    static let method = Flag<String>("method", default: "token", "Kind of login: \(LoginMethod.names).")
    static let path = Flag<String>("path", "Where the auth method is mounted; its kind by default.")
    static let noStore = Flag<Bool>(switch: "no-store", "Do not keep the token.")
    static let noPrint = Flag<Bool>(switch: "no-print", "Show nothing; the token is only kept.")
    static let tokenOnly = Flag<Bool>(switch: "token-only", "Show only the token and do not keep it.")
    static let flags: [any AnyFlag] = [method, path, noStore, noPrint, tokenOnly]

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let isTokenOnly = call[tokenOnly]
        let isStored = !call[noStore] && !isTokenOnly
        if call[noPrint], !isStored {
            throw .usage("-no-print with -no-store or -token-only would do nothing")
        }
        let kind = call[method].trimmed.lowercased()
        guard let login = LoginMethod(rawValue: kind) else {
            throw .usage(
                "Unknown auth method: \(kind). Use \"auth list\" to see those of the server; "
                    + "this command knows \(LoginMethod.names)."
            )
        }
        let secret = try login.run(call)
        guard secret.wrapInfo == nil else { return call.output.secret(secret) }
        guard let auth = secret.auth else {
            throw .failed("Error authenticating: the server's answer holds no token")
        }
        if isStored {
            if case .failure(let error) = TokenHelper(call.console).store(auth.clientToken) {
                throw .failed(
                    "Error storing token: \(error.message)\n\n"
                        + "The login itself succeeded; use -no-store to see the token."
                )
            }
            if call.console.variable("TOKEN") != nil {
                call.console.warn(
                    "WARNING! The VAULT_TOKEN environment variable is set! The value of this variable "
                        + "will take precedence; if this is unwanted please unset VAULT_TOKEN or update "
                        + "its value accordingly.\n"
                )
            }
        }
        if isTokenOnly {
            call.console.raw(auth.clientToken + (call.console.outputIsTerminal ? "\n" : ""))
            return 0
        }
        if call[noPrint] { return 0 }
        if call.output.field.isEmpty, call.output.isTable {
            let kept =
                isStored
                ? "It is kept for the commands that follow: there is no need to log in again."
                : "It was not stored: set VAULT_TOKEN to it, or pass it with each request."
            let sentence = "Success! You are now authenticated. The token's details are shown below. \(kept)"
            call.output.say(Help.wrapped(sentence, indent: 0).joined(separator: "\n") + "\n")
        }
        return call.output.secret(secret)
    }
}

/// The kinds of login that this program can do by itself.
enum LoginMethod: String, CaseIterable {
    case token, userpass, ldap, radius, approle

    static var names: String { allCases.map(\.rawValue).joined(separator: ", ") }

    func run(_ call: Invocation) throws(CommandFailure) -> Secret {
        switch self {
        case .token: try token(call)
        case .userpass, .ldap, .radius: try password(call)
        case .approle: try role(call)
        }
    }

    /// Looks the token up, which proves it, and gives the answer the shape of a login's.
    private func token(_ call: Invocation) throws(CommandFailure) -> Secret {
        try call.check(0...1)
        var token: String
        switch call.arguments.first {
        case "-": token = String(decoding: try call.console.readInput(), as: UTF8.self)
        case let given?: token = given.hasPrefix("token=") ? String(given.dropFirst(6)) : given
        case nil: token = try Self.ask("Token (will be hidden): ", call)
        }
        token = String(token.trimmed)
        if token.isEmpty {
            throw .failed(
                "Error authenticating: a token must be passed to auth, please use the login command with one")
        }
        let found = try call.api("Error authenticating: error looking up token") {
            (client) throws(APIError) in
            client.configuration.token = token
            client.configuration.wrapTTL = nil
            return client.envelope(try client.call("GET", "auth/token/lookup-self"))
        }
        guard let data = found?.data else { throw .failed("Error authenticating: the lookup gave nothing") }
        var auth = Secret.Auth()
        auth.clientToken = token
        auth.accessor = data["accessor"]?.string ?? ""
        auth.policies = (data["policies"]?.strings ?? []) + (data["identity_policies"]?.strings ?? [])
        auth.tokenPolicies = data["policies"]?.strings ?? []
        auth.identityPolicies = data["identity_policies"]?.strings
        if let meta = data["meta"], meta.kind == .object {
            auth.metadata = meta.members.map { ($0.name, $0.value) }.sorted { $0.0 < $1.0 }
        }
        auth.orphan = data["orphan"]?.bool ?? false
        auth.entityID = data["entity_id"]?.string ?? ""
        auth.leaseDuration = data["ttl"]?.int ?? 0
        auth.renewable = data["renewable"]?.bool ?? false
        var secret = Secret()
        secret.requestID = found?.requestID ?? ""
        secret.auth = auth
        return secret
    }

    /// `login/<username>` with a password, as userpass, ldap and radius have it.
    private func password(_ call: Invocation) throws(CommandFailure) -> Secret {
        let given = try DataArguments.strings(call.arguments, call.console)
        let username = given["username"] ?? call.console.environment["USER"] ?? ""
        if username.isEmpty { throw .usage("'username' must be specified") }
        let password: String
        if let known = given["password"] {
            password = known
        } else {
            password = try Self.ask("Password (will be hidden): ", call)
        }
        return try send(["password": .string(password)], to: "login/\(username)", given, call)
    }

    /// `login` with a role id and, where the role wants one, a secret id.
    private func role(_ call: Invocation) throws(CommandFailure) -> Secret {
        let given = try DataArguments.strings(call.arguments, call.console)
        guard let role = given["role_id"], !role.isEmpty else { throw .usage("'role_id' must be specified") }
        var body: [(String, JSONValue)] = [("role_id", .string(role))]
        if let secret = given["secret_id"] { body.append(("secret_id", .string(String(secret.trimmed)))) }
        return try send(.object(body), to: "login", given, call)
    }

    private func send(
        _ body: JSONValue, to path: String, _ given: [String: String], _ call: Invocation
    ) throws(CommandFailure) -> Secret {
        let mount = given["mount"] ?? (call[LoginCommand.path].isEmpty ? rawValue : call[LoginCommand.path])
        let answer = try call.api("Error authenticating") { (client) throws(APIError) in
            client.configuration.token = ""
            return try client.write("auth/\(KVPath.sanitized(mount))/\(path)", body)
        }
        guard let answer else {
            throw .failed("Error authenticating: empty response from credential provider")
        }
        return answer
    }

    private static func ask(_ question: String, _ call: Invocation) throws(CommandFailure) -> String {
        if call[CommonFlags.nonInteractive] {
            throw .usage("\(question.trimmed) -non-interactive forbids asking")
        }
        return try call.console.readSecret(question)
    }
}
