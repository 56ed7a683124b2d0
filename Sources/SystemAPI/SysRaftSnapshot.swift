import Base
package import PluginKit

/// `sys/storage/raft/snapshot`: the whole state of the cluster, out and in.
package struct SysRaftSnapshot: Sendable {
    private let control: any RaftControl

    /// - Parameter control: does what the endpoints ask for.
    package init(control: any RaftControl) { self.control = control }

    private static let upload = Field<String>(
        required: "upload", "Name of the upload: 8 to 64 letters and digits.")
    private static let offset = Field<Int>(required: "offset", "Where in the archive the piece stands.")
    private static let force = Field<Bool>(
        "force", default: false, "Take a snapshot of another cluster as well.")

    /// The endpoints.
    package static var routes: [Route<Self>] {
        [
            Route(
                .read, "storage/raft/snapshot", "Save the cluster's state as an archive.", .thisNode,
                runAsync: Self.save),
            Route(
                .update, "storage/raft/snapshot", "Restore the cluster's state from an archive.", .rawBody,
                runAsync: Self.restore),
            Route(
                .update, "storage/raft/snapshot-force",
                "Restore the state of another cluster from an archive.", .rawBody, runAsync: Self.forced),
            Route(
                .update, "storage/raft/snapshot-upload/:upload/:offset",
                "Hand over a piece of an archive that is too large for one request.", .rawBody,
                fields: upload, offset, runAsync: Self.take),
            Route(
                .update, "storage/raft/snapshot-upload/:upload", "Restore the state from those pieces.",
                fields: upload, force, runAsync: Self.restoreUpload),
            Route(
                .delete, "storage/raft/snapshot-upload/:upload", "Forget those pieces.", fields: upload,
                runAsync: Self.forgetUpload),
        ]
    }

    private func save(
        _ request: LogicalRequest, _ transactions: any Transactions
    ) async throws(VaultError) -> LogicalResponse {
        var response = LogicalResponse()
        response.stream = try await control.saveSnapshot()
        return response
    }

    private func restore(
        _ request: LogicalRequest, _ transactions: any Transactions
    ) async throws(VaultError) -> LogicalResponse {
        try await control.restoreSnapshot(try archive(request), isForced: false)
        return .empty
    }

    private func forced(
        _ request: LogicalRequest, _ transactions: any Transactions
    ) async throws(VaultError) -> LogicalResponse {
        try await control.restoreSnapshot(try archive(request), isForced: true)
        return .empty
    }

    private func take(
        _ request: LogicalRequest, _ transactions: any Transactions
    ) async throws(VaultError) -> LogicalResponse {
        let offset = try request[Self.offset]
        guard offset >= 0 else { throw .badRequest("offset: expected 0 or more") }
        try await control.takePiece(try archive(request), at: offset, of: try uploadName(request))
        return .empty
    }

    private func restoreUpload(
        _ request: LogicalRequest, _ transactions: any Transactions
    ) async throws(VaultError) -> LogicalResponse {
        try await control.restoreUpload(try uploadName(request), isForced: try request[Self.force])
        return .empty
    }

    private func forgetUpload(
        _ request: LogicalRequest, _ transactions: any Transactions
    ) async throws(VaultError) -> LogicalResponse {
        try await control.forgetUpload(try uploadName(request))
        return .empty
    }

    private func uploadName(_ request: LogicalRequest) throws(VaultError) -> String {
        let name = try request[Self.upload]
        let isGood =
            (8...64).contains(name.utf8.count)
            && name.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber) }
        guard isGood else { throw .badRequest("upload: expected 8 to 64 letters and digits") }
        return name
    }

    private func archive(_ request: LogicalRequest) throws(VaultError) -> [UInt8] {
        guard !request.rawBody.isEmpty else {
            throw .badRequest("expected the archive of a snapshot as the request's body")
        }
        return request.rawBody
    }
}
