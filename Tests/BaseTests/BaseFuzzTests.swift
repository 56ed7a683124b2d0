import Base
import Foundation
import TestKit
import Testing

/// The readers of `Base`: whatever they are given, they accept it or refuse it, and what they accept means
/// one thing only.
@Suite struct BaseFuzzTests {
    /// Foundation reads all that we accept, to the same value.
    @Test func anotherReaderTakesWhatOursAccepts() {
        let fuzz = Fuzz(
            "JSON",
            texts: [
                #" {"a":{"b":[1,"}\"]"]},"n":1.50,"a":{"c":2}, "s":"\u00e9\ud83d\ude00\n"} "#,
                #"[true,false,null,-0,1e-5,1E+9,"\\\/\b\f\n\r\t",{},[],[[]],{"":""}]"#,
                #"{"data":{"é":"😀","k":["v",{"x":-12.5e3}]},"options":{"cas":0}}"#, "\"text\"", "12",
            ],
            pieces: [
                "{", "}", "[", "]", "\"", ",", ":", "\\", "\\u", "\\ud800", "\\udc00", "\\u0000", "null",
                "1e400",
                "-", ".", "\u{0}", "\u{2028}", " ",
            ])
        var accepted = 0
        for input in fuzz {
            let ours: RawJSON
            do throws(VaultError) { ours = try RawJSON(validating: input.bytes) } catch {
                if error.status != 400 {
                    Issue.record("\(error): \(input)")
                    return
                }
                continue
            }
            accepted += 1
            Self.visit(ours)
            // Foundation drops the mark of byte order wherever it stands.
            if input.text.unicodeScalars.contains("\u{FEFF}") { continue }
            let theirs = try? JSONSerialization.jsonObject(
                with: Data(ours.bytes), options: [.fragmentsAllowed])
            // Half a surrogate pair becomes U+FFFD here, as in Vault; Foundation refuses it.
            let mayHaveHalves = input.text.lowercased().contains("\\ud")
            guard theirs != nil || mayHaveHalves || Self.hasHugeNumber(ours) else {
                Issue.record("only ours accepts \(input)")
                return
            }
            if let theirs, !Self.agree(ours, theirs) {
                Issue.record("read differently: \(input)")
                return
            }
        }
        #expect(!fuzz.isWhole || accepted > fuzz.tried / 20)
    }

    /// Looks at every part, as handlers do.
    private static func visit(_ json: RawJSON) {
        _ = (json.string, json.stringBytes, json.int, json.bool, json.numberText, json.namesOnly())
        for element in json.elements { visit(element) }
        for member in json.members { visit(member.value) }
    }

    /// Foundation gives up on numbers beyond a double; ours keeps them as text.
    private static func hasHugeNumber(_ json: RawJSON) -> Bool {
        if let number = json.numberText { return Double(number)?.isFinite != true }
        return json.elements.contains(where: hasHugeNumber)
            || json.members.contains { hasHugeNumber($0.value) }
    }

    private static func agree(_ ours: RawJSON, _ theirs: Any) -> Bool {
        switch ours.kind {
        case .string: return ours.string == theirs as? String
        case .array:
            guard let list = theirs as? [Any], list.count == ours.elements.count else { return false }
            return zip(ours.elements, list).allSatisfy { agree($0, $1) }
        case .object:
            // Of members with one name the last counts here; Foundation does not say which it takes.
            guard let members = theirs as? [String: Any] else { return false }
            return Set(ours.members.map(\.name)) == Set(members.keys)
        case .null: return theirs is NSNull
        case .bool, .number: return theirs is NSNumber
        }
    }

    /// Whatever passes validation merges into something that passes it again.
    @Test func mergedTextsStayValid() {
        let fuzz = Fuzz(
            "merge patches",
            texts: [
                #"{"a":1,"b":{"c":[1,{"d":null}],"e":"x"},"f":null}"#, #" { "a" : { "\u0062" : 2 } } "#,
                #"{"b":{"c":null,"g":{"h":{"i":"}]\""}}}}"#, "null", "[1,{\"a\":null}]", "{}",
            ],
            pieces: [
                "{", "}", ":", ",", "\"", "null", "\"a\":", "\\u0061", "\"b\":{\"c\":null}", "[", "]", " ",
            ])
        var merged = 0
        for input in fuzz {
            guard let patch = try? RawJSON(validating: input.bytes),
                let target = try? RawJSON(validating: input.another)
            else { continue }
            let result = target.mergePatched(with: patch)
            _ = patch.namesOnly(depth: input.random.below(4))
            merged += 1
            if (try? RawJSON(validating: Array(result.bytes))) == nil {
                Issue.record("into \(String(decoding: target.bytes, as: UTF8.self)): \(input)")
                return
            }
        }
        #expect(!fuzz.isWhole || merged > fuzz.tried / 20)
    }

    @Test func configurationTextsNeverTrap() {
        let fuzz = Fuzz(
            "HCL",
            texts: [
                "storage \"file\" { path = \"/x\" }\nlistener \"tcp\" {\n  address = \"127.0.0.1\" # c\n}\n",
                "path \"s/+/*\" { capabilities = [\"read\",] allowed = { \"a\" = [-2e3, 0x1f] } } /* x */",
                "a = <<-EOF\n  x ${y(\"z\")}\n  EOF\nb = \"\\u00e9\\x41\\101${a}\"\n",
                #"{"path": {"s/*": {"capabilities": ["read"], "n": -1e2, "u": "😀"}}, "b": [null, true]}"#,
            ],
            pieces: [
                "{", "}", "[", "]", "\"", "=", "<<", "<<-E\n", "/*", "\\u", "${", "\n", "\u{0}", "é", ",",
                "0x", "-",
            ])
        var accepted = 0
        for input in fuzz {
            do throws(VaultError) {
                let tree = try HCL.parse(input.bytes)
                _ = try? tree.labelledBlocksOfAll()
                accepted += 1
            } catch {
                if error.status != 400 {
                    Issue.record("\(error): \(input)")
                    return
                }
            }
        }
        #expect(!fuzz.isWhole || accepted > fuzz.tried / 20)
    }

    @Test func spansAndDatesPrintAsWhatTheyWereReadFrom() {
        let fuzz = Fuzz(
            "durations and dates",
            texts: [
                "1h30m", "90", "1.5h", "2d", "-3s", "100ms", "250us", "17ns", "1h2m3.5s",
                "1970-01-01T00:00:00Z",
                "2024-02-29T23:59:59.000000001Z", "1901-01-01T00:00:00+02:00", "2262-04-11T23:47:16-23:59",
            ],
            pieces: [
                "h", "m", "s", "ms", "µs", "ns", "d", ".", "-", "+", ":", "T", "Z", "9", "e", " ", "\u{0}",
            ])
        var accepted = 0
        for input in fuzz {
            if let span = Duration(vaultText: input.text) {
                accepted += 1
                // A span that is written with a point is read as a double, whose steps grow to a microsecond.
                guard let again = Duration(vaultText: span.goText),
                    abs((again - span).wholeNanoseconds) <= 2_048
                else {
                    Issue.record("\(span) prints as \(span.goText): \(input)")
                    return
                }
            }
            if let moment = Timestamp(rfc3339: input.text) {
                accepted += 1
                guard Timestamp(rfc3339: moment.rfc3339()) == moment else {
                    Issue.record("\(moment) prints as \(moment.rfc3339()): \(input)")
                    return
                }
            }
        }
        #expect(!fuzz.isWhole || accepted > fuzz.tried / 20)
    }

    @Test func networksReadBackAsTheyPrint() {
        let fuzz = Fuzz(
            "networks",
            texts: [
                "10.0.0.0/8", "127.0.0.1", "::1/128", "2001:db8::/33", "::ffff:10.1.1.1", "0.0.0.0/0", "::/0",
                "fe80::1%eth0", "[::1]:80",
            ], pieces: ["/", ":", "::", ".", "%", "255", "256", "ffff", "/129", "-", " ", "\u{0}"])
        var accepted = 0
        for input in fuzz {
            let isAddress = CIDRBlock.isAddress(input.text)
            guard let block = CIDRBlock(input.text) else { continue }
            accepted += 1
            guard CIDRBlock(block.description) == block, block.contains(block) else {
                Issue.record("\(block) is not what was read: \(input)")
                return
            }
            if isAddress, !block.contains(input.text) {
                Issue.record("not in itself: \(input)")
                return
            }
            _ = block.contains(String(decoding: input.another, as: UTF8.self))
        }
        #expect(!fuzz.isWhole || accepted > fuzz.tried / 20)
    }

    /// One text for each value, so that no two spellings of one secret pass.
    @Test func decodedBytesHaveOneSpelling() {
        let fuzz = Fuzz(
            "base64 and hex",
            texts: ["", "Zg==", "Zm8=", "Zm9v", "+/+/", "-_-_", "00ffA5", "deadBEEF", "hvs.CAES"],
            pieces: ["=", "==", "+", "/", "-", "_", "\n", " ", "\u{0}", "A", "f"])
        var accepted = 0
        for input in fuzz {
            for alphabet in [Base64.standard, Base64.url] {
                let decoded = input.bytes.withUnsafeBytes { alphabet.decode($0) }
                guard let decoded else { continue }
                accepted += 1
                guard Array(alphabet.encode(decoded).utf8) == input.bytes else {
                    Issue.record("another spelling of \(decoded): \(input)")
                    return
                }
            }
            if let decoded = Hex.decode(input.text) {
                accepted += 1
                guard Hex.encode(decoded) == input.text.lowercased() else {
                    Issue.record("another spelling of \(decoded): \(input)")
                    return
                }
            }
        }
        #expect(!fuzz.isWhole || accepted > fuzz.tried / 20)
    }
}

extension HCLObject {
    /// Reads every value as a list of labelled blocks, as the readers of policies and configurations do.
    fileprivate func labelledBlocksOfAll() throws(VaultError) -> Int {
        var count = 0
        for member in members {
            count += (try? member.labelledBlocks().count) ?? 0
            count += (try? member.plainBlocks().count) ?? 0
        }
        return count
    }
}
