internal import APIClient
internal import Base
internal import Net

/// Which of the flags that many commands share a command takes.
struct SharedFlags: OptionSet {
    let rawValue: Int
    /// Where the server is and how to reach it.
    static let http = SharedFlags(rawValue: 1)
    static let format = SharedFlags(rawValue: 2)
    static let field = SharedFlags(rawValue: 4)
    /// `-format=raw` makes sense: the answer's body as it is.
    static let raw = SharedFlags(rawValue: 8)
    static let all: SharedFlags = [.http, .format, .field]
    static let output: SharedFlags = [.http, .format]
    static let none: SharedFlags = []
}

/// One call of a command: its flags and arguments, its console, and a client made on first use.
final class Invocation {
    let console: Console
    let flags: ParsedFlags
    let arguments: [String]
    let output: Output
    private var readyClient: Client?

    private init(_ console: Console, _ flags: ParsedFlags, _ output: Output) {
        self.console = console
        self.flags = flags
        arguments = flags.arguments
        self.output = output
    }

    subscript<Value>(_ flag: Flag<Value>) -> Value { flags[flag] }

    /// Parses, checks, runs, and prints what failed.
    static func run(_ definition: any CommandDefinition.Type, _ arguments: [String], _ console: Console)
        -> Int32
    {
        do throws(CommandFailure) {
            let known = definition.flags + CommonFlags.of(definition.shared)
            let flags = try ParsedFlags(arguments, known)
            if flags.asksForHelp {
                console.out(Help.text(of: definition))
                return 0
            }
            warnOfLateFlags(flags.arguments, console)
            let call = Invocation(console, flags, try Output(flags, definition.shared, console))
            if let count = definition.count { try call.check(count) }
            return try definition.run(call)
        } catch {
            if error.code == 0 { console.out(error.message) } else { console.error(error.message) }
            if !error.hint.isEmpty {
                let lines = Help.wrapped("Hint: \(error.hint)", indent: 0)
                console.prompt("\n" + lines.joined(separator: "\n") + "\n")
            }
            return error.code
        }
    }

    /// The client that flags, environment and token helper describe.
    func client() throws(CommandFailure) -> Client {
        if let readyClient { return readyClient }
        do throws(APIError) {
            let made = try Client(try configuration())
            readyClient = made
            return made
        } catch { throw .failed(error.message) }
    }

    /// Calls the API; a failure is printed behind `what` and ends the command with 2.
    func api<R>(_ what: String, _ body: (Client) throws(APIError) -> R) throws(CommandFailure) -> R {
        let client = try client()
        do throws(APIError) { return try body(client) } catch { throw failure(what, error) }
    }

    func failure(_ what: String, _ error: APIError) -> CommandFailure {
        if case .shown(let text) = error { return CommandFailure(message: text, code: 0) }
        var failure = CommandFailure.failed(what.isEmpty ? error.message : "\(what): \(error.message)")
        if let readyClient { failure.hint = Hint.text(for: error, readyClient) }
        return failure
    }

    func check(_ count: ClosedRange<Int>) throws(CommandFailure) {
        let given = arguments.count
        let wanted =
            count.lowerBound == count.upperBound
            ? "\(count.lowerBound)"
            : given < count.lowerBound ? "at least \(count.lowerBound)" : "at most \(count.upperBound)"
        if given < count.lowerBound {
            throw .usage("Not enough arguments (expected \(wanted), got \(given))")
        }
        if given > count.upperBound { throw .usage("Too many arguments (expected \(wanted), got \(given))") }
    }

    /// Where the server is and who asks, as flags, environment and token helper have it.
    func configuration() throws(APIError) -> ClientConfiguration {
        var made = try ClientConfiguration(environment: { console.environment[$0] })
        // A person or a script at the command line would rather see the error now.
        if console.variable("MAX_RETRIES") == nil { made.maxRetries = 0 }
        try CommonFlags.apply(flags, to: &made)
        if made.token.isEmpty {
            switch TokenHelper(console).get() {
            case .success(let token): made.token = token
            case .failure(let error): throw .misuse("error getting token from token helper: \(error.message)")
            }
        }
        return made
    }

    /// Words that look like flags behind an argument are arguments: most often a mistake.
    private static func warnOfLateFlags(_ arguments: [String], _ console: Console) {
        let late = arguments.prefix { $0 != "--" }.filter {
            $0.hasPrefix("-") && $0.count > 1 && !$0.contains(" ")
        }
        guard !late.isEmpty else { return }
        console.warn(
            "Command flags must be provided before positional arguments. "
                + "The following arguments will not be parsed as flags: [\(late.joined(separator: ","))]")
    }
}

/// The flags that commands share, and what they do to a client.
enum CommonFlags {
    static let address = Flag<String>(
        "address", "Address of the server, such as https://127.0.0.1:8200. VAULT_ADDR.")
    static let agentAddress = Flag<String>(
        "agent-address", "Address of an agent that stands in for the server. VAULT_AGENT_ADDR.")
    static let caCert = Flag<String>("ca-cert", "PEM file with the roots to trust. VAULT_CACERT.")
    static let caPath = Flag<String>(
        "ca-path", "Directory of PEM files with the roots to trust. VAULT_CAPATH.")
    static let clientCert = Flag<String>(
        "client-cert", "PEM file with the client's certificate. VAULT_CLIENT_CERT.")
    static let clientKey = Flag<String>("client-key", "PEM file with the client's key. VAULT_CLIENT_KEY.")
    static let serverName = Flag<String>(
        "tls-server-name", "Name that the server's certificate must show. VAULT_TLS_SERVER_NAME.")
    static let skipVerify = Flag<Bool>(
        switch: "tls-skip-verify", "Accept any certificate: never in production. VAULT_SKIP_VERIFY.")
    static let namespace = Flag<String>(
        "namespace", aliases: ["ns"], "Namespace of the request. VAULT_NAMESPACE.")
    static let header = Flag<[String: String]>(map: "header", "Header to send, as name=value. Repeatable.")
    static let mfa = Flag<[String]>(list: "mfa", "Credentials of a second factor. Repeatable. VAULT_MFA.")
    static let wrapTTL = Flag<Duration?>(
        "wrap-ttl", "Wrap the answer in a token that lives so long. VAULT_WRAP_TTL.")
    static let outputCurl = Flag<Bool>(
        switch: "output-curl-string", "Print the curl command of the request instead of sending it.")
    static let outputPolicy = Flag<Bool>(
        switch: "output-policy", "Print the policy that the request needs instead of sending it.")
    static let policyOverride = Flag<Bool>(
        switch: "policy-override", "Ask the server to override a soft-mandatory policy, where it has such.")
    static let noRedirects = Flag<Bool>(
        switch: "disable-redirects", "Follow no redirect. VAULT_DISABLE_REDIRECTS.")
    static let nonInteractive = Flag<Bool>(switch: "non-interactive", "Ask nothing, even on a terminal.")
    static let noColor = Flag<Bool>(switch: "no-color", "Print without colour. VAULT_CLI_NO_COLOR.")
    static let format = Flag<String>("format", "Print as table, json, yaml or pretty. VAULT_FORMAT.")
    static let field = Flag<String>("field", "Print only this field, without a line end behind it.")

    static func of(_ shared: SharedFlags) -> [any AnyFlag] {
        var flags: [any AnyFlag] = []
        if shared.contains(.http) {
            flags += [
                address, agentAddress, caCert, caPath, clientCert, clientKey, serverName, skipVerify,
                namespace,
                header, mfa, wrapTTL, outputCurl, outputPolicy, noRedirects, policyOverride,
            ]
        }
        if shared != .none { flags.append(format) }
        if shared.contains(.field) { flags.append(field) }
        return flags + [nonInteractive, noColor] as [any AnyFlag]
    }

    static func apply(_ flags: ParsedFlags, to made: inout ClientConfiguration) throws(APIError) {
        if flags.has(address) { made.address = flags[address] }
        if flags.has(agentAddress) { made.address = flags[agentAddress] }
        if flags.has(caCert) { made.connection.caFile = flags[caCert] }
        if flags.has(caPath) { made.connection.caPath = flags[caPath] }
        if flags.has(clientCert) { made.connection.clientCertificateFile = flags[clientCert] }
        if flags.has(clientKey) { made.connection.clientKeyFile = flags[clientKey] }
        if flags.has(serverName) { made.connection.serverName = flags[serverName] }
        if flags.has(skipVerify) { made.connection.skipVerify = flags[skipVerify] }
        if flags.has(namespace) { made.namespace = flags[namespace] }
        if let span = flags[wrapTTL] { made.wrapTTL = span.goText }
        if flags[outputPolicy] { made.shows = .policy }
        if flags[outputCurl] { made.shows = .curl }
        if flags.has(noRedirects) { made.followsRedirects = !flags[noRedirects] }
        for (name, value) in flags[header].sorted(by: { $0.key < $1.key }) {
            if name.lowercased().hasPrefix("x-vault-") {
                throw .misuse("header \"\(name)\": names that start with X-Vault- belong to their own flags")
            }
            if (name + value).utf8.contains(where: { $0 < 32 || $0 == 127 }) {
                throw .misuse("header \"\(name)\" has a control character")
            }
            made.headers.append((name, value))
        }
        if flags[policyOverride] { made.headers.append(("X-Vault-Policy-Override", "true")) }
        for credential in flags[mfa] { made.headers.append(("X-Vault-MFA", credential)) }
    }
}
