import Base
import PluginKit
import TestKit
import Testing

@testable import Net
@testable import Server

/// Addresses and headers that nobody has thought of.
@Suite struct WebUIFuzzTests {
    /// The page, a file of the table, the way to them, or a refusal: there is no other answer.
    @Test func everyRequestHasOneOfFewAnswers() throws {
        let fuzz = Fuzz(
            "web UI",
            texts: [
                "GET /ui/vault/secrets/team%2Fkv/show/a%20b?version=1 HTTP/1.1\r\nHost: a\r\n\r\n",
                "GET /ui/assets/app.js HTTP/1.1\r\nHost: a\r\nIf-None-Match: W/\"x\", \"y\"\r\n\r\n",
                "HEAD /ui HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            ],
            pieces: [
                "/ui/", "/ui/assets/", "/assets/", "app.js", "%2e%2e", "/../", "//", "/./", "%2f", "%00", "%",
                "?", "*", "W/", "\"", ",", "If-None-Match: *\r\n", "e\u{301}", "POST",
            ])
        let ui = try WebUI(operators: { [] }, log: Log(level: .error))
        let rules = ListenerRules(
            Server.ListenerConfiguration(kind: .tcp, address: "127.0.0.1:1"), limits: .standard)
        let contents = Set(WebAsset.all.map { $0.copy() })
        let refusals = [301, 304, 307, 400, 404, 405]
        let parser = HTTPHeadParser(limits: .standard)
        for input in fuzz {
            guard let request = parser.request(in: input.bytes), let answer = ui.answer(request, rules)
            else { continue }
            let isPage = answer.status == 200 && contents.contains(answer.body)
            if !isPage && !refusals.contains(answer.status) {
                Issue.record("status \(answer.status): \(input)")
                return
            }
        }
    }
}
