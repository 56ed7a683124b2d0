import Base
import PluginKit
import Testing

@Suite struct RouteTests {
    private func values(_ pattern: String, _ path: String, isList: Bool = false) -> [String]? {
        PathPattern(pattern).match(path, isList: isList)?.map { "\($0.name)=\($0.value)" }
    }

    @Test func literalsMustMatchWhole() {
        #expect(values("config", "config") == [])
        #expect(values("config", "configs") == nil)
        #expect(values("config", "config/x") == nil)
        #expect(values("config", "") == nil)
        #expect(values("config", "config/", isList: true) == [])
        #expect(values("", "") == [])
        #expect(values("", "x") == nil)
    }

    @Test func oneSegmentIsNeverEmptyAndHasNoSlash() {
        #expect(values("roles/:name", "roles/a") == ["name=a"])
        #expect(values("roles/:name", "roles/") == nil)
        #expect(values("roles/:name", "roles/a/b") == nil)
        #expect(values("roles/:name/id/:id", "roles/a/id/7") == ["name=a", "id=7"])
    }

    @Test func theRestTakesSlashes() {
        #expect(values("data/*path", "data/a/b c/ü") == ["path=a/b c/ü"])
        #expect(values("data/*path", "data/") == nil)
        #expect(values("data/*path", "data") == nil)
        #expect(values("data/*path", "database/x") == nil)
        #expect(values("data/*path", "data/", isList: true) == ["path="])
        #expect(values("data/*path", "data", isList: true) == ["path="])
        #expect(values("*path", "", isList: true) == ["path="])
        #expect(values("*path", "") == nil)
    }

    @Test func literalsMayFollowTheRest() {
        #expect(values("mounts/*path/tune", "mounts/a/b/tune") == ["path=a/b"])
        #expect(values("mounts/*path/tune", "mounts/tune") == nil)
        #expect(values("mounts/*path/tune", "mounts/a/b") == nil)
    }

    private struct Owner { let name: String }

    @Test func earlierRoutesWinAndOtherVerbsAreTold() throws {
        let routes: [Route<Owner>] = [
            Route(.read, "config", "First.") { owner in
                { (_, _) throws(VaultError) in LogicalResponse(data: .string(owner.name + " first")) }
            },
            Route(.read, "*path", "Second.") { owner in
                { (_, _) throws(VaultError) in LogicalResponse(data: .string(owner.name + " second")) }
            },
        ]
        let table = RouteTable(routes.map { $0.bind(Owner(name: "o")) })
        func summary(_ operation: PluginKit.Operation, _ path: String) -> String {
            switch table.match(operation, path) {
            case .found(let route, _): route.description.summary
            case .wrongOperation: "wrong operation"
            case .none: "none"
            }
        }
        #expect(summary(.read, "config") == "First.")
        #expect(summary(.read, "other") == "Second.")
        #expect(summary(.delete, "other") == "wrong operation")
        #expect(summary(.read, "") == "none")
    }
}
