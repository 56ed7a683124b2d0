internal import APIClient
internal import Base

enum OperatorInitCommand: CommandDefinition {
    static let name = "operator init"
    static let synopsis = "Initialize a server"
    static let details = """
        Makes the root key, splits it into shares and prints them with the first root token, this one
        time. With -pgp-keys each share comes out encrypted for its keeper.

            $ holdfast operator init -key-shares=3 -key-threshold=2
        """
    static let status = Flag<Bool>(
        switch: "status", "Only tell: exit code 0 is initialized, 2 is not, 1 an error.")
    static let shares = Flag<Int>(
        "key-shares", aliases: ["n"], default: 5, "Shares to split the root key into.")
    static let threshold = Flag<Int>("key-threshold", aliases: ["t"], default: 3, "Shares that unseal.")
    static let storedShares = Flag<Int>(
        "stored-shares", default: -1, "Accepted for old scripts; without effect.")
    static let pgpKeys = Flag<[String]>(
        list: "pgp-keys", commas: true, "One PGP public key for each share: files, with commas between.")
    static let rootKey = Flag<String>("root-token-pgp-key", "File of the PGP public key for the root token.")
    static let recoveryShares = Flag<Int>(
        "recovery-shares", default: 5, "Shares of the recovery key, with auto-unseal.")
    static let recoveryThreshold = Flag<Int>(
        "recovery-threshold", default: 3, "Recovery shares that are enough.")
    static let recoveryPGP = Flag<[String]>(
        list: "recovery-pgp-keys", commas: true, "One PGP public key for each recovery share.")
    static let breakGlass = Flag<Bool>(
        switch: "break-glass",
        "Let the recovery key unseal the server without its seal, for the day that the KMS is lost. "
            + "Enough holders of recovery key shares then need nobody's permission to open it.")
    static let flags: [any AnyFlag] = [
        status, shares, threshold, storedShares, pgpKeys, rootKey, recoveryShares, recoveryThreshold,
        recoveryPGP, breakGlass,
    ]

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        if call[status] { return try printStatus(call) }
        let isSelfSealed = try sealIsShamir(call)
        var body: [(String, JSONValue)] = []
        // A server under auto-unseal has recovery shares; it refuses unseal shares that nobody asked for.
        if isSelfSealed || call.flags.has(shares) || call.flags.has(threshold) {
            body += [("secret_shares", .int(call[shares])), ("secret_threshold", .int(call[threshold]))]
        }
        if !isSelfSealed {
            body.append(("recovery_shares", .int(call[recoveryShares])))
            body.append(("recovery_threshold", .int(call[recoveryThreshold])))
            if call[breakGlass] { body.append(("break_glass", true)) }
        }
        if !call[pgpKeys].isEmpty { body.append(("pgp_keys", .strings(try PGPFile.keys(call[pgpKeys])))) }
        if !call[recoveryPGP].isEmpty {
            body.append(("recovery_pgp_keys", .strings(try PGPFile.keys(call[recoveryPGP]))))
        }
        if !call[rootKey].isEmpty {
            body.append(("root_token_pgp_key", .string(try PGPFile.keys([call[rootKey]])[0])))
        }
        let answer = try call.api("Error initializing") { (client) throws(APIError) in
            try client.call("PUT", "sys/init", body: body.asObject.encoded())
        }
        guard let answer else { throw .failed("Error initializing: the answer is empty") }
        if !call.output.isTable { return call.output.data(report(answer, call)) }
        printShares(answer, call)
        return 0
    }

    private static func printStatus(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let answer: RawJSON?
        do throws(CommandFailure) {
            answer = try call.api("Error checking initialization status") { (client) throws(APIError) in
                try client.call("GET", "sys/init")
            }
        } catch { throw error.asOne }
        let isInitialized = answer?["initialized"]?.bool ?? false
        if call.output.isTable {
            call.output.say(isInitialized ? "Vault is initialized" : "Vault is not initialized")
        } else {
            call.output.data(["initialized": .bool(isInitialized)])
        }
        return isInitialized ? 0 : 2
    }

    private static func sealIsShamir(_ call: Invocation) throws(CommandFailure) -> Bool {
        let status = try call.api("Error checking seal status") { (client) throws(APIError) in
            // What is shown is the request that initialises.
            let shows = client.configuration.shows
            client.configuration.shows = nil
            defer { client.configuration.shows = shows }
            return try client.call("GET", "sys/seal-status")
        }
        return status?["recovery_seal"]?.bool != true
    }

    private static func report(_ answer: RawJSON, _ call: Invocation) -> JSONValue {
        func list(_ name: String) -> JSONValue { .strings(answer[name]?.strings ?? []) }
        return [
            ("unseal_keys_b64", list("keys_base64")), ("unseal_keys_hex", list("keys")),
            ("unseal_shares", .int(call[shares])), ("unseal_threshold", .int(call[threshold])),
            ("recovery_keys_b64", list("recovery_keys_base64")), ("recovery_keys_hex", list("recovery_keys")),
            ("recovery_keys_shares", .int(call[recoveryShares])),
            ("recovery_keys_threshold", .int(call[recoveryThreshold])),
            ("root_token", .string(answer["root_token"]?.string ?? "")),
        ].asObject
    }

    private static func printShares(_ answer: RawJSON, _ call: Invocation) {
        let unseal = answer["keys_base64"]?.strings ?? []
        let recovery = answer["recovery_keys_base64"]?.strings ?? []
        for (number, key) in unseal.enumerated() { call.output.say("Unseal Key \(number + 1): \(key)") }
        for (number, key) in recovery.enumerated() { call.output.say("Recovery Key \(number + 1): \(key)") }
        call.output.say("\nInitial Root Token: \(answer["root_token"]?.string ?? "")\n")
        if unseal.isEmpty {
            call.output.say("Success! Vault is initialized\n")
            let means =
                call[breakGlass]
                ? "They can unseal the server without its seal: keep them as you would keep its data."
                : "They make root tokens and new recovery keys; they do not unseal the server."
            let text =
                "Recovery key initialized with \(recovery.count) key shares and a key threshold of "
                + "\(call[recoveryThreshold]). Please securely distribute the key shares printed above: they "
                + "are shown this one time. " + means
            call.output.say(Help.wrapped(text, indent: 0).joined(separator: "\n"))
            return
        }
        let text = """
            The server is initialized with \(unseal.count) key shares and a key threshold of \(call[threshold]). \
            Give each share to another keeper: they are shown this one time. Whenever the server \
            starts or has been sealed, \(call[threshold]) of the shares must be handed in before it serves. \
            It does not keep the root key: whoever loses more shares than can be spared loses the data.
            """
        call.output.say(Help.wrapped(text, indent: 0).joined(separator: "\n"))
    }
}
