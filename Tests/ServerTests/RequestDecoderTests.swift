import Base
import PluginKit
import Testing

@testable import Net
@testable import Server

@Suite struct RequestDecoderTests {
    private func path(_ namespace: String) throws -> String {
        try RequestDecoder.decode(
            request("GET /v1/secret/a HTTP/1.1\nHost: a\nX-Vault-Namespace: \(namespace)"),
            from: ConnectionInfo(remoteAddress: "127.0.0.1"), limits: .standard, id: "x",
            now: Timestamp(seconds: 1)
        ).path
    }

    /// No spelling of another namespace is taken for the one that there is.
    @Test(arguments: [
        "ns1", "ns1/", "../", "..", "ROOT", "Root/", "root/../", "root/ns1", "/root", "//", "r%6fot",
        "root,ns1", ".",
    ])
    func onlyTheRootNamespaceExists(_ namespace: String) throws {
        for one in ["", "/", "root", "root/"] { #expect(try path(one) == "secret/a") }
        #expect(throws: RequestRefusal.self) { try path(namespace) }
    }
}
