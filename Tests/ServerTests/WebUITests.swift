import Base
import Core
import Foundation
import PluginKit
import Testing

@testable import Net
@testable import Server

@Suite struct WebUITests {
    private static let policy = "Content-Security-Policy"
    private static let page = "text/html; charset=utf-8"

    private func answer(
        _ target: String, method: String = "GET", more: String = "", operators: [UIHeader] = [],
        _ adjust: (inout Server.ListenerConfiguration) -> Void = { _ in }
    ) throws -> HTTPResponse? {
        var listener = Server.ListenerConfiguration(kind: .tcp, address: "127.0.0.1:1")
        adjust(&listener)
        let ui = try WebUI(operators: { operators }, log: Log(level: .error))
        return ui.answer(
            try request("\(method) \(target) HTTP/1.1\nHost: a\(more)"),
            ListenerRules(listener, limits: .standard))
    }

    private func values(_ name: String, _ response: HTTPResponse) -> [String] {
        response.headers.filter { $0.name.lowercased() == name.lowercased() }.map(\.value)
    }

    /// What is in the folder is in the binary, byte for byte, and nothing else is.
    @Test func theTableHasEveryFile() throws {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appendingPathComponent("ui")
        let found = try #require(FileManager.default.subpaths(atPath: root.path))
        var files: [String: [UInt8]] = [:]
        for path in found where path.contains(".") {
            let address = path == "index.html" ? "/ui/" : "/ui/\(path)"
            files[address] = Array(try Data(contentsOf: root.appendingPathComponent(path)))
        }
        let assets = WebAsset.all
        #expect(Set(assets.map(\.path)) == Set(files.keys), "Sources/C/CWebUI/web_ui.c lists them")
        #expect(assets.count == files.count)
        for asset in assets { #expect(asset.copy() == files[asset.path], "\(asset.path)") }
        #expect(files.values.reduce(0) { $0 + $1.count } < 150_000, "a page is to be small")
    }

    @Test func eachFileHasItsTypeAndItsOwnTag() throws {
        let types = [
            "html": Self.page, "css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8",
            "svg": "image/svg+xml",
        ]
        for asset in WebAsset.all {
            let end = asset.path == "/ui/" ? "html" : asset.path.split(separator: ".").last.map(String.init)
            #expect(asset.contentType == end.flatMap { types[$0] }, "\(asset.path)")
        }
        #expect(Set(WebAsset.all.map(\.tag)).count == WebAsset.all.count)
    }

    /// The page and its scripts name only what is there: a module that is missing would be a dead page.
    @Test func everyNameLeadsToAFile() throws {
        let paths = Set(WebAsset.all.map(\.path))
        for asset in WebAsset.all {
            let text = String(decoding: asset.copy(), as: UTF8.self)
            for found in text.matches(of: /"(\/ui\/assets\/[^"]+)"/) {
                #expect(paths.contains(String(found.1)), "\(asset.path) names \(found.1)")
            }
            for found in text.matches(of: /from '\.\/([^']+)'/) {
                #expect(paths.contains("/ui/assets/\(found.1)"), "\(asset.path) imports \(found.1)")
            }
        }
    }

    /// There is no way from a text to markup or code in the scripts, nor a name of another origin.
    @Test func nothingInTheScriptsMakesMarkupOfText() {
        let forbidden = [
            "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function",
            "DOMParser", "setHTML", "srcdoc", "localStorage.", "document.cookie", "http://", "<style",
        ]
        for asset in WebAsset.all where !asset.path.hasSuffix(".svg") {
            let text = String(decoding: asset.copy(), as: UTF8.self)
            for word in forbidden { #expect(!text.contains(word), "\(asset.path) has \(word)") }
        }
    }

    @Test(arguments: ["/ui/", "/ui/vault/auth", "/ui/vault/secrets/a%2Fb/show/c%20d", "/ui/x?y=z"])
    func screensGetThePageWithItsPolicy(_ target: String) throws {
        let response = try #require(try answer(target))
        #expect(response.status == 200)
        #expect(response.contentType == Self.page)
        #expect(values("Cache-Control", response) == ["no-store"])
        let policy = try #require(values(Self.policy, response).first)
        for part in ["default-src 'none'", "frame-ancestors 'none'", "trusted-types 'none'"] {
            #expect(policy.contains(part))
        }
        #expect(!policy.contains("unsafe"))
        #expect(values("X-Frame-Options", response) == ["DENY"])
        #expect(values("X-Content-Type-Options", response) == ["nosniff"])
        #expect(values("Referrer-Policy", response) == ["no-referrer"])
        #expect(values("Set-Cookie", response).isEmpty)
    }

    @Test func aFileIsSentOnceUntilItChanges() throws {
        let first = try #require(try answer("/ui/assets/app.js"))
        #expect(values("Cache-Control", first) == ["no-cache"])
        let tag = try #require(values("ETag", first).first)
        for known in [tag, "W/\(tag)", "\"other\",\t\(tag) ", "*"] {
            let again = try #require(try answer("/ui/assets/app.js", more: "\nIf-None-Match: \(known)"))
            #expect(again.status == 304)
            #expect(again.body.isEmpty && again.contentType == nil)
            #expect(values("ETag", again) == [tag])
        }
        for other in ["\"other\"", String(tag.dropLast()), "W/", ""] {
            #expect(try answer("/ui/assets/app.js", more: "\nIf-None-Match: \(other)")?.status == 200)
        }
    }

    @Test func headIsAnsweredAsGetAndNothingElseIs() throws {
        #expect(try answer("/ui/assets/app.js", method: "HEAD")?.status == 200)
        #expect(try answer("/ui", method: "HEAD")?.status == 307)
        for method in ["POST", "PUT", "DELETE", "PATCH", "LIST", "OPTIONS", "TRACE"] {
            for target in ["/ui/", "/ui", "/ui/assets/app.js", "/ui/vault/auth"] {
                #expect(try answer(target, method: method)?.status == 405, "\(method) \(target)")
            }
        }
    }

    @Test(arguments: ["/", "/ui", "/?a=b", "/ui?next=//evil.example"])
    func theWayToThePage(_ target: String) throws {
        let response = try #require(try answer(target))
        #expect(response.status == 307)
        #expect(values("Location", response) == ["/ui/"])
        #expect(values("Cache-Control", response) == ["no-store"])
        #expect(!response.body.isEmpty)
    }

    @Test(arguments: ["/v1/sys/health", "/nothing", "/u", "/uix", "/uix/", "/UI/", "//ui/", "/v1/ui/"])
    func otherPathsAreNotThePages(_ target: String) throws {
        #expect(try answer(target) == nil)
        #expect(try answer("/", method: "POST") == nil)
    }

    @Test(arguments: [
        ("/ui//x", 301), ("/ui/../v1/sys/health", 301), ("/ui/./", 301), ("/ui/a//", 301),
        ("/ui/%2e%2e/x", 400), ("/ui/assets/..%2f..%2fetc", 400), ("/ui/%00", 400), ("/ui/%zz", 400),
        ("/ui/%ff", 400), ("/ui/%0d%0aX:y", 400), ("/ui/e%CC%81", 400), ("/ui/assets/", 404),
        ("/ui/assets/none.js", 404), ("/ui/assets/app.js/", 404), ("/ui/assets/APP.js", 404),
    ])
    func uncleanAndUnknownPathsAreRefused(_ target: String, _ status: Int) throws {
        let response = try #require(try answer(target))
        #expect(response.status == status)
        #expect(response.contentType == "application/json")
    }

    @Test func headersGoFromTheGeneralToTheParticular() throws {
        let custom: (inout Server.ListenerConfiguration) -> Void = {
            $0.customResponseHeaders = [
                "default": [(Self.policy, "default-src 'self'"), ("X-Listener", "l"), ("X-Both", "l")]
            ]
        }
        let listener = try #require(try answer("/ui/", custom))
        #expect(values(Self.policy, listener) == ["default-src 'self'"])
        let operators = [
            try UIHeader(name: "content-security-policy", values: ["default-src a.example"]),
            try UIHeader(name: "X-Both", values: ["one", "two"]),
            try UIHeader(name: "Cache-Control", values: ["private"]),
        ]
        for target in ["/ui/", "/ui/assets/style.css"] {
            let response = try #require(try answer(target, operators: operators, custom))
            #expect(values(Self.policy, response) == ["default-src a.example"])
            #expect(values("X-Both", response) == ["one", "two"])
            #expect(values("X-Listener", response) == ["l"])
            #expect(values("Cache-Control", response) == ["private"])
            #expect(values("X-Frame-Options", response) == ["DENY"])
        }
    }

    @Test func theListenersRulesHoldAsFarAsABrowserCanKeepThem() throws {
        #expect(try answer("/ui/") { $0.requiresRequestHeader = true }?.status == 200)
        let behindProxy: (inout Server.ListenerConfiguration) -> Void = {
            $0.forwardedForNetworks = ["10.0.0.0/8"].compactMap { CIDRBlock($0) }
        }
        #expect(try answer("/ui/", behindProxy)?.status == 400)
        #expect(try answer("/ui/", more: "\nX-Forwarded-For: 1.1.1.1", behindProxy)?.status == 200)
    }

    @Test func itIsOnWhereAConfigurationSaysSo() throws {
        #expect(!ServerConfiguration().isUIEnabled)
        #expect(try ServerOptions(["-dev"]).load().configuration.isUIEnabled)
    }
}
