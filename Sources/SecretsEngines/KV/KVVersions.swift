import Base
import PluginKit

/// Version 2: deleting, undeleting and destroying versions. What is not there is passed over.
extension KVEngine {
    private enum Change { case delete, undelete, destroy }

    @Sendable func deleteCurrent(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        try apply(.delete, to: nil, request, &tx)
    }

    @Sendable func deleteVersions(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        try apply(.delete, to: Self.sentVersions(request), request, &tx)
    }

    @Sendable func undeleteVersions(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        try apply(.undelete, to: Self.sentVersions(request), request, &tx)
    }

    @Sendable func destroyVersions(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        try apply(.destroy, to: Self.sentVersions(request), request, &tx)
    }

    /// Changes the state of the versions of these numbers; nil is the current one.
    private func apply(
        _ change: Change, to numbers: [Int]?, _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        let path = try request.writableSecretPath
        let key = Key.secret(path)
        guard let bytes = try tx.get(key) else { return .empty }
        var record = try SecretRecord(bytes, at: key)
        var hasChanged = false
        for number in numbers ?? [record.current] {
            guard let place = record.place(of: number), !record.versions[place].isDestroyed else { continue }
            switch change {
            case .delete:
                // The first deletion's time stands; one that is still to come is brought forward.
                if record.versions[place].isDeleted(at: request.now) { continue }
                record.versions[place].deletion = request.now
            case .undelete:
                record.versions[place].deletion = nil
            case .destroy:
                if record.versions[place].isStoredApart { tx.delete(Key.value(path, version: number)) }
                record.versions[place].isDestroyed = true
                record.versions[place].value = nil
            }
            hasChanged = true
        }
        if hasChanged { tx.put(key, record.encoded()) }
        return .empty
    }

    private static func sentVersions(_ request: LogicalRequest) throws(VaultError) -> [Int] {
        guard let texts = try request.optional(versions), !texts.isEmpty else {
            throw .badRequest("no version number provided: field 'versions': expected a list of numbers")
        }
        var numbers: [Int] = []
        for text in texts {
            guard let number = Int(text), number >= 0 else {
                throw .badRequest("field 'versions': expected a list of numbers")
            }
            numbers.append(number)
        }
        return numbers
    }
}
