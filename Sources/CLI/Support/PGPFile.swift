internal import Base

/// PGP public keys as files hold them.
enum PGPFile {
    /// Binary keys go as base64; armoured ones are unpacked by the server's own rules only in base64,
    /// so their armour is taken off here.
    static func keys(_ names: [String]) throws(CommandFailure) -> [String] {
        var keys: [String] = []
        for name in names {
            if name.hasPrefix("keybase:") {
                throw .usage(
                    "-pgp-keys: \(name): keys cannot be fetched from Keybase; save the key in a file")
            }
            let path = name.hasPrefix("@") ? String(name.dropFirst()) : name
            switch FileText.read(path: path) {
            case .failure(let error): throw .failed("Error reading PGP key: \(error.message)")
            case .success(let bytes): keys.append(base64(of: bytes))
            }
        }
        return keys
    }

    /// Base64 of a binary key. Text is taken as base64 already, its armour and checksum removed.
    static func base64(of bytes: [UInt8]) -> String {
        guard let text = String(validating: bytes, as: UTF8.self), !bytes.contains(0) else {
            return Base64.standard.encode(bytes)
        }
        guard text.contains("-----BEGIN PGP") else { return String(text.trimmed) }
        var body = ""
        var isBehindHeaders = false
        for line in text.split(omittingEmptySubsequences: false, whereSeparator: { $0.isNewline }) {
            let line = line.trimmed
            if line.hasPrefix("-----END") { break }
            if line.hasPrefix("-----BEGIN") { continue }
            if line.isEmpty {
                isBehindHeaders = true
            } else if isBehindHeaders, !line.hasPrefix("=") {
                body += line
            }
        }
        return body
    }
}
