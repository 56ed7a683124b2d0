/// Every bound on what comes from outside, with its unit and reason. Nothing here is a policy that
/// an operator tunes per mount; those live in the mount's configuration.
package struct Limits: Sendable {
    /// Bytes of request line and headers together. Vault's default for one header block is 1 MiB; no client
    /// needs it.
    package var headBytes = 64 << 10
    /// Header fields in one request.
    package var headerFields = 128
    /// Bytes of a request body (Vault's `max_request_size`).
    package var bodyBytes = 32 << 20
    /// Bytes of all bodies in flight; beyond it 503 with Retry-After, so that memory stays bounded.
    package var bodyBytesInFlight = 64 << 20
    /// Seconds to receive a request's head.
    package var headerTimeoutSeconds = 10
    /// Seconds to receive a whole request.
    package var readTimeoutSeconds = 30
    /// Seconds that a kept-alive connection may be silent.
    package var idleTimeoutSeconds = 300
    /// Seconds that a client may take to accept an answer.
    package var writeTimeoutSeconds = 30
    /// Seconds that a request may take inside the server (Vault's `default_max_request_duration`).
    package var requestSeconds = 90
    /// Connections held at once; further ones wait in the kernel's queue.
    package var connections = 16_384
    /// Levels of nesting in a JSON body (Vault's `max_json_depth`).
    package var jsonDepth = 500
    /// Bytes in one JSON string (Vault's `max_json_string_value_length`).
    package var jsonStringBytes = 1 << 20
    /// Members of one JSON object (Vault's `max_json_object_entry_count`).
    package var jsonObjectEntries = 10_000
    /// Elements of one JSON array (Vault's `max_json_array_element_count`).
    package var jsonArrayElements = 10_000
    /// Bytes of a request path below `/v1/`: what still fits a storage key with its mount's prefix.
    package var pathBytes = 2_048
    /// Bytes of a storage entry before encryption.
    package var entryBytes = 33 << 20
    /// Write sets that wait for the commit thread; beyond it 503 with Retry-After.
    package var commitQueue = 4_096
    /// Times that a handler is run again when what it read has changed under it.
    package var transactionRetries = 64

    package init() {}

    package static let standard = Limits()
}
