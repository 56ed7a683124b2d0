internal import APIClient
internal import Base

/// Where a key of the key-value store is: its mount, found by asking the server, and the API path.
struct KVPath {
    /// Ends with a slash.
    let mount: String
    let isVersioned: Bool
    /// The path that the user gave, cleaned, under its mount.
    let path: String

    /// Without slashes and white space at its ends.
    static func sanitized(_ path: String) -> String {
        var text = path.trimmed
        while text.first == "/" { text = text.dropFirst() }
        while text.last == "/" { text = text.dropLast() }
        return String(text)
    }

    static let mountFlag = Flag<String>("mount", "Path of the engine's mount; KEY is then relative to it.")

    /// Asks the server which mount serves the path, and of which version it is.
    init(_ key: String, _ call: Invocation) throws(CommandFailure) {
        let mount = KVPath.sanitized(call[Self.mountFlag])
        let key = KVPath.sanitized(key)
        path = mount.isEmpty ? key : key.isEmpty ? mount : "\(mount)/\(key)"
        let asked = mount.isEmpty ? path : mount
        (self.mount, isVersioned) = try Self.preflight(asked, call)
    }

    private static func preflight(_ path: String, _ call: Invocation) throws(CommandFailure) -> (String, Bool)
    {
        let client = try call.client()
        let wanted = client.configuration
        defer { client.configuration = wanted }
        // Only the request that follows is to be wrapped or shown.
        client.configuration.wrapTTL = nil
        client.configuration.shows = nil
        do throws(APIError) {
            let answer = client.envelope(try client.call("GET", "sys/internal/ui/mounts/" + path))
            guard let data = answer?.data else {
                throw APIError.unreadable("nil response from pre-flight request")
            }
            return (data["path"]?.string ?? "", data["options"]?["version"]?.string == "2")
        } catch {
            // A server without this endpoint has no versions either.
            if error.status == 404 { return ("", false) }
            if error.status != nil, client.configuration.token.isEmpty { return ("kv", false) }
            if error.status == 403 {
                var failure = CommandFailure.failed(
                    "Error making API request.\n\npreflight capability check returned 403, "
                        + "please ensure client's policies grant access to path \"\(path)/\"")
                failure.hint = Hint.text(for: error, client)
                throw failure
            }
            throw call.failure("", error)
        }
    }

    /// The API path: version 2 has a word such as `data` behind the mount.
    func api(_ word: String) -> String { isVersioned ? Self.joined(path, mount: mount, word: word) : path }

    /// Puts `word` between the mount and the rest of the path, unless it is there already.
    static func joined(_ path: String, mount: String, word: String) -> String {
        let bare = mount.hasSuffix("/") ? String(mount.dropLast()) : mount
        if path == bare { return "\(bare)/\(word)" }
        var prefix = bare
        // A mount inside a namespace is named with it, while the user's path is not.
        while !path.hasPrefix(prefix + "/") {
            guard let slash = prefix.firstIndex(of: "/") else { return "\(bare)/\(word)/\(path)" }
            prefix = String(prefix[prefix.index(after: slash)...])
            if path == prefix { return "\(prefix)/\(word)" }
        }
        return "\(prefix)/\(word)/\(path.dropFirst(prefix.count + 1))"
    }
}
