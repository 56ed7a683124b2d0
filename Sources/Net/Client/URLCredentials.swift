extension String {
    /// A URL without the name and password that may stand before its host: what messages and logs may show.
    package var withoutURLCredentials: String {
        guard let scheme = firstRange(of: "://") else { return self }
        let authority = self[scheme.upperBound...].prefix { $0 != "/" && $0 != "?" && $0 != "#" }
        guard let mark = authority.lastIndex(of: "@") else { return self }
        return String(self[..<scheme.upperBound] + self[index(after: mark)...])
    }
}
