package import Base
package import PluginKit

/// What became of a request.
package enum Outcome: Sendable {
    case success(LogicalResponse)
    case failure(VaultError)
    /// Nothing was done, and nothing of it recorded as done: the active node must be asked.
    case forward

    init(_ result: Result<LogicalResponse, VaultError>) {
        switch result {
        case .success(let response): self = .success(response)
        case .failure(let error): self = .failure(error)
        }
    }
}
