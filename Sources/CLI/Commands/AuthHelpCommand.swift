internal import APIClient
internal import Base

enum AuthHelpCommand: CommandDefinition {
    static let name = "auth help"
    static let synopsis = "Print usage for an auth method"
    static let operands = "TYPE | PATH"
    static let named = OperandKind.authMount
    static let details = """
        Tells how to log in with a method: one of those that this program knows, or the one that is
        enabled at a path.

            $ holdfast auth help userpass
            $ holdfast auth help up2/
        """
    static let count: ClosedRange<Int>? = 1...1

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let given = KVPath.sanitized(call.arguments[0])
        if let known = LoginMethod(rawValue: given) {
            call.output.say(text(known, path: nil))
            return 0
        }
        let found = try call.api("Error listing auth methods") { (client) throws(APIError) in
            try client.read("sys/auth")
        }
        guard let type = found?.data?[given + "/"]?["type"]?.string else {
            throw .usage(
                "No auth method at \(given)/ and none of that name: this program knows \(LoginMethod.names)")
        }
        guard let known = LoginMethod(rawValue: type) else {
            // The server's own words on the path are the next best.
            return try PathHelpCommand.show("auth/\(given)", call)
        }
        call.output.say(text(known, path: given == type ? nil : given))
        return 0
    }

    private static func text(_ method: LoginMethod, path: String?) -> String {
        let place = path.map { " -path=\($0)" } ?? ""
        let call = "\(Help.program) login -method=\(method.rawValue)\(place)"
        var lines = ["Usage: \(call) [CONFIG K=V...]", ""]
        let example: String
        switch method {
        case .token:
            lines += ["  Checks a token and keeps it. Without an argument it asks and hides the answer.", ""]
            example = "\(Help.program) login"
        case .userpass, .ldap, .radius:
            lines += ["  Logs in with the \(method.rawValue) auth method.", ""]
            example = call + " username=ann"
        case .approle:
            lines += ["  Logs in as an application's role.", ""]
            example = call + " role_id=5c1b… secret_id=@secret-id"
        }
        lines += ["      $ \(example)", "", "Configuration:", ""]
        for (name, help) in settings(of: method) {
            lines += ["  \(name)=<string>"] + Help.wrapped(help, indent: 6) + [""]
        }
        return lines.dropLast().joined(separator: "\n")
    }

    private static func settings(of method: LoginMethod) -> [(name: String, help: String)] {
        let mount = ("mount", "Where the method is enabled, as -path has it.")
        switch method {
        case .token: return [("token", "The token.")]
        case .userpass, .ldap, .radius:
            return [
                ("username", "Name of the user; $USER by default."),
                ("password", "The password; asked for, and hidden, when it is not given."), mount,
            ]
        case .approle:
            return [
                ("role_id", "The role's id."), ("secret_id", "The secret id, where the role binds it."),
                mount,
            ]
        }
    }
}
