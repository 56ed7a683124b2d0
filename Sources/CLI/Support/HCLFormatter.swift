internal import Base

/// Lays HCL out in its canonical form: two spaces a level, one blank around `=`, equal signs of
/// neighbouring lines under each other, at most one empty line in a row.
///
/// It moves blanks and nothing else: line breaks, comments, strings and heredocs stay as they are,
/// so that the meaning cannot change. The text must have been parsed before.
struct HCLFormatter {
    private enum Token: Equatable {
        case word(String)
        case comment(String)
        /// A heredoc with all its lines.
        case verbatim(String)
        case mark(Character)
    }

    static func format(_ text: String) -> String {
        var lines: [(indent: Int, tokens: [Token])] = []
        var depth = 0
        for tokens in tokenLines(Array(text.unicodeScalars)) {
            if tokens.isEmpty {
                // No empty line at the start, behind another or behind an opening bracket.
                guard let last = lines.last, let mark = last.tokens.last, mark != .mark("{"),
                    mark != .mark("[")
                else { continue }
                lines.append((0, []))
                continue
            }
            let leading = tokens.prefix { $0 == .mark("}") || $0 == .mark("]") }.count
            if leading > 0, lines.last?.tokens.isEmpty == true { lines.removeLast() }
            lines.append((max(0, depth - leading), tokens))
            for token in tokens {
                if token == .mark("{") || token == .mark("[") { depth += 1 }
                if token == .mark("}") || token == .mark("]") { depth = max(0, depth - 1) }
            }
        }
        while lines.last?.tokens.isEmpty == true { lines.removeLast() }
        return laidOut(lines)
    }

    private static func laidOut(_ lines: [(indent: Int, tokens: [Token])]) -> String {
        var text = ""
        var at = 0
        while at < lines.count {
            var end = at
            // Assignments in neighbouring lines, each complete on its own, stand in columns.
            while end < lines.count, lines[end].indent == lines[at].indent, isAssignment(lines[end].tokens) {
                end += 1
            }
            let width = lines[at..<end].map { key($0.tokens).count }.max() ?? 0
            for (indent, tokens) in lines[at..<max(end, at + 1)] {
                var line = joined(tokens)
                if end > at {
                    let name = key(tokens)
                    line =
                        name + String(repeating: " ", count: width - name.count) + line.dropFirst(name.count)
                }
                text += (line.isEmpty ? "" : String(repeating: "  ", count: indent)) + line + "\n"
            }
            at = max(end, at + 1)
        }
        return text
    }

    private static func isAssignment(_ tokens: [Token]) -> Bool {
        guard tokens.count > 2, case .word = tokens[0], tokens[1] == .mark("=") else { return false }
        let opened = tokens.count { $0 == .mark("{") || $0 == .mark("[") }
        let closed = tokens.count { $0 == .mark("}") || $0 == .mark("]") }
        return opened == closed
    }

    private static func key(_ tokens: [Token]) -> String {
        guard case .word(let name)? = tokens.first else { return "" }
        return name
    }

    private static func joined(_ tokens: [Token]) -> String {
        var line = ""
        for (index, token) in tokens.enumerated() {
            let before = index > 0 ? tokens[index - 1] : nil
            let isTight =
                before == nil || before == .mark("[") || token == .mark("]") || token == .mark(",")
                || token == .mark(":") || before == .mark("{") && token == .mark("}")
            if !isTight { line += " " }
            switch token {
            case .word(let text), .comment(let text), .verbatim(let text): line += text
            case .mark(let mark): line.append(mark)
            }
        }
        return line
    }

    private static func tokenLines(_ text: [Unicode.Scalar]) -> [[Token]] {
        var lines: [[Token]] = [[]]
        var at = 0
        func take(while condition: (Unicode.Scalar) -> Bool) -> String {
            var taken = String.UnicodeScalarView()
            while at < text.count, condition(text[at]) {
                taken.append(text[at])
                at += 1
            }
            return String(taken)
        }
        let isJSON = text.first { !$0.properties.isWhitespace } == "{"
        func add(_ token: Token) { lines[lines.count - 1].append(token) }
        while at < text.count {
            let scalar = text[at]
            let next = at + 1 < text.count ? text[at + 1] : " "
            switch scalar {
            case "\n":
                lines.append([])
                at += 1
            case " ", "\t", "\r", "\u{FEFF}": at += 1
            case "#": add(.comment(String(take { $0 != "\n" }.trimmed)))
            case "/" where next == "/": add(.comment(String(take { $0 != "\n" }.trimmed)))
            case "/" where next == "*":
                var comment = "/*"
                at += 2
                while at < text.count, !(text[at] == "*" && at + 1 < text.count && text[at + 1] == "/") {
                    comment.unicodeScalars.append(text[at])
                    at += 1
                }
                at = min(at + 2, text.count)
                add(.comment(comment + "*/"))
            case "\"": add(.word(string(text, &at, isJSON: isJSON)))
            case "<" where next == "<": add(.verbatim(heredoc(text, &at)))
            case "{", "}", "[", "]", ",", "=", ":":
                add(.mark(Character(scalar)))
                at += 1
            default:
                // A comment may follow a word at once. Alone, a slash is no word of the language.
                let word = take { !"\n \t\r\"{}[],=:#/<".unicodeScalars.contains($0) }
                add(.word(word.isEmpty ? String(scalar) : word))
                if word.isEmpty { at += 1 }
            }
        }
        return lines
    }

    /// A quoted string; quotes inside `${…}` belong to it, but in JSON.
    private static func string(_ text: [Unicode.Scalar], _ at: inout Int, isJSON: Bool) -> String {
        var taken = String.UnicodeScalarView("\"".unicodeScalars)
        var braces = 0
        at += 1
        while at < text.count {
            let scalar = text[at]
            taken.append(scalar)
            at += 1
            if scalar == "\\", at < text.count {
                taken.append(text[at])
                at += 1
            } else if scalar == "$", !isJSON, at < text.count, text[at] == "{" {
                braces += 1
                taken.append("{")
                at += 1
            } else if scalar == "}", braces > 0 {
                braces -= 1
            } else if scalar == "\"", braces == 0 {
                break
            }
        }
        return String(taken)
    }

    /// From `<<` to the line that holds the marker alone, whose line end stays behind.
    private static func heredoc(_ text: [Unicode.Scalar], _ at: inout Int) -> String {
        var lines: [String] = []
        var marker: String?
        while at < text.count {
            var line = String.UnicodeScalarView()
            while at < text.count, text[at] != "\n" {
                line.append(text[at])
                at += 1
            }
            lines.append(String(line))
            if let marker {
                if String(line).trimmed == marker { break }
            } else {
                marker = String(String(line).dropFirst(2).drop { $0 == "-" }.trimmed)
            }
            at += 1
        }
        return lines.joined(separator: "\n")
    }
}
