internal import APIClient
internal import Base

/// Makes a new root token from the keepers' shares. The token comes out covered by a one-time password
/// or by a PGP key, so that whoever hands in the last share does not see it.
enum OperatorGenerateRootCommand: CommandDefinition {
    static let name = "operator generate-root"
    static let synopsis = "Generate a new root token"
    static let operands = "[KEY]"
    static let details = """
        Start with -init, which gives a nonce and a one-time password. Then each keeper hands in a share,
        as an argument, with - from standard input, or when asked, which hides it. The last share brings
        the encoded token out, which -decode and the password open.

            $ holdfast operator generate-root -init
            $ holdfast operator generate-root -nonce=2f8c…
            $ holdfast operator generate-root -decode=Eg4… -otp=g3x…
        """
    static let count: ClosedRange<Int>? = 0...1

    static let start = Flag<Bool>(switch: "init", "Start a root token generation.")
    static let cancel = Flag<Bool>(switch: "cancel", "Drop the generation and the shares given so far.")
    static let status = Flag<Bool>(switch: "status", "Show how far it is.")
    static let decode = Flag<String>("decode", "The encoded token to open with -otp; - for standard input.")
    static let generateOTP = Flag<Bool>(
        switch: "generate-otp", "Print a one-time password that fits -init -otp.")
    static let otp = Flag<String>(
        "otp", "The one-time password, with -init or -decode; - for standard input.")
    static let pgpKey = Flag<String>("pgp-key", "File of the PGP public key that the token is encrypted to.")
    static let nonce = Flag<String>("nonce", "The nonce that -init gave.")
    static let isDR = Flag<Bool>(switch: "dr-token", "Make a disaster recovery operation token.")
    static let isRecovery = Flag<Bool>(switch: "recovery-token", "Make a token for recovery mode.")
    static let flags: [any AnyFlag] = [
        start, cancel, status, decode, generateOTP, otp, pgpKey, nonce, isDR, isRecovery,
    ]

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        if call[isDR], call[isRecovery] { throw .usage("Both -recovery-token and -dr-token flags are set") }
        if call.flags.has(decode) { return try decoded(call) }
        if !(call[generateOTP] || call[cancel] || call[start] || call[status]) { return try submit(call) }
        try call.check(0...0)
        if call[generateOTP] { return try password(call) }
        if call[cancel] { return try cancelled(call) }
        return call[start] ? try started(call) : try show(try fetch(call), call)
    }

    private static func base(_ call: Invocation) -> String {
        if call[isDR] { return "sys/replication/dr/secondary/generate-operation-token" }
        return call[isRecovery] ? "sys/generate-recovery-token" : "sys/generate-root"
    }

    private static func started(_ call: Invocation) throws(CommandFailure) -> Int32 {
        if !call[otp].isEmpty, !call[pgpKey].isEmpty {
            throw .usage("-otp and -pgp-key exclude each other: give one, or neither")
        }
        var body: [(String, JSONValue)] = []
        if !call[otp].isEmpty { body.append(("otp", .string(try text(of: otp, call)))) }
        if !call[pgpKey].isEmpty {
            body.append(("pgp_key", .string(try PGPFile.keys([call[pgpKey]])[0])))
        }
        let answer = try call.api("Error initializing root generation") { (client) throws(APIError) in
            try client.call("PUT", base(call) + "/attempt", body: body.asObject.encoded())
        }
        return try show(answer?.tree ?? .object([]), call)
    }

    private static func cancelled(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let body =
            call[nonce].isEmpty ? nil : (["nonce": .string(call[nonce])] as JSONValue).encoded()
        _ = try call.api("Error canceling root token generation") { (client) throws(APIError) in
            try client.call("DELETE", base(call) + "/attempt", body: body)
        }
        let sentence = "Success! Root token generation canceled (if it was started)"
        if !call.output.isTable { return call.output.data(["message": .string(sentence)]) }
        call.output.say(sentence)
        return 0
    }

    private static func submit(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let status = try fetch(call)
        guard status["started"]?.goText == "true" else {
            throw .usage(
                "No root generation is in progress. Start a root generation by running "
                    + "\"\(Help.program) operator generate-root -init\".")
        }
        var nonce = call[nonce]
        // A person sees the nonce and can compare it.
        if call.arguments.isEmpty, nonce.isEmpty { nonce = status["nonce"]?.goText ?? "" }
        if nonce.isEmpty { throw .usage("Missing nonce value: specify it via the -nonce flag") }
        if call.arguments.isEmpty { call.console.prompt("Operation nonce: \(nonce)\n") }
        let key = try KeyShare.read("Unseal Key", call)
        let body: JSONValue = ["key": .string(key), "nonce": .string(nonce)]
        let answer = try call.api("Error posting unseal key") { (client) throws(APIError) in
            try client.call("PUT", base(call) + "/update", body: body.encoded())
        }
        return try show(answer?.tree ?? .object([]), call)
    }

    /// The one-time password takes its length from the server, whose tokens may grow.
    private static func password(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let length = Int(try fetch(call)["otp_length"]?.goText ?? "") ?? 0
        guard (1...4_096).contains(length) else {
            throw .failed("Error generating an OTP: the server does not say how long it has to be")
        }
        let otp = randomText(length)
        if !call.output.isTable {
            return call.output.data(["otp": .string(otp), "otp_length": .int(length)])
        }
        call.console.raw(otp + (call.console.outputIsTerminal ? "\n" : ""))
        return 0
    }

    /// Letters and digits, each as likely as the other.
    private static func randomText(_ length: Int) -> String {
        let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789".utf8)
        var random = SystemRandomNumberGenerator()
        return String(
            decoding: (0..<length).map { _ in alphabet[Int.random(in: 0..<alphabet.count, using: &random)] },
            as: UTF8.self)
    }

    /// Takes the one-time password off the token. Needs no server.
    private static func decoded(_ call: Invocation) throws(CommandFailure) -> Int32 {
        try call.check(0...0)
        if call[otp].isEmpty { throw .usage("Missing otp: use the -otp flag to supply it") }
        if call[decode] == "-", call[otp] == "-" {
            throw .usage("-decode and -otp cannot both come from standard input")
        }
        let encoded = try text(of: decode, call)
        let password = Array(try text(of: otp, call).utf8)
        let bare = encoded.prefix { $0 != "=" }
        guard let covered = Base64.standardUnpadded.decode(String(bare)) else {
            throw .usage("Error decoding root token: -decode: expected base64")
        }
        guard covered.count == password.count else {
            throw .usage(
                "Error decoding root token: the token has \(covered.count) bytes, "
                    + "the OTP \(password.count)"
            )
        }
        guard let token = String(validating: zip(covered, password).map { $0 ^ $1 }, as: UTF8.self),
            token.utf8.allSatisfy({ $0 > 32 && $0 < 127 })
        else { throw .usage("Error decoding root token: this OTP does not open it") }
        if !call.output.isTable { return call.output.data(["token": .string(token)]) }
        call.console.raw(token + (call.console.outputIsTerminal ? "\n" : ""))
        return 0
    }

    private static func text(of flag: Flag<String>, _ call: Invocation) throws(CommandFailure) -> String {
        let given =
            call[flag] == "-" ? String(decoding: try call.console.readInput(), as: UTF8.self) : call[flag]
        return String(given.trimmed)
    }

    private static func fetch(_ call: Invocation) throws(CommandFailure) -> JSONValue {
        let answer = try call.api("Error getting root generation status") { (client) throws(APIError) in
            let shows = client.configuration.shows
            if !call[status], !call[generateOTP] { client.configuration.shows = nil }
            defer { client.configuration.shows = shows }
            return try client.call("GET", base(call) + "/attempt")
        }
        return answer?.tree ?? .object([])
    }

    private static func show(_ status: JSONValue, _ call: Invocation) throws(CommandFailure) -> Int32 {
        func text(_ name: String) -> String { status[name].map { $0.isNull ? "" : $0.goText } ?? "" }
        guard call.output.isTable else {
            let defaults: [(String, JSONValue)] = [
                ("nonce", ""), ("started", false), ("progress", 0), ("required", 0), ("complete", false),
                ("encoded_token", ""), ("encoded_root_token", ""), ("pgp_fingerprint", ""), ("otp", ""),
                ("otp_length", 0),
            ]
            return call.output.data(defaults.map { ($0.0, status[$0.0] ?? $0.1) }.asObject)
        }
        var rows = [
            ["Nonce", text("nonce")], ["Started", text("started")],
            ["Progress", "\(text("progress"))/\(text("required"))"], ["Complete", text("complete")],
        ]
        if !text("pgp_fingerprint").isEmpty { rows.append(["PGP Fingerprint", text("pgp_fingerprint")]) }
        if !text("encoded_token").isEmpty {
            rows.append(["Encoded Token", text("encoded_token")])
        } else if !text("encoded_root_token").isEmpty {
            rows.append(["Encoded Root Token", text("encoded_root_token")])
        }
        if !text("otp").isEmpty {
            call.console.warn(
                "A one-time password was made and is shown as OTP, this one time: "
                    + "it opens the token at the end.\n"
            )
            rows.append(["OTP", text("otp")])
        }
        if !["", "0"].contains(text("otp_length")) { rows.append(["OTP Length", text("otp_length")]) }
        call.output.say(Table.text(rows, underlined: false))
        return 0
    }
}
