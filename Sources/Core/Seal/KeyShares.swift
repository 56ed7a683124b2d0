import Barrier
import Base

/// Key shares as operators enter them one by one: in locked memory, wiped when they are dropped.
struct KeyShares {
    private var entered: [SecretBytes] = []

    var count: Int { entered.count }

    /// Takes a share.
    /// - Returns: false when this very share is there already.
    mutating func add(_ share: SecretBytes) -> Bool {
        if entered.contains(share) { return false }
        entered.append(share)
        return true
    }

    /// The key that the shares make; with wrong ones or too few it is some other key.
    /// - Throws: `.badRequest` when they cannot be shares of one key.
    func combined() throws(VaultError) -> SecretBytes {
        entered.count == 1 ? entered[0] : try Shamir.combine(entered)
    }

    /// A share from what an operator typed, in hexadecimal or base64.
    /// - Throws: `.badRequest` when it is malformed, or of another length than the shares in use.
    static func decode(_ text: SecretBytes, threshold: Int) throws(VaultError) -> SecretBytes {
        guard text.count > 0 else { throw .badRequest("'key' must be specified in request body as JSON") }
        guard let share = text.withBytes({ Hex.decodeSecret($0) ?? Base64.standard.decodeSecret($0) }) else {
            throw .badRequest("'key' must be a valid hex or base64 string")
        }
        let expected = HolderKey.bytes + (threshold == 1 ? 0 : 1)
        guard share.count == expected else {
            throw .badRequest("'key': expected a key share of \(expected) bytes, found \(share.count)")
        }
        return share
    }
}
