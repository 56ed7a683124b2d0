import Net
import Testing

@Suite struct URLCredentialsTests {
    @Test(arguments: [
        ("https://a:b@h:8200", "https://h:8200"), ("https://h:8200", "https://h:8200"),
        ("http://a@h/v1/x?y=z@w", "http://h/v1/x?y=z@w"), ("http://h/a@b", "http://h/a@b"),
        ("http://a:b@c@h/", "http://h/"), ("http://[::1]:1", "http://[::1]:1"), ("h@x", "h@x"), ("", ""),
    ])
    func onlyWhatStandsBeforeTheHostGoes(_ url: String, _ shown: String) {
        #expect(url.withoutURLCredentials == shown)
    }
}
