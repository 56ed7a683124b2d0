import Base
import CPKCS11

/// A session on a token, logged in. Belongs to its module's thread.
final class PKCS11Session {
    private let functions: PKCS11Module.Functions
    private let handle: CK_SESSION_HANDLE

    private var list: CK_FUNCTION_LIST { functions.list.pointee }

    init(_ functions: PKCS11Module.Functions, _ token: PKCS11Token) throws(VaultError) {
        self.functions = functions
        let list = functions.list.pointee
        let slot = try Self.slot(list, token)
        var handle: CK_SESSION_HANDLE = 0
        try PKCS11Code.check(
            list.C_OpenSession?(slot, CK_FLAGS(CKF_SERIAL_SESSION), nil, nil, &handle) ?? unsupported,
            "C_OpenSession")
        self.handle = handle
        let code = token.pin.withBytes { pin in
            list.C_Login?(
                handle, CK_USER_TYPE(CKU_USER),
                UnsafeMutablePointer(mutating: pin.baseAddress?.assumingMemoryBound(to: CK_BYTE.self)),
                CK_ULONG(pin.count)) ?? unsupported
        }
        if code != CK_RV(CKR_USER_ALREADY_LOGGED_IN) {
            do throws(VaultError) { try PKCS11Code.check(code, "C_Login") } catch {
                close()
                throw error
            }
        }
    }

    func close() { _ = list.C_CloseSession?(handle) }

    // MARK: Tokens

    private static func slot(_ list: CK_FUNCTION_LIST, _ token: PKCS11Token) throws(VaultError) -> CK_SLOT_ID
    {
        if let slot = token.slot { return CK_SLOT_ID(slot) }
        var count: CK_ULONG = 0
        try PKCS11Code.check(list.C_GetSlotList?(CK_BBOOL(1), nil, &count) ?? unsupported, "C_GetSlotList")
        var slots = [CK_SLOT_ID](repeating: 0, count: Int(count))
        try PKCS11Code.check(list.C_GetSlotList?(CK_BBOOL(1), &slots, &count) ?? unsupported, "C_GetSlotList")
        var found: [CK_SLOT_ID] = []
        var others: [String] = []
        for slot in slots.prefix(Int(count)) {
            var info = CK_TOKEN_INFO()
            guard list.C_GetTokenInfo?(slot, &info) == CK_RV(CKR_OK) else { continue }
            let label = withUnsafeBytes(of: info.label) { label in
                String(decoding: label, as: UTF8.self).trimmingPadding()
            }
            if label == token.label { found.append(slot) } else if !label.isEmpty { others.append(label) }
        }
        guard let slot = found.first else {
            // It may be away for now, as one that was pulled out.
            let known = others.isEmpty ? "none" : others.sorted().joined(separator: ", ")
            throw .unavailable(
                "the HSM has no token with the label '\(token.label ?? "")' (it has: \(known))",
                retryAfterSeconds: 0)
        }
        guard found.count == 1 else {
            throw .badRequest(
                "'token_label': \(found.count) tokens have the label '\(token.label ?? "")': name the slot")
        }
        return slot
    }

    // MARK: Keys

    /// The keys of a class that have this label and this id, where these are given.
    func keys(_ keyClass: CK_OBJECT_CLASS, label: String?, id: [UInt8]?) throws(VaultError) -> [PKCS11Key] {
        var classValue = keyClass
        var labelValue = Array((label ?? "").utf8)
        var idValue = id ?? []
        var handles = [CK_OBJECT_HANDLE](repeating: 0, count: 16)
        var count: CK_ULONG = 0
        let (list, handle) = (self.list, self.handle)
        let code = withUnsafeMutableBytes(of: &classValue) { classBytes in
            labelValue.withUnsafeMutableBytes { labelBytes in
                idValue.withUnsafeMutableBytes { idBytes -> CK_RV in
                    var wanted = [attribute(CKA_CLASS, classBytes)]
                    if label != nil { wanted.append(attribute(CKA_LABEL, labelBytes)) }
                    if id != nil { wanted.append(attribute(CKA_ID, idBytes)) }
                    let begun =
                        list.C_FindObjectsInit?(handle, &wanted, CK_ULONG(wanted.count)) ?? unsupported
                    if begun != CK_RV(CKR_OK) { return begun }
                    let found = list.C_FindObjects?(handle, &handles, CK_ULONG(handles.count), &count)
                    _ = list.C_FindObjectsFinal?(handle)
                    return found ?? unsupported
                }
            }
        }
        try PKCS11Code.check(code, "C_FindObjects")
        var keys: [PKCS11Key] = []
        for object in handles.prefix(Int(count)) {
            keys.append(
                PKCS11Key(
                    handle: object, label: String(decoding: try text(object, CKA_LABEL), as: UTF8.self),
                    id: try text(object, CKA_ID)))
        }
        return keys
    }

    /// An attribute of an object, empty when it has none.
    private func text(_ object: CK_OBJECT_HANDLE, _ type: UInt) throws(VaultError) -> [UInt8] {
        var value = [UInt8](repeating: 0, count: 1_024)
        let (list, handle) = (self.list, self.handle)
        return value.withUnsafeMutableBytes { bytes -> [UInt8] in
            var wanted = attribute(type, bytes)
            let code = list.C_GetAttributeValue?(handle, object, &wanted, 1) ?? unsupported
            guard code == CK_RV(CKR_OK), wanted.ulValueLen <= CK_ULONG(bytes.count) else { return [] }
            return Array(bytes.prefix(Int(wanted.ulValueLen)))
        }
    }

    // MARK: Encrypting

    /// Runs one `C_Encrypt` or `C_Decrypt` of a short text.
    func crypt(
        _ direction: Direction, _ key: PKCS11Key, _ mechanism: inout CK_MECHANISM,
        _ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer
    ) throws(VaultError) -> Int {
        let (list, handle) = (self.list, self.handle)
        let begin = direction == .encrypt ? list.C_EncryptInit : list.C_DecryptInit
        let run = direction == .encrypt ? list.C_Encrypt : list.C_Decrypt
        let name = direction == .encrypt ? "C_Encrypt" : "C_Decrypt"
        try PKCS11Code.check(begin?(handle, &mechanism, key.handle) ?? unsupported, "\(name)Init")
        var count = CK_ULONG(output.count)
        let code = run?(
            handle, UnsafeMutablePointer(mutating: input.baseAddress?.assumingMemoryBound(to: CK_BYTE.self)),
            CK_ULONG(input.count), output.baseAddress?.assumingMemoryBound(to: CK_BYTE.self), &count)
        try PKCS11Code.check(code ?? unsupported, name)
        guard count <= CK_ULONG(output.count) else {
            throw .unavailable("the HSM gave more than it was asked for", retryAfterSeconds: 0)
        }
        return Int(count)
    }

    enum Direction { case encrypt, decrypt }
}

/// A key in a token.
struct PKCS11Key {
    let handle: CK_OBJECT_HANDLE
    let label: String
    let id: [UInt8]
}

private let unsupported = CK_RV(CKR_FUNCTION_NOT_SUPPORTED)

private func attribute(_ type: UInt, _ value: UnsafeMutableRawBufferPointer) -> CK_ATTRIBUTE {
    var attribute = CK_ATTRIBUTE()
    attribute.type = CK_ATTRIBUTE_TYPE(type)
    attribute.pValue = value.baseAddress
    attribute.ulValueLen = CK_ULONG(value.count)
    return attribute
}

extension String {
    /// Fixed-length fields end in blanks; some modules fill up with zeros.
    fileprivate func trimmingPadding() -> String {
        var text = self[...]
        while let last = text.unicodeScalars.last, last == " " || last == "\0" {
            text.unicodeScalars.removeLast()
        }
        return String(text)
    }
}
