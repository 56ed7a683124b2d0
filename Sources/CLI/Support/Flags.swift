internal import Base

/// Flags as Go's programs have them: `-name`, `--name`, `-name=value`, `-name value`; flags end at
/// the first argument that is none, or at `--`.
protocol AnyFlag: Sendable {
    var name: String { get }
    var aliases: [String] { get }
    var help: String { get }
    /// True when the flag needs no value.
    var isBoolean: Bool { get }
    /// Shown in the help behind the name; empty for booleans.
    var placeholder: String { get }
    /// Reads one value, on top of what earlier uses of the flag gave; nil when it cannot.
    func reading(_ text: String, after earlier: (any Sendable)?) -> (any Sendable)?
    /// What a value should look like, for the message.
    var expectation: String { get }
}

/// One flag and the type of its value.
struct Flag<Value: Sendable>: AnyFlag {
    let name: String
    var aliases: [String] = []
    let `default`: Value
    let help: String
    var isBoolean = false
    let placeholder: String
    let expectation: String
    let read: @Sendable (_ text: String, _ earlier: Value?) -> Value?

    func reading(_ text: String, after earlier: (any Sendable)?) -> (any Sendable)? {
        read(text, earlier as? Value)
    }
}

extension Flag where Value == Bool {
    init(switch name: String, aliases: [String] = [], default: Bool = false, _ help: String) {
        self.init(
            name: name, aliases: aliases, default: `default`, help: help, isBoolean: true, placeholder: "",
            expectation: "true or false", read: { text, _ in Bool(cliText: text) })
    }
}
extension Flag where Value == String {
    init(_ name: String, aliases: [String] = [], default: String = "", _ help: String) {
        self.init(
            name: name, aliases: aliases, default: `default`, help: help, placeholder: "<string>",
            expectation: "text", read: { text, _ in text })
    }
}
extension Flag where Value == Int {
    init(_ name: String, aliases: [String] = [], default: Int = 0, _ help: String) {
        self.init(
            name: name, aliases: aliases, default: `default`, help: help, placeholder: "<int>",
            expectation: "a whole number", read: { text, _ in Int(text) })
    }
}
extension Flag where Value == Duration? {
    init(_ name: String, aliases: [String] = [], _ help: String) {
        self.init(
            name: name, aliases: aliases, default: nil, help: help, placeholder: "<duration>",
            expectation: "a duration such as 90s, 1h30m or 30d",
            read: { text, _ in Duration(vaultText: text).map { .some($0) } })
    }
}
extension Flag where Value == [String] {
    /// May be given several times; with `commas`, one value may hold several.
    init(list name: String, aliases: [String] = [], commas: Bool = false, _ help: String) {
        self.init(
            name: name, aliases: aliases, default: [], help: help, placeholder: "<string>",
            expectation: "text",
            read: { text, earlier in
                let values =
                    commas
                    ? text.split(separator: ",").map { String($0.trimmed) } : [text]
                return (earlier ?? []) + values
            })
    }
}
extension Flag where Value == [String: String] {
    /// `key=value`, may be given several times.
    init(map name: String, aliases: [String] = [], _ help: String) {
        self.init(
            name: name, aliases: aliases, default: [:], help: help, placeholder: "<key=value>",
            expectation: "key=value",
            read: { text, earlier in
                guard let equals = text.firstIndex(of: "=") else { return nil }
                var values = earlier ?? [:]
                values[String(text[..<equals])] = String(text[text.index(after: equals)...])
                return values
            })
    }
}
extension Flag where Value == Bool? {
    /// A switch whose absence means something else than false.
    init(optionalSwitch name: String, _ help: String) {
        self.init(
            name: name, default: nil, help: help, isBoolean: true, placeholder: "",
            expectation: "true or false",
            read: { text, _ in Bool(cliText: text).map { .some($0) } })
    }
}

/// The flags of one call, by value, and the arguments behind them.
struct ParsedFlags {
    private var values: [String: any Sendable] = [:]
    private(set) var arguments: [String] = []
    private(set) var asksForHelp = false

    /// - Throws: `.usage` in Go's words, for an unknown flag or a value that cannot be read.
    init(_ given: [String], _ known: [any AnyFlag]) throws(CommandFailure) {
        var at = 0
        while at < given.count {
            let word = given[at]
            guard word.hasPrefix("-"), word != "-" else { break }
            at += 1
            if word == "--" { break }
            let body = word.dropFirst(word.hasPrefix("--") ? 2 : 1)
            let name = String(body.prefix { $0 != "=" })
            if name.isEmpty || name.hasPrefix("-") { throw .usage("bad flag syntax: \(word)") }
            guard let flag = known.first(where: { $0.name == name || $0.aliases.contains(name) }) else {
                if name == "help" || name == "h" {
                    asksForHelp = true
                    return
                }
                throw .usage("flag provided but not defined: -\(name)")
            }
            var text = "true"
            if name.count < body.count {
                text = String(body.dropFirst(name.count + 1))
            } else if !flag.isBoolean {
                guard at < given.count else { throw .usage("flag needs an argument: -\(name)") }
                text = given[at]
                at += 1
            }
            guard let value = flag.reading(text, after: values[flag.name]) else {
                throw .usage("invalid value \"\(text)\" for flag -\(name): expected \(flag.expectation)")
            }
            values[flag.name] = value
        }
        arguments = Array(given[at...])
    }

    subscript<Value>(_ flag: Flag<Value>) -> Value { values[flag.name] as? Value ?? flag.default }

    /// True when the caller gave the flag, whatever the value.
    func has(_ flag: any AnyFlag) -> Bool { values[flag.name] != nil }
}

extension Bool {
    init?(cliText text: String) {
        switch text {
        case "1", "t", "T", "true", "TRUE", "True": self = true
        case "0", "f", "F", "false", "FALSE", "False": self = false
        default: return nil
        }
    }
}

extension StringProtocol {
    /// Without white space at both ends.
    var trimmed: SubSequence {
        let isSpace = { (c: Character) in c.isWhitespace }
        guard let first = firstIndex(where: { !isSpace($0) }), let last = lastIndex(where: { !isSpace($0) })
        else { return self[startIndex..<startIndex] }
        return self[first...last]
    }
}
