import Base
import PluginKit

/// The flags of a server-side command, as Go reads them: one dash or two, `-flag=value` or `-flag value`.
struct CommandFlags {
    private var values: [String: [String]] = [:]
    private(set) var wantsHelp = false

    /// - Parameters:
    ///   - valued: names of flags that need a value.
    ///   - switches: names of flags that need none.
    /// - Throws: `.badRequest` that names the flag.
    init(_ arguments: [String], valued: Set<String>, switches: Set<String>) throws(VaultError) {
        var rest = arguments[...]
        while let argument = rest.popFirst() {
            guard argument.hasPrefix("-"), argument != "-" else {
                throw .badRequest("unexpected argument '\(argument)': expected flags only")
            }
            let body = argument.drop { $0 == "-" }
            let name = String(body.prefix { $0 != "=" })
            let given = name.count < body.count ? String(body.dropFirst(name.count + 1)) : nil
            if name == "help" || name == "h" {
                wantsHelp = true
            } else if switches.contains(name) {
                guard let isOn = Bool(vaultText: given ?? "true") else {
                    throw .badRequest("flag -\(name): expected true or false")
                }
                values[name] = isOn ? ["true"] : []
            } else if valued.contains(name) {
                guard let value = given ?? rest.popFirst() else {
                    throw .badRequest("flag -\(name): expected a value")
                }
                values[name, default: []].append(value)
            } else {
                throw .badRequest("flag provided but not defined: -\(name)")
            }
        }
    }

    /// Every value that was given, in order.
    func all(_ name: String) -> [String] { values[name] ?? [] }
    /// The last value that was given.
    func value(_ name: String) -> String? { values[name]?.last }
    /// Whether a switch is on.
    func isOn(_ name: String) -> Bool { values[name]?.isEmpty == false }
}
