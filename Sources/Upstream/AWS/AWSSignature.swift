package import Base
import Crypto
package import Net

/// Signs requests to AWS (Signature Version 4).
package struct AWSSignature: Sendable {
    /// As AWS spells it in the scope: `eu-west-1`.
    package let region: String
    /// As AWS spells it in the scope: `kms`.
    package let service: String

    /// For one service in one region.
    package init(region: String, service: String) {
        self.region = region
        self.service = service
    }

    /// The request with its date, token and signature in the header. Its URL has no query.
    package func signed(
        _ request: HTTPClientRequest, by credentials: AWSCredentials, at now: Timestamp
    ) -> HTTPClientRequest {
        var request = request
        let stamp = Self.stamp(now)
        let (host, path) = Self.parts(of: request.url)
        request.headers.append(("X-Amz-Date", stamp))
        if let token = credentials.sessionToken { request.headers.append(("X-Amz-Security-Token", token)) }
        var headers = request.headers.map { ($0.0.lowercased(), $0.1) } + [("host", host)]
        headers.sort { $0.0 < $1.0 }
        let names = headers.map(\.0).joined(separator: ";")
        let lines = headers.map { "\($0.0):\($0.1)\n" }.joined()
        let digest = Hex.encode(SHA256.hash(request.body ?? []))
        let canonical = "\(request.method)\n\(path)\n\n\(lines)\n\(names)\n\(digest)"
        let day = String(stamp.prefix(8))
        let scope = "\(day)/\(region)/\(service)/aws4_request"
        let text = "AWS4-HMAC-SHA256\n\(stamp)\n\(scope)\n\(Hex.encode(SHA256.hash(Array(canonical.utf8))))"
        let signature = Hex.encode(
            HMACSHA256(key: key(credentials.secretKey, day)).code(Array(text.utf8)))
        request.headers.append(
            (
                "Authorization",
                "AWS4-HMAC-SHA256 Credential=\(credentials.accessKey)/\(scope), "
                    + "SignedHeaders=\(names), Signature=\(signature)"
            ))
        return request
    }

    /// The key of one day, region and service.
    private func key(_ secret: SecretBytes, _ day: String) -> SecretBytes {
        let prefix = Array("AWS4".utf8)
        var key = SecretBytes(count: prefix.count + secret.count) { target in
            target.copyBytes(from: prefix)
            secret.withBytes {
                UnsafeMutableRawBufferPointer(rebasing: target[prefix.count...]).copyMemory(from: $0)
            }
        }
        for part in [day, region, service, "aws4_request"] {
            let mac = HMACSHA256(key: key)
            key = SecretBytes(count: HMACSHA256.codeBytes) { target in
                Array(part.utf8).withUnsafeBytes { mac.code($0, into: target) }
            }
        }
        return key
    }

    /// `20150830T123600Z`.
    static func stamp(_ time: Timestamp) -> String {
        time.rfc3339(fraction: 0).filter { $0 != "-" && $0 != ":" }
    }

    static func parts(of url: String) -> (host: String, path: String) {
        let rest = url.drop { $0 != "/" }.dropFirst(2)
        let host = rest.prefix { $0 != "/" }
        let path = rest.dropFirst(host.count)
        return (String(host), path.isEmpty ? "/" : String(path))
    }
}
