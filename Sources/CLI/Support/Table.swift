internal import APIClient
internal import Base

/// Columns padded to their widest cell, four spaces apart, the header underlined with dashes.
enum Table {
    /// Empty cells show `n/a`. The first row is the header; without `underlined` there is none.
    static func text(_ rows: [[String]], underlined: Bool = true) -> String {
        var rows = rows.map { $0.map { String($0.trimmed) } }
        if underlined, let header = rows.first {
            rows.insert(header.map { String(repeating: "-", count: $0.utf8.count) }, at: 1)
        }
        var widths: [Int] = []
        for row in rows {
            for (column, cell) in row.enumerated() {
                let width = (cell.isEmpty ? "n/a" : cell).unicodeScalars.count
                if column == widths.count {
                    widths.append(width)
                } else {
                    widths[column] = max(widths[column], width)
                }
            }
        }
        let lines = rows.map { row in
            var line = ""
            for (column, cell) in row.enumerated() {
                let shown = cell.isEmpty ? "n/a" : cell
                line += shown
                if column == row.count - 1 { break }
                line += String(repeating: " ", count: widths[column] - shown.unicodeScalars.count + 4)
            }
            return line
        }
        return lines.joined(separator: "\n")
    }

    /// A value in a table; numbers of seconds under names that say so become durations.
    static func cell(_ name: String, _ value: JSONValue) -> String {
        let isDuration =
            ["period", "ttl", "duration"].contains { name == $0 || name.hasSuffix("_" + $0) }
            || name == "lease_max" || name == "ttl_max"
        if isDuration {
            switch value {
            case .int(let seconds): return humanDuration(seconds)
            case .number(let text): if let seconds = Int(text) { return humanDuration(seconds) }
            default: break
            }
        }
        return value.goText
    }

    /// `768h`, `1h30m`, `90s` as `1m30s`: Go's text without its zeros.
    static func humanDuration(_ seconds: Int) -> String {
        // What 64-bit nanoseconds do not hold is shown as the bare number.
        guard abs(seconds) < 9_000_000_000 else { return "\(seconds)" }
        var text = Duration.seconds(seconds).goText
        if text.hasSuffix("m0s") { text.removeLast(2) }
        if text.hasSuffix("h0m") { text.removeLast(2) }
        return text
    }

    /// `====== Metadata ======`, as wide as the table of `data` below it at the least.
    static func heading(_ title: String, over data: JSONValue) -> String {
        let widest = data.members.map(\.0.utf8.count).max() ?? 0
        var signs = widest + 4 + 5 - (title.utf8.count + 2)
        if signs <= 0 { signs = 4 }
        let side = String(repeating: "=", count: (signs + 1) / 2)
        return "\(side) \(title) \(side)"
    }

    /// The rows of an envelope: lease, token, wrapping, then data by name.
    static func rows(of secret: Secret) -> [[String]] {
        var rows: [[String]] = []
        if secret.leaseDuration > 0 {
            let duration = humanDuration(secret.leaseDuration)
            if secret.leaseID.isEmpty {
                rows.append(["refresh_interval", duration])
            } else {
                rows += [["lease_id", secret.leaseID], ["lease_duration", duration]]
                rows.append(["lease_renewable", secret.renewable ? "true" : "false"])
            }
        }
        if let auth = secret.auth {
            rows += [["token", auth.clientToken], ["token_accessor", auth.accessor]]
            rows.append(["token_duration", auth.leaseDuration == 0 ? "∞" : humanDuration(auth.leaseDuration)])
            rows.append(["token_renewable", auth.renewable ? "true" : "false"])
            rows.append(["token_policies", quoted(auth.tokenPolicies)])
            rows.append(["identity_policies", quoted(auth.identityPolicies ?? [])])
            rows.append(["policies", quoted(auth.policies)])
            for (name, value) in auth.metadata ?? [] {
                rows.append(["token_meta_\(name)", value.tree.goText])
            }
        }
        if let wrap = secret.wrapInfo {
            rows += [["wrapping_token:", wrap.token], ["wrapping_accessor:", wrap.accessor]]
            rows.append(["wrapping_token_ttl:", humanDuration(wrap.ttl)])
            rows.append(["wrapping_token_creation_time:", wrap.creationTime])
            rows.append(["wrapping_token_creation_path:", wrap.creationPath])
            if !wrap.wrappedAccessor.isEmpty { rows.append(["wrapped_accessor:", wrap.wrappedAccessor]) }
        }
        for (name, value) in secret.data?.tree.members ?? [] { rows.append([name, cell(name, value)]) }
        return rows
    }

    /// Go's `%q` of a list of strings.
    static func quoted(_ values: [String]) -> String {
        let words = values.map { value in
            var text = "\""
            for scalar in value.unicodeScalars {
                switch scalar {
                case "\"", "\\": text += "\\\(scalar)"
                case "\n": text += "\\n"
                case "\t": text += "\\t"
                case "\r": text += "\\r"
                default: text.unicodeScalars.append(scalar)
                }
            }
            return text + "\""
        }
        return "[" + words.joined(separator: " ") + "]"
    }
}
