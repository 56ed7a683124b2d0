import Base
import CWebUI
import Crypto

/// One file of the web UI, inside the binary.
struct WebAsset: Sendable {
    /// The path of its address.
    let path: String
    let contentType: String
    /// Where it stands in the binary's table.
    private let place: Int

    /// Every file, in the order of the table.
    static var all: [WebAsset] { (0..<holdfast_web_file_count()).map { WebAsset(place: $0) } }

    private init(place: Int) {
        self.place = place
        let file = holdfast_web_file_at(place).pointee
        path = String(cString: file.path)
        contentType = String(cString: file.content_type)
    }

    /// Its entity tag (RFC 9110 §8.8.3), made of its content: another build's file has another. It takes
    /// some microseconds where it is needed; for all files at every start it would take half a millisecond.
    var tag: String {
        let file = holdfast_web_file_at(place).pointee
        let digest = SHA256.hash(UnsafeRawBufferPointer(start: file.bytes, count: file.length))
        // Half of the digest is enough for telling files apart.
        return "\"" + Hex.encode(digest.prefix(16)) + "\""
    }

    /// The content, as an answer wants to own it.
    func copy() -> [UInt8] {
        let file = holdfast_web_file_at(place).pointee
        return Array(UnsafeBufferPointer(start: file.bytes, count: file.length))
    }

    /// Whether a value of `If-None-Match` names the content of this tag (RFC 9110 §13.1.2: weakly compared).
    static func isNamed(_ tag: String, in value: String) -> Bool {
        value.split(separator: ",").contains { part in
            var named = part.drop { $0 == " " || $0 == "\t" }
            while named.last == " " || named.last == "\t" { named.removeLast() }
            if named == "*" { return true }
            return (named.hasPrefix("W/") ? named.dropFirst(2) : named) == tag
        }
    }
}
