import Base
import PluginKit

/// The elements of `batch_input`: one request's many texts. Body limits bound their number (10,000).
enum Batch {
    static let field = Field<RawJSON>(
        "batch_input", "Many texts in one request: a list of objects with the fields of one.")

    /// Nil when the request is about one text.
    /// - Throws: `.badRequest` when it is not a list of objects with something in it.
    static func elements(_ request: LogicalRequest) throws(VaultError) -> [RawJSON]? {
        guard let sent = try request.optional(field) else { return nil }
        guard sent.kind == .array else {
            throw .badRequest("field 'batch_input': expected a list of objects")
        }
        let elements = sent.elements
        if elements.isEmpty { throw .badRequest("missing batch input to process") }
        for (place, element) in elements.enumerated() where element.kind != .object {
            throw .badRequest("batch_input[\(place)]: expected an object")
        }
        return elements
    }

    /// Runs `one` on each element, or on the request itself when there is no batch.
    ///
    /// What is wrong with an element is told in its place in the answer, and the others are done; `failed`
    /// then adds what its clients expect to find beside the error. `one` must write nothing unless it
    /// succeeds.
    static func answer<Item>(
        _ items: [Item], isBatch: Bool, failed: (inout JSONWriter) -> Void = { _ in },
        one: (Item, inout JSONWriter) throws(VaultError) -> Void
    ) throws(VaultError) -> LogicalResponse {
        var writer = JSONWriter()
        writer.beginObject()
        if isBatch {
            writer.name("batch_results")
            writer.beginArray()
            for item in items {
                writer.beginObject()
                do throws(VaultError) { try one(item, &writer) } catch {
                    guard case .badRequest(let text) = error else { throw error }
                    failed(&writer)
                    writer.field("error", text)
                }
                writer.endObject()
            }
            writer.endArray()
        } else if let item = items.first {
            try one(item, &writer)
        }
        writer.endObject()
        return LogicalResponse(data: .raw(RawJSON(trusted: writer.bytes)))
    }
}

extension CipherItem {
    /// The fields of a request about one text.
    init(_ request: LogicalRequest) throws(VaultError) {
        plaintext = try request.optional(TransitEngine.plaintext)
        ciphertext = try request.optional(TransitEngine.ciphertext)
        context = try request.optional(TransitEngine.keyContext)
        nonce = try request.optional(TransitEngine.nonce)
        associatedData = try request.optional(TransitEngine.associatedData)
        version = RawJSON(trusted: JSONValue.int(try request[TransitEngine.keyVersion]).encoded())
    }

    /// The fields of one element of a batch.
    init(_ element: RawJSON) {
        element.forEachMember { name, value in
            let value = value.isNull ? nil : value
            switch name {
            case "plaintext": plaintext = value
            case "ciphertext": ciphertext = value
            case "context": context = value
            case "nonce": nonce = value
            case "associated_data": associatedData = value
            case "key_version": version = value
            default: break
            }
        }
    }

    /// Whether a context was sent that is not empty.
    var hasContext: Bool {
        guard let context else { return false }
        return context.kind != .string || context.bytes.count > 2
    }
}
