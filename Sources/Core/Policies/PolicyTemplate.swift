import Base

/// Fills in `{{ … }}` in a rule's path with what is known of an identity.
///
/// Names and metadata come from people who may not be the author of the policy: what is filled in is one
/// piece of text and never a wildcard, a further segment or nothing. A rule that it cannot be filled into
/// gives nothing. A refusal is filled in as it stands, for whatever it then meets, it only takes away.
enum PolicyTemplate {
    /// The rule that a templated one becomes; nil when it becomes none.
    /// - Parameter value: gives the value behind the text between the braces; nil when there is none.
    static func filled(_ rule: PolicyRule, _ value: (Substring) -> String?) -> PolicyRule? {
        let isRefusal = rule.permissions.capabilities.contains(.deny)
        var text = ""
        var rest = Substring(rule.path)
        while let open = pair(UInt8(ascii: "{"), in: rest) {
            let behind = rest[open.upperBound...]
            guard let close = pair(UInt8(ascii: "}"), in: behind),
                let found = value(trimmed(behind[..<close.lowerBound])), isRefusal || isHarmless(found)
            else { return nil }
            text += rest[..<open.lowerBound]
            text += found
            rest = behind[close.upperBound...]
        }
        text += rest
        // A value of a plus alone may have become a segment of its own.
        guard isRefusal || wildcards(text) == wildcards(rule.path) else { return nil }
        return PolicyRule(path: text, permissions: rule.permissions)
    }

    private static func isHarmless(_ value: String) -> Bool {
        !value.isEmpty
            && value.utf8.allSatisfy {
                $0 >= 32 && $0 != 127 && $0 != UInt8(ascii: "/") && $0 != UInt8(ascii: "*")
            }
    }

    /// Segments that are just a plus, but for a star behind it.
    private static func wildcards(_ path: String) -> Int {
        path.utf8.split(separator: UInt8(ascii: "/")).count { segment in
            segment.elementsEqual("+".utf8) || segment.elementsEqual("+*".utf8)
        }
    }

    private static func trimmed(_ text: Substring) -> Substring {
        var text = text
        while text.utf8.first == 32 { text = Substring(text.utf8.dropFirst()) }
        while text.utf8.last == 32 { text = Substring(text.utf8.dropLast()) }
        return text
    }

    /// Where an ASCII character stands twice in a row first.
    private static func pair(_ byte: UInt8, in text: Substring) -> Range<Substring.Index>? {
        let bytes = text.utf8
        var at = bytes.startIndex
        while at < bytes.endIndex {
            let next = bytes.index(after: at)
            if bytes[at] == byte, next < bytes.endIndex, bytes[next] == byte {
                return at..<bytes.index(after: next)
            }
            at = next
        }
        return nil
    }
}
