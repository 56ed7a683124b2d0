/// What the server says of itself.
package enum Version {
    /// Our own version.
    package static let product = "0.1.0"
    /// The level of Vault's API that we speak, then our own version.
    package static let api = "1.19.0+holdfast.0.1.0"
    /// Fixed per release, so that builds can be reproduced.
    package static let buildDate = "2026-11-24T00:00:00Z"
}
