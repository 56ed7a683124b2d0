import Base
import Core
import PluginKit
import TestKit
import Testing

/// Headers that a mount is tuned to see and to send.
@Suite struct HeaderTests {
    private func server() async throws -> InProcessServer {
        let server = try InProcessServer(engines: [
            HeaderEngine.type: MountRegistry.factory(HeaderEngine.self)
        ])
        _ = try await server.call(.update, "sys/mounts/h", #"{"type":"headers"}"#)
        return server
    }

    private func tune(_ server: InProcessServer, _ body: String) async throws -> Int {
        try await server.call(.update, "sys/mounts/h/tune", body).status
    }

    @Test func aMountSeesTheHeadersThatItWasTunedFor() async throws {
        let server = try await server()
        #expect(server.dispatcher.requestHeaders(for: "h/a").isEmpty)
        let body = #"{"passthrough_request_headers":["X-One","X-Vault-Token"]}"#
        #expect(try await tune(server, body) == 204)
        #expect(server.dispatcher.requestHeaders(for: "h/a") == ["x-one"])
        #expect(server.dispatcher.requestHeaders(for: "sys/mounts").isEmpty == false)
        #expect(server.dispatcher.requestHeaders(for: "cubbyhole/a").isEmpty)
        server.core.seal()
        #expect(server.dispatcher.requestHeaders(for: "h/a").isEmpty)
    }

    @Test func onlyAllowedHeadersOfAnAnswerAreSent() async throws {
        let server = try await server()
        #expect(try await server.call(.read, "h/a").headers.isEmpty)
        #expect(try await tune(server, #"{"allowed_response_headers":["x-one","X-Broken"]}"#) == 204)
        #expect(try await server.call(.read, "h/a").headers == ["X-One": "1"])
    }

    @Test(arguments: ["passthrough_request_headers", "allowed_response_headers"])
    func whatIsNoHeaderIsRefused(field: String) async throws {
        let server = try await server()
        #expect(try await tune(server, #"{"\#(field)":["X One"]}"#) == 400)
        #expect(try await tune(server, #"{"\#(field)":["X:One"]}"#) == 400)
    }
}

/// Answers with headers: two good ones, and one that would end the header.
private struct HeaderEngine: SecretsEngine {
    static let type = "headers"
    static let summary = "Answers with headers."
    private static let name = Field<String>(required: "name", "Any name.")

    init(_ context: MountContext) throws(VaultError) {}

    static var routes: [Route<Self>] {
        [Route(.read, ":name", "Read.", fields: name, run: Self.read)]
    }

    private func read(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        var response = LogicalResponse(data: ["a": "b"])
        response.headers = [("X-One", "1"), ("X-Two", "2"), ("X-Broken", "1\r\nX-Evil: 1")]
        return response
    }
}
