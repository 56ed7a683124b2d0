import Base
import CPKCS11
import CPosix
import Glibc
import Synchronization

/// A PKCS #11 module: the driver of an HSM, opened by its path and used from one thread of its own.
///
/// A session on each token stays open and logged in, for logging in is slow on some HSMs, audited on others,
/// and writes to the disk with SoftHSM. After work that failed, the module is finalized and begins anew with
/// the next: so a token that came back, or one that was made since, is found.
final class PKCS11Module: Sendable {
    /// Seconds for one piece of work: a seal must have ended within 30.
    private static let workSeconds = 20

    let path: String
    private let thread: DeadlineThread
    /// Touched by `thread` alone.
    private let driver = Guarded(Driver())

    /// A process may initialise a module once, so all who name the same path share it.
    private static let modules = Mutex<[String: PKCS11Module]>([:])

    static func module(_ path: String) -> PKCS11Module {
        modules.withLock { modules in
            if let known = modules[path] { return known }
            let module = PKCS11Module(path)
            modules[path] = module
            return module
        }
    }

    private init(_ path: String) {
        self.path = path
        thread = DeadlineThread(name: "pkcs11", seconds: Self.workSeconds)
    }

    /// Runs `work` with a session on the token, where the PIN has been given; a second time when the session
    /// that was open turns out to be none any more.
    /// - Throws: what `work` throws, and what `PKCS11Session` says of its beginning.
    func withSession<Result: Sendable>(
        _ token: PKCS11Token, _ work: @escaping @Sendable (PKCS11Session) throws(VaultError) -> Result
    ) throws(VaultError) -> Result {
        try thread.run("the PKCS #11 module \(path)") { [path, driver] () throws(VaultError) -> Result in
            try driver.use { (driver: Driver) throws(VaultError) -> Result in
                let wasOpen = driver.isOpen(token)
                do throws(VaultError) { return try work(try driver.session(token, path)) } catch {
                    driver.reset()
                    guard case .unavailable = error, wasOpen else { throw error }
                }
                do throws(VaultError) { return try work(try driver.session(token, path)) } catch {
                    driver.reset()
                    throw error
                }
            }
        }
    }

    private final class Driver {
        private var functions: Functions?
        private var sessions: [(token: PKCS11Token, session: PKCS11Session)] = []

        func isOpen(_ token: PKCS11Token) -> Bool { sessions.contains { $0.token.isSame(as: token) } }

        func session(_ token: PKCS11Token, _ path: String) throws(VaultError) -> PKCS11Session {
            if let known = sessions.first(where: { $0.token.isSame(as: token) }) {
                if known.token.pin == token.pin { return known.session }
                // To a token that has somebody logged in, every PIN would do.
                reset()
            }
            let functions = if let known = self.functions { known } else { try Functions(path) }
            self.functions = functions
            try functions.initialize()
            let session = try PKCS11Session(functions, token)
            sessions.append((token, session))
            return session
        }

        func reset() {
            sessions = []
            functions?.finalize()
        }
    }

    /// The module's table of functions. Opened once and never closed: drivers seldom survive that.
    final class Functions {
        let list: UnsafeMutablePointer<CK_FUNCTION_LIST>

        init(_ path: String) throws(VaultError) {
            guard let handle = dlopen(path, RTLD_NOW | RTLD_LOCAL) else {
                let reason = if let text = dlerror() { String(cString: text) } else { "unknown" }
                throw .badRequest("'lib': the PKCS #11 module cannot be opened: \(reason)")
            }
            guard let address = dlsym(handle, "C_GetFunctionList") else {
                throw .badRequest("'lib': \(path) is no PKCS #11 module: it has no C_GetFunctionList")
            }
            // SAFETY: the standard fixes this function's type.
            let get = unsafeBitCast(address, to: cpkcs11_get_function_list.self)
            var list: UnsafeMutablePointer<CK_FUNCTION_LIST>?
            guard get(&list) == CK_RV(CKR_OK), let list else {
                throw .badRequest("'lib': the PKCS #11 module \(path) gives no list of its functions")
            }
            self.list = list
        }

        func initialize() throws(VaultError) {
            var arguments = CK_C_INITIALIZE_ARGS()
            arguments.flags = CK_FLAGS(CKF_OS_LOCKING_OK)
            let code = list.pointee.C_Initialize?(&arguments) ?? CK_RV(CKR_FUNCTION_NOT_SUPPORTED)
            if code != CK_RV(CKR_CRYPTOKI_ALREADY_INITIALIZED) { try PKCS11Code.check(code, "C_Initialize") }
        }

        func finalize() { _ = list.pointee.C_Finalize?(nil) }
    }
}

/// Which token of a module, and how to log in to it.
struct PKCS11Token: Sendable {
    /// Nil: the slot is found by the token's label.
    var slot: UInt?
    var label: String?
    var pin: SecretBytes

    /// Whether both name the same token in the same way.
    func isSame(as other: PKCS11Token) -> Bool { slot == other.slot && label == other.label }
}

/// What modules answer.
enum PKCS11Code {
    private static let names: [CK_RV: String] = [
        CK_RV(CKR_HOST_MEMORY): "CKR_HOST_MEMORY", CK_RV(CKR_SLOT_ID_INVALID): "CKR_SLOT_ID_INVALID",
        CK_RV(CKR_GENERAL_ERROR): "CKR_GENERAL_ERROR", CK_RV(CKR_FUNCTION_FAILED): "CKR_FUNCTION_FAILED",
        CK_RV(CKR_ARGUMENTS_BAD): "CKR_ARGUMENTS_BAD", CK_RV(CKR_DATA_INVALID): "CKR_DATA_INVALID",
        CK_RV(CKR_DATA_LEN_RANGE): "CKR_DATA_LEN_RANGE", CK_RV(CKR_DEVICE_ERROR): "CKR_DEVICE_ERROR",
        CK_RV(CKR_DEVICE_MEMORY): "CKR_DEVICE_MEMORY", CK_RV(CKR_DEVICE_REMOVED): "CKR_DEVICE_REMOVED",
        CK_RV(CKR_ENCRYPTED_DATA_INVALID): "CKR_ENCRYPTED_DATA_INVALID",
        CK_RV(CKR_ENCRYPTED_DATA_LEN_RANGE): "CKR_ENCRYPTED_DATA_LEN_RANGE",
        CK_RV(CKR_FUNCTION_NOT_SUPPORTED): "CKR_FUNCTION_NOT_SUPPORTED",
        CK_RV(CKR_KEY_HANDLE_INVALID): "CKR_KEY_HANDLE_INVALID",
        CK_RV(CKR_KEY_SIZE_RANGE): "CKR_KEY_SIZE_RANGE",
        CK_RV(CKR_KEY_TYPE_INCONSISTENT): "CKR_KEY_TYPE_INCONSISTENT",
        CK_RV(CKR_KEY_FUNCTION_NOT_PERMITTED): "CKR_KEY_FUNCTION_NOT_PERMITTED",
        CK_RV(CKR_MECHANISM_INVALID): "CKR_MECHANISM_INVALID",
        CK_RV(CKR_MECHANISM_PARAM_INVALID): "CKR_MECHANISM_PARAM_INVALID",
        CK_RV(CKR_PIN_INCORRECT): "CKR_PIN_INCORRECT", CK_RV(CKR_PIN_INVALID): "CKR_PIN_INVALID",
        CK_RV(CKR_PIN_LEN_RANGE): "CKR_PIN_LEN_RANGE", CK_RV(CKR_PIN_EXPIRED): "CKR_PIN_EXPIRED",
        CK_RV(CKR_PIN_LOCKED): "CKR_PIN_LOCKED", CK_RV(CKR_SESSION_CLOSED): "CKR_SESSION_CLOSED",
        CK_RV(CKR_SESSION_COUNT): "CKR_SESSION_COUNT",
        CK_RV(CKR_SESSION_HANDLE_INVALID): "CKR_SESSION_HANDLE_INVALID",
        CK_RV(CKR_TOKEN_NOT_PRESENT): "CKR_TOKEN_NOT_PRESENT",
        CK_RV(CKR_TOKEN_NOT_RECOGNIZED): "CKR_TOKEN_NOT_RECOGNIZED",
        CK_RV(CKR_USER_NOT_LOGGED_IN): "CKR_USER_NOT_LOGGED_IN",
        CK_RV(CKR_USER_PIN_NOT_INITIALIZED): "CKR_USER_PIN_NOT_INITIALIZED",
        CK_RV(CKR_CRYPTOKI_NOT_INITIALIZED): "CKR_CRYPTOKI_NOT_INITIALIZED",
        CK_RV(CKR_BUFFER_TOO_SMALL): "CKR_BUFFER_TOO_SMALL",
    ]

    static func name(_ code: CK_RV) -> String { names[code] ?? "0x" + String(code, radix: 16) }

    /// - Throws: unless the code is `CKR_OK`: `.forbidden` for a wrong PIN (not for one that is locked or has
    ///   expired: asking again does no harm then), `.badRequest` for what the configuration got wrong, else
    ///   `.unavailable`.
    static func check(_ code: CK_RV, _ what: String) throws(VaultError) {
        if code == CK_RV(CKR_OK) { return }
        let text = "the HSM answers \(name(code)) to \(what)"
        switch code {
        case CK_RV(CKR_PIN_INCORRECT), CK_RV(CKR_PIN_INVALID), CK_RV(CKR_PIN_LEN_RANGE):
            throw .forbidden(text)
        case CK_RV(CKR_SLOT_ID_INVALID), CK_RV(CKR_MECHANISM_INVALID), CK_RV(CKR_MECHANISM_PARAM_INVALID),
            CK_RV(CKR_KEY_TYPE_INCONSISTENT), CK_RV(CKR_KEY_FUNCTION_NOT_PERMITTED),
            CK_RV(CKR_KEY_SIZE_RANGE),
            CK_RV(CKR_ARGUMENTS_BAD), CK_RV(CKR_FUNCTION_NOT_SUPPORTED), CK_RV(CKR_ENCRYPTED_DATA_INVALID),
            CK_RV(CKR_ENCRYPTED_DATA_LEN_RANGE), CK_RV(CKR_DATA_LEN_RANGE), CK_RV(CKR_DATA_INVALID):
            throw .badRequest(text)
        default: throw .unavailable(text, retryAfterSeconds: 0)
        }
    }
}
