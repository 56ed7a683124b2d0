package import Base

/// Percent-decoding of request targets (RFC 3986 §2.1), strict: a `%` without two hexadecimal digits, and
/// a NUL however written, are refused. Whether a decoded path is clean is the caller's to judge.
package enum PathCodec {
    /// The bytes of a path with its escapes resolved; `+` stays as it is.
    ///
    /// Throws `.badRequest` for a bad escape or a NUL.
    package static func decode(_ raw: some Collection<UInt8>) throws(VaultError) -> [UInt8] {
        try decode(raw, plusIsSpace: false)
    }

    /// The parameters of a query string in their order, names and values decoded, `+` as a space; a
    /// name without `=` has an empty value. Bytes that are not UTF-8 are refused.
    ///
    /// Throws `.badRequest` for a bad escape, a NUL, `;` as a separator, or text that is not UTF-8.
    package static func query(_ raw: some Collection<UInt8>) throws(VaultError) -> [(
        name: String, value: String
    )] {
        var parameters: [(name: String, value: String)] = []
        for pair in raw.split(separator: UInt8(ascii: "&")) {
            // Proxies and servers disagree on `;`, which hides parameters from one of them.
            if pair.contains(UInt8(ascii: ";")) {
                throw .badRequest("the query string has a ';', which must be written as %3B")
            }
            let mark = pair.firstIndex(of: UInt8(ascii: "="))
            let name = try text(pair[..<(mark ?? pair.endIndex)])
            let value = if let mark { try text(pair[pair.index(after: mark)...]) } else { "" }
            parameters.append((name, value))
        }
        return parameters
    }

    private static func text(_ raw: some Collection<UInt8>) throws(VaultError) -> String {
        guard let text = String(validating: try decode(raw, plusIsSpace: true), as: UTF8.self) else {
            throw .badRequest("the query string is not UTF-8")
        }
        return text
    }

    private static func decode(
        _ raw: some Collection<UInt8>, plusIsSpace: Bool
    ) throws(VaultError) -> [UInt8] {
        var decoded: [UInt8] = []
        decoded.reserveCapacity(raw.count)
        var rest = raw.makeIterator()
        while let byte = rest.next() {
            var value = byte
            if byte == UInt8(ascii: "%") {
                guard let high = rest.next().flatMap({ hexDigit($0) }),
                    let low = rest.next().flatMap({ hexDigit($0) })
                else {
                    throw .badRequest("the request target has a '%' without two hexadecimal digits after it")
                }
                value = high << 4 | low
            } else if plusIsSpace, byte == UInt8(ascii: "+") {
                value = 32
            }
            guard value != 0 else { throw .badRequest("the request target has a NUL byte") }
            decoded.append(value)
        }
        return decoded
    }
}
