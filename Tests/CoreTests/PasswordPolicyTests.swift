import Base
import TestKit
import Testing

@testable import Core

@Suite struct PasswordPolicyTests {
    private static let huge = "rule \"charset\" { charset = \"a\" min-chars = 9223372036854775807 } "
    private let random = SeededRandom(seed: 11)

    private func password(_ policy: PasswordPolicy) -> String {
        policy.generate(from: random).withBytes { String(decoding: $0, as: UTF8.self) }
    }

    @Test func passwordsMeetEveryDemand() throws {
        let policy = try PasswordPolicy(
            parsing: """
                length = 20
                rule "charset" { charset = "abcdefghij" min-chars = 3 }
                rule "charset" { charset = "0123456789" min-chars = 5 }
                rule "charset" { charset = "ÄÖ🔑" min-chars = 1 }
                """)
        for _ in 0..<200 {
            let made = password(policy)
            #expect(made.unicodeScalars.count == 20)
            #expect(made.count { "abcdefghij".contains($0) } >= 3)
            #expect(made.count { "0123456789".contains($0) } >= 5)
            #expect(made.contains { "ÄÖ🔑".contains($0) })
        }
    }

    @Test func aPolicyThatChanceWouldNeverMeetIsMetAllTheSame() throws {
        let alphabet = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
        let policy = try PasswordPolicy(
            parsing: """
                length = 100
                rule "charset" { charset = "\(alphabet)" }
                rule "charset" { charset = "1" min-chars = 60 }
                rule "charset" { charset = "2" min-chars = 40 }
                """)
        let made = password(policy)
        #expect(made.count { $0 == "1" } == 60 && made.count { $0 == "2" } == 40)
        #expect(!made.hasPrefix(String(repeating: "1", count: 60)))
    }

    @Test func everyCharacterIsEquallyLikely() throws {
        // 26 does not divide 256: a careless remainder would favour the first letters by a tenth.
        let policy = try PasswordPolicy(
            parsing: "length = 4000 rule \"charset\" { charset = \"abcdefghijklmnopqrstuvwxyz\" }")
        var counts: [Character: Int] = [:]
        for _ in 0..<65 { for character in password(policy) { counts[character, default: 0] += 1 } }
        #expect(counts.count == 26)
        #expect(counts.values.allSatisfy { (9_500...10_500).contains($0) }, "\(counts)")
    }

    /// Many attempts at the longest password, each looked at for the most rules: it may not hold up a thread.
    @Test func theMostDemandingPolicyTakesNoTime() throws {
        let characters = (0..<240).map { String(Unicode.Scalar(0x4E00 + $0) ?? "x") }.joined()
        let rule = "rule \"charset\" { charset = \"\(characters)\" min-chars = 1 }\n"
        let policy = try PasswordPolicy(
            parsing: "length = 4096\n" + String(repeating: rule, count: 98)
                + "rule \"charset\" { charset = \"a\" min-chars = 3000 }")
        let start = ContinuousClock.now
        for _ in 0..<3 { #expect(password(policy).unicodeScalars.count == 4_096) }
        #expect(ContinuousClock.now - start < .seconds(30))
        #expect(throws: VaultError.self) {
            try PasswordPolicy(parsing: "length = 4096\n" + String(repeating: rule, count: 101))
        }
    }

    @Test func jsonSaysTheSame() throws {
        let policy = try PasswordPolicy(
            parsing: #"{"length": 8, "rule": [{"charset": [{"charset": "ab", "min-chars": 4}]}]}"#)
        #expect(password(policy).wholeMatch(of: /[ab]{8}/) != nil)
    }

    @Test(arguments: [
        "", "length = 20", "length = 3 rule \"charset\" { charset = \"a\" }",
        "length = 5000 rule \"charset\" { charset = \"a\" }", "rule \"charset\" { charset = \"a\" }",
        "length = 8 rule \"charset\" { }", "length = 8 rule \"charset\" { charset = \"\" }",
        "length = 8 rule \"charset\" { charset = \"a\" min-chars = 9 }",
        "length = 8 rule \"charset\" { charset = \"a\" min-chars = -1 }",
        "length = 8 " + huge + huge,
        "length = 8 rule \"charset\" { charset = \"a\\nb\" }",
        "length = 8 rule \"words\" { charset = \"a\" }",
        "length = \"x\" rule \"charset\" { charset = \"a\" }", "length = 8 color = \"red\"",
        "length = 8 rule \"charset\" { charset = 5 }", "length = 8 rule = 5",
    ])
    func nonsenseIsRefused(text: String) {
        #expect(throws: VaultError.self) { try PasswordPolicy(parsing: text) }
    }
}
