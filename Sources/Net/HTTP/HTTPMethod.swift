/// A request's method. Methods are case-sensitive (RFC 9110 §9.1), so `get` is `other("get")`.
package enum HTTPMethod: Sendable, Equatable {
    case get, head, post, put, patch, delete, list, options
    /// Any other token of at most 16 bytes; the handler refuses it.
    case other(String)

    /// The token as the client wrote it.
    package var text: String {
        switch self {
        case .get: "GET"
        case .head: "HEAD"
        case .post: "POST"
        case .put: "PUT"
        case .patch: "PATCH"
        case .delete: "DELETE"
        case .list: "LIST"
        case .options: "OPTIONS"
        case .other(let token): token
        }
    }

    init(token: UnsafeBufferPointer<UInt8>) {
        self =
            if token.equals("GET") {
                .get
            } else if token.equals("PUT") {
                .put
            } else if token.equals("POST") {
                .post
            } else if token.equals("LIST") {
                .list
            } else if token.equals("HEAD") {
                .head
            } else if token.equals("PATCH") {
                .patch
            } else if token.equals("DELETE") {
                .delete
            } else if token.equals("OPTIONS") {
                .options
            } else {
                .other(String(decoding: token, as: UTF8.self))
            }
    }
}

extension UnsafeBufferPointer<UInt8> {
    /// True when the bytes are exactly those of `text`.
    @inline(__always)
    func equals(_ text: StaticString) -> Bool {
        guard count == text.utf8CodeUnitCount else { return false }
        let wanted = text.utf8Start
        for index in 0..<count where self[index] != wanted[index] { return false }
        return true
    }

    /// True when the bytes are those of `lowerCase`, whatever the case of their letters.
    @inline(__always)
    func equalsIgnoringCase(_ lowerCase: StaticString) -> Bool {
        guard count == lowerCase.utf8CodeUnitCount else { return false }
        let wanted = lowerCase.utf8Start
        for index in 0..<count where asciiLower(self[index]) != wanted[index] { return false }
        return true
    }
}

/// The byte with `A` to `Z` turned into `a` to `z`.
@inline(__always)
func asciiLower(_ byte: UInt8) -> UInt8 { byte &- 65 < 26 ? byte | 0x20 : byte }
