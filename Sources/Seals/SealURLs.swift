import Base
import PluginKit

extension SealSettings {
    /// The URL of a setting, with a slash at its end; nil when it is not set.
    /// - Throws: `.badRequest` for what is no URL of HTTP with a host and nothing behind the path.
    func url(_ setting: SealSetting) throws(VaultError) -> String? {
        guard let text = text(setting) else { return nil }
        let rest = text.drop { $0 != ":" }
        let host = rest.dropFirst(3)
        let isGood =
            (text.hasPrefix("http://") || text.hasPrefix("https://")) && host.first.map { $0 != "/" } == true
            && text.utf8.allSatisfy { $0 > 32 && $0 < 127 && $0 != 63 && $0 != 35 && $0 != 64 }
        guard isGood else {
            throw .badRequest(
                "'\(setting.name)': expected a URL such as https://kms.example.org, without user or query")
        }
        return text.hasSuffix("/") ? text : text + "/"
    }
}
