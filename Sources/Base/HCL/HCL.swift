/// HCL 1 and its JSON twin: the language of policies and of the server's configuration.
///
/// Bytes in, one tree out, the same tree for both notations: a document whose first byte (blanks and
/// a byte-order mark aside) is `{` is JSON, anything else is HCL. Every node keeps the line and the
/// column at which it stands, so that whoever reads the tree can name the place of a fault.
///
/// Invariants: the input is UTF-8 without NUL; its size, depth and number of nodes are bounded before
/// they cost memory or stack; time is linear in the size; every fault is a `.badRequest` that
/// says where, what was expected and what was found. Repeated keys stay repeated and in order: what
/// they mean is the reader's decision.
package enum HCL {
    /// Reads a whole document.
    /// - Throws: `.badRequest` with line, column and what was expected; `.tooLarge` beyond a limit.
    package static func parse(_ bytes: [UInt8], limits: Limits = .standard) throws(VaultError) -> HCLObject {
        if bytes.count > limits.bytes {
            throw .tooLarge("an HCL or JSON document may have \(limits.bytes) bytes at most")
        }
        var parser = HCLParser(bytes, limits: limits)
        try parser.checkText()
        return try parser.document()
    }

    /// Bounds on one document.
    package struct Limits: Sendable {
        /// Bytes of the document: a policy or a configuration file is never near it.
        package var bytes = 1 << 20
        /// Levels of lists and objects inside of each other.
        package var depth = 100
        /// Keys, labels and values together, so that the tree stays in proportion to its text.
        package var nodes = 100_000

        /// The standard bounds.
        package init() {}

        /// What every document here is read with.
        package static let standard = Limits()
    }
}
