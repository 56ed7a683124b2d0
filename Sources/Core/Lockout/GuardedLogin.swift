import Base
import PluginKit

/// Puts the lockout around the login routes of a mount.
///
/// A locked name is refused whatever the guess, also when the lock came while the guess was being
/// checked: of many guesses sent at once, none beyond the threshold tells anything.
struct GuardedLogin: Sendable {
    let lockouts: LoginLockouts
    let accessor: String
    let rules: LockoutRules
    let loginName: @Sendable (LogicalRequest) -> String?

    func guarding(_ routes: [BoundRoute]) -> [BoundRoute] {
        if rules.isDisabled { return routes }
        return routes.map { route in
            let isLogin =
                route.description.operation == .update
                && route.description.traits.contains(.unauthenticated)
            guard isLogin else { return route }
            switch route.action {
            case .sync(let handler): return route.running(.sync(guarded(handler)))
            case .async(let handler): return route.running(.async(guarded(handler)))
            }
        }
    }

    private func guarded(_ handler: @escaping SyncHandler) -> SyncHandler {
        { request, tx throws(VaultError) in
            guard let name = name(request) else { return try handler(request, &tx) }
            try admit(name, request)
            do throws(VaultError) {
                let response = try handler(request, &tx)
                return try settle(response, name, request)
            } catch { throw note(error, name, request) }
        }
    }

    private func guarded(_ handler: @escaping AsyncHandler) -> AsyncHandler {
        { request, transactions async throws(VaultError) in
            guard let name = name(request) else { return try await handler(request, transactions) }
            try admit(name, request)
            do throws(VaultError) {
                let response = try await handler(request, transactions)
                return try settle(response, name, request)
            } catch { throw note(error, name, request) }
        }
    }

    private func name(_ request: LogicalRequest) -> LoginLockouts.Name? {
        loginName(request).map { LoginLockouts.Name(accessor: accessor, name: $0) }
    }

    private func admit(_ name: LoginLockouts.Name, _ request: LogicalRequest) throws(VaultError) {
        if lockouts.isLocked(name, now: request.now) { throw .permissionDenied }
    }

    private func settle(
        _ response: LogicalResponse, _ name: LoginLockouts.Name, _ request: LogicalRequest
    ) throws(VaultError) -> LogicalResponse {
        try admit(name, request)
        if response.auth != nil { lockouts.succeed(name) }
        return response
    }

    private func note(
        _ error: VaultError, _ name: LoginLockouts.Name, _ request: LogicalRequest
    ) -> VaultError {
        guard case .invalidCredentials = error else { return error }
        if lockouts.isLocked(name, now: request.now) { return .permissionDenied }
        lockouts.fail(name, rules, now: request.now)
        return error
    }
}
