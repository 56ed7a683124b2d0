package import Base
import CPosix
import CRNP
import Glibc
import Synchronization

/// Encryption to OpenPGP keys, for what operators receive at initialisation. librnp does it.
package enum PGP {
    /// Encrypts a secret to the first key that can, of the keys in `key`: binary, base64 or armored.
    ///
    /// - Returns: the binary message, and the fingerprint of the primary key in lower-case hex.
    /// - Throws: `.badRequest` that names `pgp_keys` when this is no usable public key.
    package static func encrypt(
        _ secret: SecretBytes, toPublicKey key: [UInt8]
    ) throws(VaultError) -> (ciphertext: [UInt8], fingerprint: String) {
        let binary = key.withUnsafeBytes { Base64.standard.decode($0) } ?? key
        guard !binary.isEmpty, binary.count <= longestKeyBytes else {
            throw unusable("it is empty or too long")
        }
        let library = try RNP.load()
        return try library.run { () throws(VaultError) in
            let session = try RNPSession(library)
            return try session.encrypt(secret, toKeys: binary)
        }
    }

    static func unusable(_ reason: String) -> VaultError {
        .badRequest("pgp_keys: expected a base64 OpenPGP public key: \(reason)")
    }

    private static let longestKeyBytes = 1 << 20
}

/// librnp's functions. Loaded once, never unloaded.
private final class RNP: Sendable {
    let createFFI: crnp_ffi_create
    let setLogDescriptor: crnp_ffi_set_log_fd
    let destroyFFI: crnp_destroy
    let destroyBuffer: crnp_buffer_destroy
    let inputFromMemory: crnp_input_from_memory
    let destroyInput: crnp_destroy
    let outputToMemory: crnp_output_to_memory
    let outputBuffer: crnp_output_memory_get_buf
    let destroyOutput: crnp_destroy
    let loadKeys: crnp_load_keys
    let createIterator: crnp_iterator_create
    let nextIdentifier: crnp_iterator_next
    let destroyIterator: crnp_destroy
    let locateKey: crnp_locate_key
    let keyIsPrimary: crnp_key_is_primary
    let destroyKey: crnp_destroy
    let createEncryption: crnp_op_encrypt_create
    let addRecipient: crnp_op_encrypt_add_recipient
    let setCipher: crnp_op_encrypt_set_cipher
    let execute: crnp_destroy
    let destroyEncryption: crnp_destroy

    private let work = BlockingQueue<@Sendable () -> Void>(limit: 256)

    /// Runs `body` on librnp's own thread, one after the other: it promises nothing about threads.
    ///
    /// About keys that it cannot read it also complains on standard error, whatever descriptor it was given
    /// for its log. That is where the server's log goes, in which every line is ours. So this thread has a
    /// table of descriptors of its own, in which standard error leads nowhere.
    func run<Result: Sendable>(
        _ body: @escaping @Sendable () throws(VaultError) -> Result
    ) throws(VaultError) -> Result {
        let answers = BlockingQueue<Swift.Result<Result, VaultError>>(limit: 1)
        let isTaken = work.push {
            do throws(VaultError) { _ = answers.push(.success(try body())) } catch {
                _ = answers.push(.failure(error))
            }
        }
        guard isTaken, let outcome = answers.take(most: 1).first else {
            throw .unavailable("too many OpenPGP keys at once; try again", retryAfterSeconds: 1)
        }
        return try outcome.get()
    }

    private static func quieten() {
        guard hf_unshare_descriptors() == 0 else { return }
        let nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC)
        guard nowhere >= 0 else { return }
        dup2(nowhere, STDERR_FILENO)
        close(nowhere)
    }

    private static let loaded = Mutex<RNP?>(nil)

    static func load() throws(VaultError) -> RNP {
        try loaded.withLock { (loaded) throws(VaultError) in
            if let loaded { return loaded }
            let library = try RNP()
            loaded = library
            return library
        }
    }

    private init() throws(VaultError) {
        guard let handle = dlopen("librnp.so.0", RTLD_NOW | RTLD_LOCAL) else {
            throw .internal("librnp.so.0 cannot be opened; Debian's package is librnp0")
        }
        // SAFETY: each name's type is the one that librnp's header declares; see CRNP.
        func symbol<Function>(_ name: String) throws(VaultError) -> Function {
            guard let address = dlsym(handle, name) else { throw .internal("librnp has no \(name)") }
            return unsafeBitCast(address, to: Function.self)
        }
        createFFI = try symbol("rnp_ffi_create")
        setLogDescriptor = try symbol("rnp_ffi_set_log_fd")
        destroyFFI = try symbol("rnp_ffi_destroy")
        destroyBuffer = try symbol("rnp_buffer_destroy")
        inputFromMemory = try symbol("rnp_input_from_memory")
        destroyInput = try symbol("rnp_input_destroy")
        outputToMemory = try symbol("rnp_output_to_memory")
        outputBuffer = try symbol("rnp_output_memory_get_buf")
        destroyOutput = try symbol("rnp_output_destroy")
        loadKeys = try symbol("rnp_load_keys")
        createIterator = try symbol("rnp_identifier_iterator_create")
        nextIdentifier = try symbol("rnp_identifier_iterator_next")
        destroyIterator = try symbol("rnp_identifier_iterator_destroy")
        locateKey = try symbol("rnp_locate_key")
        keyIsPrimary = try symbol("rnp_key_is_primary")
        destroyKey = try symbol("rnp_key_handle_destroy")
        createEncryption = try symbol("rnp_op_encrypt_create")
        addRecipient = try symbol("rnp_op_encrypt_add_recipient")
        setCipher = try symbol("rnp_op_encrypt_set_cipher")
        execute = try symbol("rnp_op_encrypt_execute")
        destroyEncryption = try symbol("rnp_op_encrypt_destroy")
        _ = try Thread(name: "pgp") { [work] in
            Self.quieten()
            while let body = work.take(most: 1).first {
                body()
                wipeDeadStack()
            }
        }
    }
}

/// Owns one key ring of librnp (`rnp_ffi_t`).
private struct RNPSession: ~Copyable {
    private let library: RNP
    private let raw: UnsafeMutableRawPointer

    init(_ library: RNP) throws(VaultError) {
        var raw: UnsafeMutableRawPointer?
        guard library.createFFI(&raw, "GPG", "GPG") == 0, let raw else {
            throw .internal("librnp gives no session")
        }
        self.library = library
        self.raw = raw
        // It would write its complaints to standard error. The descriptor is closed with the session.
        _ = library.setLogDescriptor(raw, open("/dev/null", O_WRONLY | O_CLOEXEC))
    }

    deinit { _ = library.destroyFFI(raw) }

    func encrypt(
        _ secret: SecretBytes, toKeys keys: [UInt8]
    ) throws(VaultError) -> (ciphertext: [UInt8], fingerprint: String) {
        let loaded = keys.withUnsafeBufferPointer { keys in
            withInput(keys) { library.loadKeys(raw, "GPG", $0, publicKeysOnly) } ?? 1
        }
        guard loaded == 0 else { throw PGP.unusable("it cannot be read") }
        let (key, fingerprint) = try firstPrimaryKey()
        defer { _ = library.destroyKey(key) }
        var output: UnsafeMutableRawPointer?
        guard library.outputToMemory(&output, 0) == 0, let output else {
            throw .internal("librnp gives no output")
        }
        defer { _ = library.destroyOutput(output) }
        let done = secret.withBytes { plain in
            withInput(plain.bindMemory(to: UInt8.self)) { input in run(input, output, key) } ?? false
        }
        guard done else { throw PGP.unusable("it cannot encrypt (expired, or for signing only)") }
        var bytes: UnsafeMutablePointer<UInt8>?
        var count = 0
        guard library.outputBuffer(output, &bytes, &count, false) == 0, let bytes else {
            throw .internal("librnp gives no message")
        }
        return (Array(UnsafeBufferPointer(start: bytes, count: count)), fingerprint)
    }

    private var publicKeysOnly: UInt32 { 1 }

    private func run(
        _ input: UnsafeMutableRawPointer, _ output: UnsafeMutableRawPointer, _ key: UnsafeMutableRawPointer
    ) -> Bool {
        var operation: UnsafeMutableRawPointer?
        guard library.createEncryption(&operation, raw, input, output) == 0, let operation else {
            return false
        }
        defer { _ = library.destroyEncryption(operation) }
        return library.setCipher(operation, "AES256") == 0 && library.addRecipient(operation, key) == 0
            && library.execute(operation) == 0
    }

    private func withInput<R>(
        _ bytes: UnsafeBufferPointer<UInt8>, _ body: (UnsafeMutableRawPointer) -> R
    ) -> R? {
        var input: UnsafeMutableRawPointer?
        guard library.inputFromMemory(&input, bytes.baseAddress, bytes.count, false) == 0, let input else {
            return nil
        }
        defer { _ = library.destroyInput(input) }
        return body(input)
    }

    /// The caller destroys the key.
    private func firstPrimaryKey() throws(VaultError) -> (UnsafeMutableRawPointer, String) {
        var iterator: UnsafeMutableRawPointer?
        guard library.createIterator(raw, &iterator, "fingerprint") == 0, let iterator else {
            throw PGP.unusable("it holds no key")
        }
        defer { _ = library.destroyIterator(iterator) }
        var identifier: UnsafePointer<CChar>?
        while library.nextIdentifier(iterator, &identifier) == 0, let fingerprint = identifier {
            var key: UnsafeMutableRawPointer?
            guard library.locateKey(raw, "fingerprint", fingerprint, &key) == 0, let key else { continue }
            var isPrimary = false
            if library.keyIsPrimary(key, &isPrimary) == 0, isPrimary {
                return (key, String(cString: fingerprint).lowercased())
            }
            _ = library.destroyKey(key)
        }
        throw PGP.unusable("it holds no key")
    }
}
