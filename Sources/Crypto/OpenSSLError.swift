import CCrypto

/// Takes all errors that libcrypto has queued for this thread and tells the first, so that none is
/// left to be blamed on a later call. For logs, never for clients.
func drainOpenSSLErrors(_ what: StaticString) -> String {
    let code = ERR_get_error()
    ERR_clear_error()
    guard code != 0 else { return "\(what) failed" }
    var text = [CChar](repeating: 0, count: 256)
    ERR_error_string_n(code, &text, text.count)
    let bytes = text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
    return "\(what): \(String(decoding: bytes, as: UTF8.self))"
}
