import Base

@testable import Net

/// A request as the network layer makes it.
func request(_ text: String, from address: String = "10.0.0.9") throws -> HTTPRequest {
    let bytes = Array((text.replacing("\n", with: "\r\n") + "\r\n\r\n").utf8)
    guard let request = HTTPHeadParser(limits: .standard).request(in: bytes, from: address) else {
        throw VaultError.internal("a bad head in a test")
    }
    return request
}

extension HTTPHeadParser {
    /// The request that bytes begin with; what stands behind its head is its body. Nil for anything else.
    func request(in bytes: [UInt8], from address: String = "10.0.0.1") -> HTTPRequest? {
        defer { reset() }
        return bytes.withUnsafeBufferPointer { bytes in
            guard case .complete(let count) = parse(bytes), let start = bytes.baseAddress else { return nil }
            let peer = HTTPPeer(address: address, port: 77, isTLS: false)
            var request = HTTPRequest(self, start, headBytes: count, peer: peer)
            request.body = Array(bytes[count...])
            return request
        }
    }
}
