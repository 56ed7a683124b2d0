import Base
import CPosix
import CSSL
import Glibc
import Synchronization

/// Owns one `SSL_CTX`: certificate, key and rules that a listener's sessions share, on every loop.
final class TLSContext: @unchecked Sendable {
    // SAFETY: libssl counts references to a context and locks what sessions share in it; it is not
    // configured any further once `init` returns.
    let raw: OpaquePointer
    /// The names of protocols that a cluster's port chooses from, as its callback reads them.
    private let protocols: UnsafeMutableBufferPointer<UInt8>?

    /// Forward secrecy and authenticated encryption only; TLS 1.3 has nothing else.
    private static let defaultSuites = "ECDHE+AESGCM:ECDHE+CHACHA20"
    /// Sessions remembered for resumption where client certificates are asked for.
    private static let rememberedSessions = 4_096

    init(_ configuration: TLSConfiguration) throws(VaultError) {
        ERR_clear_error()
        guard let raw = SSL_CTX_new(TLS_server_method()) else {
            throw .internal("SSL_CTX_new: \(drainTLSErrors())")
        }
        self.raw = raw
        protocols = nil
        hf_ctx_server_defaults(raw)
        hf_ctx_never_ask(raw)
        hf_ctx_alpn(raw, configuration.offersHTTP2 ? 1 : 0)
        let lowest = configuration.minimumVersion == .v13 ? TLS1_3_VERSION : TLS1_2_VERSION
        let highest = configuration.maximumVersion == .v13 ? TLS1_3_VERSION : TLS1_2_VERSION
        guard lowest <= highest, hf_ctx_versions(raw, lowest, highest) == 1 else {
            throw .badRequest("tls_min_version is above tls_max_version")
        }
        try loadIdentity(configuration)
        try chooseSuites(configuration.cipherSuites)
        try askForCertificates(configuration)
        let name = Array("holdfast".utf8)
        SSL_CTX_set_session_id_context(raw, name, UInt32(name.count))
    }

    /// Takes over a context that is configured already, with the list that its choice of protocols reads.
    init(adopting raw: OpaquePointer, protocols: UnsafeMutableBufferPointer<UInt8>?) {
        self.raw = raw
        self.protocols = protocols
    }

    deinit {
        SSL_CTX_free(raw)
        protocols?.deallocate()
    }

    /// A session for one socket; nil without memory.
    /// - Parameter protocols: for the end that has connected, the protocols that it offers, as libssl wants
    ///   them: each behind a byte of its length. Nil for the end that has accepted.
    func makeSession(socket: Int32, offering protocols: [UInt8]? = nil) -> TLSSession? {
        guard let ssl = SSL_new(raw) else { return nil }
        if let protocols {
            SSL_set_connect_state(ssl)
            // Unlike all others this function answers 0 for success.
            guard SSL_set_alpn_protos(ssl, protocols, UInt32(protocols.count)) == 0 else {
                SSL_free(ssl)
                return nil
            }
        } else {
            SSL_set_accept_state(ssl)
        }
        guard SSL_set_fd(ssl, socket) == 1 else {
            SSL_free(ssl)
            return nil
        }
        return TLSSession(ssl, self)
    }

    private func loadIdentity(_ configuration: TLSConfiguration) throws(VaultError) {
        guard SSL_CTX_use_certificate_chain_file(raw, configuration.certificateFile) == 1 else {
            throw .badRequest("cannot read certificate \(configuration.certificateFile): \(drainTLSErrors())")
        }
        guard SSL_CTX_use_PrivateKey_file(raw, configuration.keyFile, SSL_FILETYPE_PEM) == 1 else {
            throw .badRequest("cannot read private key \(configuration.keyFile): \(drainTLSErrors())")
        }
        guard SSL_CTX_check_private_key(raw) == 1 else {
            throw .badRequest(
                "\(configuration.keyFile) is not the key of \(configuration.certificateFile): "
                    + drainTLSErrors()
            )
        }
    }

    private func chooseSuites(_ names: [String]) throws(VaultError) {
        var chosen: [String] = []
        for name in names {
            // Suites of TLS 1.3 cannot be chosen: all of them are fine, and Vault ignores them here too.
            if name.hasPrefix("TLS_AES_") || name.hasPrefix("TLS_CHACHA20_POLY1305_SHA256") { continue }
            // IANA's name for ChaCha20 suites ends in the hash, which Go's configuration may leave out.
            let standard = name.hasPrefix("TLS_") && name.hasSuffix("_POLY1305") ? name + "_SHA256" : name
            let known =
                name.hasPrefix("TLS_")
                ? OPENSSL_cipher_name(standard).map { String(cString: $0) } ?? "" : name
            guard !known.isEmpty, known != "(NONE)" else {
                throw .badRequest("tls_cipher_suites: '\(name)' is not a cipher suite that is known here")
            }
            chosen.append(known)
        }
        let list = chosen.isEmpty ? Self.defaultSuites : chosen.joined(separator: ":")
        guard SSL_CTX_set_cipher_list(raw, list) == 1 else {
            throw .badRequest("tls_cipher_suites: none of \(list) can be used: \(drainTLSErrors())")
        }
    }

    private func askForCertificates(_ configuration: TLSConfiguration) throws(VaultError) {
        if let file = configuration.clientCAFile {
            guard SSL_CTX_load_verify_locations(raw, file, nil) == 1,
                let names = SSL_load_client_CA_file(file)
            else {
                throw .badRequest("cannot read client CA \(file): \(drainTLSErrors())")
            }
            SSL_CTX_set_client_CA_list(raw, names)
        }
        switch configuration.clientCertificates {
        case .disabled:
            hf_ctx_tickets_only(raw)
            return
        case .request: hf_ctx_accept_any_client(raw)
        case .require:
            guard configuration.clientCAFile != nil else {
                throw .badRequest(
                    "client certificates are required, but there is no tls_client_ca_file to verify them by")
            }
            hf_ctx_require_client(raw)
        }
        hf_ctx_stateful_sessions(raw, Self.rememberedSessions)
    }
}

/// Owns one `SSL`: one connection's TLS state. Used by its loop's thread only.
final class TLSSession {
    /// What became of an operation on a socket that does not block.
    enum Result {
        case done(Int)
        case wantsRead
        case wantsWrite
        case ended
        case failed
    }

    private let ssl: OpaquePointer
    /// Keeps what callbacks of the handshake read.
    private let context: TLSContext
    private var isBroken = false

    fileprivate init(_ ssl: OpaquePointer, _ context: TLSContext) {
        self.ssl = ssl
        self.context = context
    }

    deinit { SSL_free(ssl) }

    /// True while bytes wait inside, of which epoll knows nothing.
    var hasPending: Bool { SSL_has_pending(ssl) == 1 }

    /// The protocol that both ends chose; empty for none.
    var selectedProtocol: String {
        var name = [CChar](repeating: 0, count: 64)
        let count = hf_selected_protocol(ssl, &name, Int32(name.count))
        return String(decoding: name.prefix(Int(count)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// Whether the client has chosen HTTP/2 in its handshake.
    var hasChosenHTTP2: Bool { hf_has_chosen_http2(ssl) == 1 }

    func handshake() -> Result {
        ERR_clear_error()
        let code = SSL_do_handshake(ssl)
        return code == 1 ? .done(0) : outcome(code)
    }

    func read(_ target: UnsafeMutablePointer<UInt8>, _ count: Int) -> Result {
        ERR_clear_error()
        var got = 0
        let code = SSL_read_ex(ssl, target, count, &got)
        return code == 1 ? .done(got) : outcome(code)
    }

    func write(_ bytes: UnsafeRawBufferPointer) -> Result {
        ERR_clear_error()
        var written = 0
        let code = SSL_write_ex(ssl, bytes.baseAddress, bytes.count, &written)
        return code == 1 ? .done(written) : outcome(code)
    }

    /// Says goodbye, so that the peer can tell the end from a cut; does not wait for its answer.
    func shutdown() {
        guard !isBroken, SSL_in_init(ssl) == 0 else { return }
        ERR_clear_error()
        _ = SSL_shutdown(ssl)
        ERR_clear_error()
    }

    /// The peer's certificates, DER, the leaf first.
    func peerCertificates() -> [[UInt8]] {
        (0..<hf_peer_certificates(ssl)).compactMap { index in
            var der: UnsafeMutablePointer<UInt8>?
            let count = hf_peer_certificate_der(ssl, index, &der)
            guard count > 0, let der else { return nil }
            defer { hf_free(der) }
            return Array(UnsafeBufferPointer(start: der, count: Int(count)))
        }
    }

    private func outcome(_ code: Int32) -> Result {
        switch SSL_get_error(ssl, code) {
        case SSL_ERROR_WANT_READ: return .wantsRead
        case SSL_ERROR_WANT_WRITE: return .wantsWrite
        case SSL_ERROR_ZERO_RETURN: return .ended
        default:
            isBroken = true
            return .failed
        }
    }
}

/// What OpenSSL's queue of errors says, emptied.
func drainTLSErrors() -> String {
    var texts: [String] = []
    while texts.count < 4 {
        let code = ERR_get_error()
        if code == 0 { break }
        if let reason = ERR_reason_error_string(code) {
            texts.append(String(cString: reason))
        } else {
            texts.append("error \(code)")
        }
    }
    ERR_clear_error()
    return texts.isEmpty ? "no reason given" : texts.joined(separator: ", ")
}

/// A listener's current TLS context, replaced as a whole when its files change.
final class TLSStore: Sendable {
    /// Which file it is and when it changed, without reading it.
    private struct Stamp: Equatable {
        var device: UInt = 0
        var inode: UInt = 0
        var size = 0
        var seconds = 0
        var nanoseconds = 0
    }
    private struct State {
        var context: TLSContext
        var stamps: [Stamp]
    }

    private let configuration: TLSConfiguration
    private let state: Mutex<State>

    init(_ configuration: TLSConfiguration) throws(VaultError) {
        self.configuration = configuration
        let stamps = Self.stamps(configuration)
        state = Mutex(State(context: try TLSContext(configuration), stamps: stamps))
    }

    var context: TLSContext { state.withLock { $0.context } }

    /// Reads the files again; a failure keeps what was there and says so in the log.
    func reload(_ log: Log) {
        let stamps = Self.stamps(configuration)
        do throws(VaultError) {
            let fresh = try TLSContext(configuration)
            state.withLock { $0 = State(context: fresh, stamps: stamps) }
            log.info("TLS certificate reloaded", ["file": configuration.certificateFile])
        } catch {
            // The stamps are kept all the same: the next attempt is worth making when a file changes again.
            state.withLock { $0.stamps = stamps }
            let cause = error.privateCause ?? error.messages.joined(separator: "; ")
            log.error("TLS certificate not reloaded; the old one stays in use", ["cause": cause])
        }
    }

    /// Reads the files again if one of them was replaced or written to.
    func reloadIfChanged(_ log: Log) {
        let stamps = Self.stamps(configuration)
        if state.withLock({ $0.stamps != stamps }) { reload(log) }
    }

    private static func stamps(_ configuration: TLSConfiguration) -> [Stamp] {
        [configuration.certificateFile, configuration.keyFile, configuration.clientCAFile].map { file in
            var info = stat()
            guard let file, stat(file, &info) == 0 else { return Stamp() }
            return Stamp(
                device: UInt(info.st_dev), inode: UInt(info.st_ino), size: Int(info.st_size),
                seconds: info.st_mtim.tv_sec, nanoseconds: info.st_mtim.tv_nsec)
        }
    }
}
