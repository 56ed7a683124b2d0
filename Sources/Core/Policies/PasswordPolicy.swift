package import Base

/// How passwords are made (Vault API: sys/policies/password): a length, and sets of characters of each of
/// which a number must appear.
///
///     length = 20
///     rule "charset" { charset = "abcdef…"  min-chars = 1 }
///
/// Every password that fits is equally likely, up to the few policies for which that takes too many
/// attempts: there the demanded characters are placed first. So making one always ends, in bounded time.
package struct PasswordPolicy: Sendable {
    private struct WrittenRule {
        /// Each character in UTF-8.
        var characters: [[UInt8]]
        var least: Int
    }
    /// The same with its characters as places in the alphabet.
    private struct Rule {
        let places: [Int]
        let least: Int
    }

    /// Characters of the shortest password.
    private static let shortest = 4
    /// Characters of the longest password: nothing that takes one takes more.
    private static let longest = 4_096
    /// Different characters of all rules together; a byte must choose among them.
    private static let mostCharacters = 256
    /// Rules; each is asked of every password that is tried.
    private static let mostRules = 100
    /// Passwords that are thrown away before characters are placed.
    private static let attempts = 100

    private let length: Int
    private let rules: [Rule]
    /// The characters of all rules, each once.
    private let alphabet: [[UInt8]]

    /// Reads a policy.
    /// - Throws: `.badRequest` that names the line, or the demand that cannot be met.
    package init(parsing text: String) throws(VaultError) {
        let document = try HCL.parse(Array(text.utf8))
        var length: Int?
        var rules: [WrittenRule] = []
        for member in document.members {
            switch member.key {
            case "length": length = try Self.number(member.value, "length")
            case "rule":
                for block in try member.labelledBlocks() { rules.append(try Self.rule(block)) }
            default: throw member.position.fault("'\(member.key)': expected length or rule")
            }
        }
        guard let length else { throw .badRequest("length: expected a number") }
        guard (Self.shortest...Self.longest).contains(length) else {
            throw .badRequest(
                "length: expected \(Self.shortest) to \(Self.longest) characters, found \(length)")
        }
        if rules.isEmpty { throw .badRequest("rule: expected at least one \"charset\" rule") }
        if rules.count > Self.mostRules {
            throw .badRequest("rule: expected at most \(Self.mostRules) rules, found \(rules.count)")
        }
        let demanded = rules.reduce(0) { $0 + min($1.least, Self.longest + 1) }
        if demanded > length {
            throw .badRequest("min-chars: the rules demand \(demanded) characters, and length is \(length)")
        }
        let alphabet = Self.unique(rules.flatMap(\.characters))
        if alphabet.count > Self.mostCharacters {
            throw .badRequest("charset: expected at most \(Self.mostCharacters) different characters in all")
        }
        self.length = length
        let places = Dictionary(uniqueKeysWithValues: zip(alphabet, alphabet.indices))
        self.rules = rules.map { rule in
            Rule(places: rule.characters.compactMap { places[$0] }, least: rule.least)
        }
        self.alphabet = alphabet
    }

    private static func rule(_ block: HCLBlock) throws(VaultError) -> WrittenRule {
        guard block.label == "charset" else {
            throw block.position.fault("unknown rule \"\(block.label)\": expected \"charset\"")
        }
        var characters: [[UInt8]] = []
        var least = 0
        for member in block.body.members {
            switch member.key {
            case "charset":
                guard let text = member.value.string else {
                    throw member.value.fault("charset", expected: "a string")
                }
                guard text.unicodeScalars.allSatisfy(\.isPrintable) else {
                    throw member.value.position.fault("'charset': expected printable characters only")
                }
                characters = unique(text.unicodeScalars.map { Array(String($0).utf8) })
            case "min-chars", "min_chars": least = try number(member.value, member.key)
            default: throw member.position.fault("'\(member.key)': expected charset or min-chars")
            }
        }
        if characters.isEmpty { throw block.position.fault("'charset': expected at least one character") }
        if least < 0 { throw block.position.fault("'min-chars': expected a number that is not negative") }
        return WrittenRule(characters: characters, least: least)
    }

    private static func number(_ value: HCLValue, _ key: String) throws(VaultError) -> Int {
        switch value.kind {
        case .int(let number): return number
        case .string(let text):
            guard let number = Int(text) else { throw value.fault(key, expected: "a number") }
            return number
        default: throw value.fault(key, expected: "a number")
        }
    }

    private static func unique(_ characters: [[UInt8]]) -> [[UInt8]] {
        var seen: Set<[UInt8]> = []
        return characters.filter { seen.insert($0).inserted }
    }

    // MARK: Making passwords

    /// A new password.
    package func generate(from random: any RandomSource) -> SecretBytes {
        var bytes: [UInt8] = []
        defer { bytes.wipe() }
        var places = draw(length, of: alphabet.count, random)
        for attempt in 1...Self.attempts where !fits(places) {
            places = attempt < Self.attempts ? draw(length, of: alphabet.count, random) : placed(random)
        }
        bytes.reserveCapacity(length * 4)
        for place in places { bytes.append(contentsOf: alphabet[place]) }
        places.withUnsafeMutableBytes { wipe($0) }
        return SecretBytes(copying: bytes)
    }

    private func fits(_ places: [Int]) -> Bool {
        // How often each character stands there: a long password is looked through once, not for every rule.
        var counts = [Int](repeating: 0, count: alphabet.count)
        defer { counts.withUnsafeMutableBytes { wipe($0) } }
        for place in places { counts[place] += 1 }
        return rules.allSatisfy { rule in
            rule.least == 0 || rule.places.reduce(0) { $0 + counts[$1] } >= rule.least
        }
    }

    /// The demanded characters of each rule, the rest from all, in random order.
    private func placed(_ random: any RandomSource) -> [Int] {
        var places: [Int] = []
        for rule in rules {
            places += draw(rule.least, of: rule.places.count, random).map { rule.places[$0] }
        }
        places += draw(length - places.count, of: alphabet.count, random)
        for last in stride(from: places.count - 1, to: 0, by: -1) {
            places.swapAt(last, below(last + 1, random))
        }
        return places
    }

    /// `count` numbers below `bound` (at most 256), each equally likely.
    private func draw(_ count: Int, of bound: Int, _ random: any RandomSource) -> [Int] {
        let fair = 256 / bound * bound
        var numbers: [Int] = []
        numbers.reserveCapacity(count)
        while numbers.count < count {
            for byte in random.bytes(count - numbers.count) where Int(byte) < fair {
                numbers.append(Int(byte) % bound)
            }
        }
        return numbers
    }

    /// A number below `bound`, which may be larger than a byte's.
    private func below(_ bound: Int, _ random: any RandomSource) -> Int {
        let fair = 65_536 / bound * bound
        while true {
            let bytes = random.bytes(2)
            let number = Int(bytes[0]) << 8 | Int(bytes[1])
            if number < fair { return number % bound }
        }
    }
}

extension Unicode.Scalar {
    /// Whether it leaves a mark, or is the space.
    fileprivate var isPrintable: Bool {
        switch properties.generalCategory {
        case .control, .format, .surrogate, .privateUse, .unassigned, .lineSeparator, .paragraphSeparator:
            false
        case .spaceSeparator: value == 32
        default: true
        }
    }
}
