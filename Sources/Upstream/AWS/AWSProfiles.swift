import Base

/// The profiles of AWS's files `credentials` and `config`.
struct AWSProfiles {
    /// What one of them says.
    struct Profile {
        /// Access key, secret and session token.
        let keys: AWSCredentials?
        /// A role that is to be assumed.
        let roleARN: String?
        let roleSessionName: String?
        let externalID: String?
        /// By a web identity, the credentials of another profile, or those of the machine.
        let tokenFile: String?
        let sourceProfile: String?
        let credentialSource: String?
    }

    private let paths: [String]

    /// - Parameter paths: of the files; what the first says goes before the others. Those that are not there
    ///   are passed over.
    init(_ paths: [String]) { self.paths = paths }

    /// One profile, empty when there is none of this name.
    subscript(_ name: String) -> Profile {
        var values: [String: String] = [:]
        for path in paths {
            guard var bytes = try? SmallFile.read(path) else { continue }
            defer { bytes.wipe() }
            values.merge(INIFile.section(name, of: bytes)) { first, _ in first }
        }
        var keys: AWSCredentials?
        if let accessKey = values["aws_access_key_id"], let secretKey = values["aws_secret_access_key"] {
            keys = AWSCredentials(
                accessKey: accessKey, secretKey: SecretBytes(plain: secretKey),
                sessionToken: values["aws_session_token"])
        }
        return Profile(
            keys: keys, roleARN: values["role_arn"], roleSessionName: values["role_session_name"],
            externalID: values["external_id"], tokenFile: values["web_identity_token_file"],
            sourceProfile: values["source_profile"], credentialSource: values["credential_source"])
    }
}

/// The files of AWS's command line: sections with `name = value` in each line.
enum INIFile {
    /// The values of one profile, which `config` calls `profile x` and `credentials` just `x`.
    static func section(_ name: String, of bytes: [UInt8]) -> [String: String] {
        var values: [String: String] = [:]
        var isInside = false
        for line in bytes.split(separator: 10) {
            let text = String(decoding: line, as: UTF8.self).trimmed
            if text.hasPrefix("["), text.hasSuffix("]") {
                var title = text.dropFirst().dropLast().trimmed
                if title.hasPrefix("profile ") { title = title.dropFirst(8).trimmed }
                isInside = title == name
            } else if isInside, !text.hasPrefix("#"), !text.hasPrefix(";"),
                let mark = text.firstIndex(of: "=")
            {
                values[String(text[..<mark].trimmed)] = String(text[text.index(after: mark)...].trimmed)
            }
        }
        return values
    }
}

extension StringProtocol {
    /// Without blanks at either end.
    fileprivate var trimmed: SubSequence {
        var text = self[...]
        while let first = text.first, first.isWhitespace { text = text.dropFirst() }
        while let last = text.last, last.isWhitespace { text = text.dropLast() }
        return text
    }
}
