internal import APIClient
internal import Base

/// Changes the shares of the unseal key (or of the recovery key): started once, then a share at a time
/// by each keeper, and, where asked for, proved with the new shares before the old ones end.
enum OperatorRekeyCommand: CommandDefinition {
    static let name = "operator rekey"
    static let synopsis = "Generate new unseal keys"
    static let operands = "[KEY]"
    static let details = """
        Start with -init, which gives a nonce. Then each keeper hands in a share of the present key, as
        an argument, with - from standard input, or when asked, which hides it. The last share brings
        the new ones out.

            $ holdfast operator rekey -init -key-shares=5 -key-threshold=3
            $ holdfast operator rekey -nonce=2f8c…
        """
    static let count: ClosedRange<Int>? = 0...1

    static let start = Flag<Bool>(switch: "init", "Start a rekey.")
    static let cancel = Flag<Bool>(switch: "cancel", "Drop the rekey and the shares given so far.")
    static let status = Flag<Bool>(switch: "status", "Show how far it is.")
    static let verify = Flag<Bool>(
        switch: "verify",
        "With -init: the new shares must be handed in once before they count. Alone, or with -status or "
            + "-cancel: it is about this proof.")
    static let target = Flag<String>("target", default: "barrier", "The key to change: barrier or recovery.")
    static let shares = Flag<Int>(
        "key-shares", aliases: ["n"], default: 5, "Shares to split the new key into.")
    static let threshold = Flag<Int>(
        "key-threshold", aliases: ["t"], default: 3, "Shares that will be needed.")
    static let nonce = Flag<String>("nonce", "The nonce that -init gave.")
    static let pgpKeys = Flag<[String]>(
        list: "pgp-keys", commas: true,
        "One PGP public key for each new share: files, with commas between.")
    static let backup = Flag<Bool>(
        switch: "backup", "With -pgp-keys: the server keeps a copy of the encrypted shares.")
    static let backupRetrieve = Flag<Bool>(switch: "backup-retrieve", "Show the copy that the server keeps.")
    static let backupDelete = Flag<Bool>(switch: "backup-delete", "Delete the copy that the server keeps.")
    static let breakGlass = Flag<Bool>(
        switch: "break-glass",
        "With -init -target=recovery: let the new recovery key unseal the server without its seal.")
    static let flags: [any AnyFlag] = [
        breakGlass, start, cancel, status, verify, target, shares, threshold, nonce, pgpKeys, backup,
        backupRetrieve,
        backupDelete,
    ]

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let rekey = try Rekey(call)
        if !(call[start] || call[cancel] || call[status] || call[backupRetrieve] || call[backupDelete]) {
            return try rekey.submit()
        }
        try call.check(0...0)
        if call[backupDelete] { return try rekey.deleteBackup() }
        if call[backupRetrieve] { return try rekey.retrieveBackup() }
        if call[cancel] { return try rekey.cancel() }
        return call[start] ? try rekey.start() : try rekey.showStatus()
    }
}

/// One call of `operator rekey`: its target's endpoints and what it prints.
private struct Rekey {
    private typealias Flags = OperatorRekeyCommand
    private let call: Invocation
    private let base: String
    private let backupPath: String
    private let isRecovery: Bool
    /// The call is about the proof of the new shares.
    private let isVerifying: Bool

    init(_ call: Invocation) throws(CommandFailure) {
        self.call = call
        switch call[Flags.target].trimmed.lowercased() {
        case "barrier", "":
            isRecovery = false
            base = "sys/rekey"
            backupPath = "sys/rekey/backup"
        case "recovery", "hsm":
            isRecovery = true
            base = "sys/rekey-recovery-key"
            backupPath = "sys/rekey/recovery-key-backup"
        default:
            throw .usage("Unknown target: \(call[Flags.target]) (expected barrier or recovery)")
        }
        isVerifying = call[Flags.verify] && !call[Flags.start]
    }

    private var path: String { isVerifying ? base + "/verify" : base + "/init" }

    func start() throws(CommandFailure) -> Int32 {
        let keys = try PGPFile.keys(call[Flags.pgpKeys])
        if call[Flags.backup], keys.isEmpty {
            throw .usage("-backup keeps encrypted shares: it needs -pgp-keys")
        }
        if call[Flags.breakGlass], !isRecovery { throw .usage("-break-glass needs -target=recovery") }
        var members: [(String, JSONValue)] = [
            ("secret_shares", .int(call[Flags.shares])), ("secret_threshold", .int(call[Flags.threshold])),
            ("pgp_keys", keys.isEmpty ? .null : .strings(keys)), ("backup", .bool(call[Flags.backup])),
            ("require_verification", .bool(call[Flags.verify])),
        ]
        if call[Flags.breakGlass] { members.append(("break_glass", true)) }
        let body = JSONValue.object(members)
        let answer = try call.api("Error initializing rekey") { (client) throws(APIError) in
            try client.call("PUT", base + "/init", body: body.encoded())
        }
        // A server whose seal keeps the barrier's key gives out no shares, whatever number was asked for.
        let hasShares = isRecovery || answer?["n"]?.int == call[Flags.shares]
        if hasShares, keys.isEmpty, !call[Flags.verify] {
            let loss = isRecovery ? "nobody can make root tokens any more" : "so are the data"
            call.console.warn(
                Help.wrapped(
                    "WARNING! The new shares are shown once, when the last present share is in. If they are "
                        + "lost then, \(loss). -verify makes the server wait until they have "
                        + "proved good, -pgp-keys encrypts each for its keeper.", indent: 0
                ).joined(separator: "\n") + "\n")
        }
        return try show(answer?.tree)
    }

    func cancel() throws(CommandFailure) -> Int32 {
        let nonce = call[Flags.nonce]
        let body = nonce.isEmpty ? nil : (["nonce": .string(nonce)] as JSONValue).encoded()
        _ = try call.api("Error canceling rekey") { (client) throws(APIError) in
            try client.call("DELETE", path, body: body)
        }
        sentence("Success! Canceled rekeying (if it was started)")
        return 0
    }

    func showStatus() throws(CommandFailure) -> Int32 { try show(try fetchStatus()) }

    func submit() throws(CommandFailure) -> Int32 {
        let status = try fetchStatus()
        guard status["started"]?.goText == "true" else {
            throw .usage(
                "No rekey is in progress. Start a rekey process by running "
                    + "\"\(Help.program) operator rekey -init\"."
            )
        }
        var nonce = call[Flags.nonce]
        if call.arguments.isEmpty, nonce.isEmpty {
            // A person sees the nonce and can compare it.
            nonce = status["nonce"]?.goText ?? ""
        }
        if nonce.isEmpty { throw .usage("Missing nonce value: specify it via the -nonce flag") }
        if call.arguments.isEmpty { call.console.prompt("Rekey operation nonce: \(nonce)\n") }
        let question = isRecovery && !isVerifying ? "Recovery Key" : isVerifying ? "New Key" : "Unseal Key"
        let key = try KeyShare.read(question, call)
        let body: JSONValue = ["key": .string(key), "nonce": .string(nonce)]
        let answer = try call.api("Error posting unseal key") { (client) throws(APIError) in
            try client.call("PUT", isVerifying ? path : base + "/update", body: body.encoded())
        }
        let result = answer?.tree ?? .object([])
        guard result["complete"]?.goText == "true" else { return try showStatus() }
        if isVerifying { return verified(result) }
        return finished(result)
    }

    func retrieveBackup() throws(CommandFailure) -> Int32 {
        let found = try call.api("Error retrieving rekey backup") { (client) throws(APIError) in
            try client.call("GET", backupPath)
        }
        let backup = found?["data"]?.kind == .object ? found?["data"] : found
        guard let backup else { throw .failed("Error retrieving rekey backup: there is none") }
        let wanted = ["nonce", "keys", "keys_base64"]
        let members = backup.tree.ordered(wanted).members.filter { wanted.contains($0.0) }
        return call.output.data(members.asObject)
    }

    func deleteBackup() throws(CommandFailure) -> Int32 {
        _ = try call.api("Error deleting stored keys") { (client) throws(APIError) in
            try client.delete(backupPath)
        }
        sentence("Success! Delete stored keys (if they existed)")
        return 0
    }

    // MARK: -

    private func fetchStatus() throws(CommandFailure) -> JSONValue {
        let what = isVerifying ? "Error getting rekey verification status" : "Error getting rekey status"
        let answer = try call.api(what) { (client) throws(APIError) in
            // What -output-curl-string shows is the request that changes something.
            let shows = client.configuration.shows
            if !call[Flags.status] { client.configuration.shows = nil }
            defer { client.configuration.shows = shows }
            return try client.call("GET", path)
        }
        return answer?.tree ?? .object([])
    }

    private func sentence(_ text: String) {
        if call.output.isTable { call.output.say(text) } else { call.output.data(["message": .string(text)]) }
    }

    private func show(_ status: JSONValue?) throws(CommandFailure) -> Int32 {
        let status = status ?? .object([])
        guard call.output.isTable else { return call.output.data(isVerifying ? status : completed(status)) }
        func text(_ name: String) -> String { status[name].map { $0.isNull ? "" : $0.goText } ?? "" }
        let isStarted = text("started") == "true"
        if isVerifying {
            call.output.say(
                Table.text([
                    ["Key", "Value"], ["Started", text("started")], ["New Shares", text("n")],
                    ["New Threshold", text("t")], ["Verification Nonce", text("nonce")],
                    ["Verification Progress", "\(text("progress"))/\(text("t"))"],
                ]))
            return 0
        }
        var rows = [["Key", "Value"], ["Nonce", text("nonce")], ["Started", text("started")]]
        if isStarted {
            rows.append(["Rekey Progress", "\(text("progress"))/\(text("required"))"])
            rows += [["New Shares", text("n")], ["New Threshold", text("t")]]
            rows.append(["Verification Required", text("verification_required")])
            if !text("verification_nonce").isEmpty {
                rows.append(["Verification Nonce", text("verification_nonce")])
            }
        }
        if !text("pgp_fingerprints").isEmpty, text("pgp_fingerprints") != "[]" {
            rows += [["PGP Fingerprints", text("pgp_fingerprints")], ["Backup", text("backup")]]
        }
        call.output.say(Table.text(rows))
        return 0
    }

    /// In the order of Vault's client, with the members that a server may leave out.
    private func completed(_ status: JSONValue) -> JSONValue {
        let defaults: [(String, JSONValue)] = [
            ("nonce", ""), ("started", false), ("t", 0), ("n", 0), ("progress", 0), ("required", 0),
            ("pgp_fingerprints", nil), ("backup", false), ("verification_required", false),
            ("verification_nonce", ""),
        ]
        return defaults.map { ($0.0, status[$0.0] ?? $0.1) }.asObject
    }

    private func verified(_ result: JSONValue) -> Int32 {
        guard call.output.isTable else { return call.output.data(result) }
        call.output.say(
            Help.wrapped(
                "Success! Rekey verification successful. The rekey operation is complete and the new keys "
                    + "are now active.", indent: 0
            ).joined(separator: "\n"))
        return 0
    }

    private func finished(_ result: JSONValue) -> Int32 {
        let names = [
            "nonce", "complete", "keys", "keys_base64", "pgp_fingerprints", "backup", "verification_required",
            "verification_nonce",
        ]
        guard call.output.isTable else { return call.output.data(result.ordered(names)) }
        let fingerprints = result["pgp_fingerprints"]?.elements ?? []
        for (index, key) in (result["keys_base64"]?.elements ?? []).enumerated() {
            if index < fingerprints.count {
                call.output.say(
                    "Key \(index + 1) fingerprint: \(fingerprints[index].goText); value: \(key.goText)")
            } else {
                call.output.say("Key \(index + 1): \(key.goText)")
            }
        }
        let needsProof = result["verification_required"]?.goText == "true"
        call.output.say("\nOperation nonce: \(result["nonce"]?.goText ?? "")\n")
        if result["backup"]?.goText == "true", !fingerprints.isEmpty {
            say(
                "The encrypted shares are kept by the server: "
                    + "\"\(Help.program) operator rekey -backup-retrieve\" shows them, -backup-delete removes them.\n"
            )
        }
        if (result["keys_base64"]?.elements ?? []).isEmpty {
            say("The server has a new root key, which its seal keeps. The recovery keys stay as they are.")
            return 0
        }
        let kind = isRecovery ? "recovery" : "unseal"
        if needsProof {
            call.output.say("Verification nonce: \(result["verification_nonce"]?.goText ?? "")\n")
            say(
                "The present \(kind) keys stay in force until the new ones are proved: "
                    + "hand in \(call[Flags.threshold]) of them with \"\(Help.program) operator rekey -verify\". Only then are they active."
            )
        } else {
            say(
                "The new \(kind) keys are in force, and the old ones are void. Give each share to another "
                    + "keeper: they are shown this one time, and the server does not keep them.")
        }
        return 0
    }

    private func say(_ text: String) {
        call.output.say(Help.wrapped(text, indent: 0).joined(separator: "\n"))
    }
}

/// One share of a key, from an argument, from standard input (`-`), or from a person who is asked.
enum KeyShare {
    static func read(_ name: String, _ call: Invocation) throws(CommandFailure) -> String {
        var text: String
        switch call.arguments.first {
        case "-": text = String(decoding: try call.console.readInput(), as: UTF8.self)
        case let given? where !given.isEmpty: text = given
        default:
            if call[CommonFlags.nonInteractive] {
                throw .usage("Missing key: -non-interactive forbids asking")
            }
            text = try call.console.readSecret("\(name) (will be hidden): ")
        }
        text = String(text.trimmed)
        if text.isEmpty { throw .usage("The key is empty: expected one share in base64 or hexadecimal") }
        return text
    }
}
