/// Which bytes may stand where in a head, as one table that lives as long as the process.
///
/// Parsers keep a copy of this one pointer: a global would be checked for initialisation at every byte.
struct ByteClass: @unchecked Sendable {
    // SAFETY: the table is written once, before `shared` is first handed out, and never again.
    private let table: UnsafePointer<UInt8>

    static let shared = ByteClass()

    private static let token: UInt8 = 1
    private static let target: UInt8 = 2
    private static let value: UInt8 = 4
    private static let host: UInt8 = 8

    private init() {
        let table = UnsafeMutablePointer<UInt8>.allocate(capacity: 256)
        table.initialize(repeating: 0, count: 256)
        for byte in 0..<256 {
            if byte > 32, byte != 127, byte != 35 { table[byte] |= Self.target }
            if byte >= 32 && byte != 127 || byte == 9 { table[byte] |= Self.value }
        }
        let alphanumeric = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
        for byte in ("!#$%&'*+-.^_`|~" + alphanumeric).utf8 { table[Int(byte)] |= Self.token }
        for byte in ("-._~%!$&'()*+;=:[]" + alphanumeric).utf8 { table[Int(byte)] |= Self.host }
        self.table = UnsafePointer(table)
    }

    /// A byte of a method or a field name (RFC 9110 §5.6.2).
    @inline(__always) func isToken(_ byte: UInt8) -> Bool { table[Int(byte)] & Self.token != 0 }
    /// A byte of a request target: visible, no `#`. Bytes above 127 pass, as they do in Vault: clients
    /// write UTF-8 paths unescaped.
    @inline(__always) func isTarget(_ byte: UInt8) -> Bool { table[Int(byte)] & Self.target != 0 }
    /// A byte of a field value: tab, space, visible, or above 127 (RFC 9110 §5.5).
    @inline(__always) func isValue(_ byte: UInt8) -> Bool { table[Int(byte)] & Self.value != 0 }
    /// A byte of `Host` (RFC 3986 §3.2.2).
    @inline(__always) func isHost(_ byte: UInt8) -> Bool { table[Int(byte)] & Self.host != 0 }
}
