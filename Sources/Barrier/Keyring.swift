import Base
import Crypto
import PluginKit
import Synchronization

/// All keys of an unsealed barrier, at one moment: never changed, replaced by `rotated`.
///
/// Entries are encrypted under the newest term's key; older terms stay to decrypt. Other keys (the
/// chain's, audit, token salt) derive from a random base key that no rotation touches. The whole rests
/// as JSON in the table `bootstrap`, encrypted under the root key.
final class Keyring: Sendable {
    /// One generation of the key for entries.
    struct Term: Sendable {
        let number: UInt32
        let key: SecretBytes
        let installed: Timestamp
        let encryptions: Counter
    }

    /// How often a key was used, roughly: what was counted after the last record is lost in a crash.
    final class Counter: Sendable {
        private let count: Atomic<Int>
        init(_ count: Int = 0) { self.count = Atomic(count) }
        func add() { count.wrappingAdd(1, ordering: .relaxed) }
        var value: Int { count.load(ordering: .relaxed) }
    }

    static let keyBytes = 32
    static let recordName = "core/keyring"

    let rootKey: SecretBytes
    private let baseKey: SecretBytes
    private let terms: [Term]

    /// A first keyring with one term.
    init(rootKey: SecretBytes, now: Timestamp, random: any RandomSource) {
        self.rootKey = rootKey
        baseKey = .random(Self.keyBytes, from: random)
        terms = [
            Term(number: 1, key: .random(Self.keyBytes, from: random), installed: now, encryptions: Counter())
        ]
    }

    private init(rootKey: SecretBytes, baseKey: SecretBytes, terms: [Term]) {
        self.rootKey = rootKey
        self.baseKey = baseKey
        self.terms = terms
    }

    /// The term that encrypts.
    var active: Term { terms[terms.count - 1] }

    func key(ofTerm number: UInt32) -> SecretBytes? {
        if active.number == number { return active.key }
        return terms.last { $0.number == number }?.key
    }

    /// The key for a purpose: 32 bytes that stay the same for the life of the store.
    func derivedKey(_ purpose: String, count: Int = 32) -> SecretBytes {
        HKDF.derive(from: baseKey, info: Array("holdfast/\(purpose)".utf8), count: count)
    }

    /// The same keyring with one more term, which encrypts from now on.
    func rotated(now: Timestamp, random: any RandomSource) -> Keyring {
        let term = Term(
            number: active.number + 1, key: .random(Self.keyBytes, from: random), installed: now,
            encryptions: Counter())
        return Keyring(rootKey: rootKey, baseKey: baseKey, terms: terms + [term])
    }

    /// The same keys under another root key.
    func withRootKey(_ rootKey: SecretBytes) -> Keyring {
        Keyring(rootKey: rootKey, baseKey: baseKey, terms: terms)
    }

    /// Whether everything that was encrypted or derived under the other can be read and derived under this.
    func isSuccessor(of other: Keyring) -> Bool {
        baseKey == other.baseKey && terms.count >= other.terms.count
            && zip(terms, other.terms).allSatisfy { $0.key == $1.key }
    }

    /// Whether both have the same root key and the same terms; how often they were used does not count.
    func hasSameKeys(as other: Keyring) -> Bool {
        rootKey == other.rootKey && terms.count == other.terms.count && isSuccessor(of: other)
    }

    // MARK: The record

    /// What is stored: the keyring as JSON, encrypted under the root key.
    func record(random: any RandomSource) throws(VaultError) -> [UInt8] {
        var plain = encoded()
        defer { plain.wipe() }
        return try plain.withRaw { (plain) throws(VaultError) in
            try SealEnvelope.seal(plain, under: rootKey, name: Self.recordName, random: random)
        }
    }

    /// Reads a record back.
    /// - Throws: `.badRequest` for a wrong root key, `.corrupted` for a damaged record.
    convenience init(record: [UInt8], rootKey: SecretBytes) throws(VaultError) {
        let plain = try SealEnvelope.open(record, under: rootKey, name: Self.recordName)
        var bytes = plain.withBytes { Array($0) }
        defer { bytes.wipe() }
        guard let (baseKey, terms) = Self.decoded(bytes) else { throw .corrupted(place: Self.recordName) }
        self.init(rootKey: rootKey, baseKey: baseKey, terms: terms)
    }

    /// Written by hand into one buffer that is wiped: a JSON writer would leave copies of the keys.
    private func encoded() -> [UInt8] {
        var json: [UInt8] = []
        json.reserveCapacity(256 + 256 * terms.count)
        func append(_ key: SecretBytes) {
            Base64.standard.encode(key).withBytes { json.append(contentsOf: $0) }
        }
        json.append(contentsOf: #"{"version":1,"base_key":""#.utf8)
        append(baseKey)
        json.append(contentsOf: #"","terms":["#.utf8)
        for (index, term) in terms.enumerated() {
            json.append(contentsOf: (index == 0 ? "" : ",").utf8)
            json.append(
                contentsOf: #"{"term":\#(term.number),"installed":"\#(term.installed.rfc3339())","#.utf8)
            json.append(contentsOf: #""encryptions":\#(term.encryptions.value),"key":""#.utf8)
            append(term.key)
            json.append(contentsOf: #""}"#.utf8)
        }
        json.append(contentsOf: "]}".utf8)
        return json
    }

    private static func decoded(_ bytes: [UInt8]) -> (SecretBytes, [Term])? {
        func key(_ value: RawJSON?) -> SecretBytes? {
            guard var text = value?.stringBytes else { return nil }
            defer { text.wipe() }
            let key = text.withUnsafeBytes { Base64.standard.decodeSecret($0) }
            return key?.count == keyBytes ? key : nil
        }
        guard let json = try? RawJSON(validating: bytes), json["version"]?.int == 1,
            let baseKey = key(json["base_key"]), let list = json["terms"], list.kind == .array
        else { return nil }
        var terms: [Term] = []
        for element in list.elements {
            guard let number = element["term"]?.int, number == terms.count + 1,
                let termKey = key(element["key"]),
                let text = element["installed"]?.string, let installed = Timestamp(rfc3339: text),
                let encryptions = element["encryptions"]?.int
            else { return nil }
            terms.append(
                Term(
                    number: UInt32(number), key: termKey, installed: installed,
                    encryptions: Counter(encryptions)))
        }
        return terms.isEmpty ? nil : (baseKey, terms)
    }
}
