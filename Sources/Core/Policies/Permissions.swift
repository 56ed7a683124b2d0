import Base
import PluginKit

extension CapabilitySet {
    /// What an operation needs; nil for those that need nothing.
    init?(_ operation: Operation) {
        switch operation {
        case .read: self = .read
        case .list: self = .list
        case .create: self = .create
        case .update: self = .update
        case .patch: self = .patch
        case .delete: self = .delete
        case .help: return nil
        }
    }
}

extension Permissions {
    /// Adds what another policy gives at the same path: capabilities unite, a refusal swallows the
    /// rest and stays, of two wrapping bounds the smaller one counts.
    mutating func merge(_ other: Permissions) {
        if capabilities.contains(.deny) { return }
        if other.capabilities.contains(.deny) {
            self = Permissions()
            capabilities = .deny
            return
        }
        capabilities.formUnion(other.capabilities)
        minWrappingTTL = Self.smaller(minWrappingTTL, other.minWrappingTTL)
        maxWrappingTTL = Self.smaller(maxWrappingTTL, other.maxWrappingTTL)
        for rule in other.allowed { allowed.merge(rule) }
        for rule in other.denied { denied.merge(rule) }
        for name in other.required where !required.contains(where: { $0.hasSameBytes(as: name) }) {
            required.append(name)
        }
    }

    /// Zero means that there is no bound.
    private static func smaller(_ a: Duration, _ b: Duration) -> Duration {
        a == .zero ? b : b == .zero ? a : min(a, b)
    }

    func decide(
        _ needed: CapabilitySet, _ parameters: [(name: String, value: FieldInput)], _ wrapTTL: Duration?,
        _ requiresSudo: Bool
    ) -> PolicyDecision {
        guard capabilities.contains(needed) else {
            return .denied(capabilities.contains(.deny) ? .explicitDeny : .missingCapability)
        }
        let hasSudo = capabilities.contains(.sudo)
        if requiresSudo && !hasSudo { return .denied(.sudoRequired) }
        if !admits(wrapTTL) { return .denied(.wrappingTTL) }
        let hasParameterRules = !(required.isEmpty && allowed.isEmpty && denied.isEmpty)
        // A list or delete sends no fields that an engine stores.
        let isJudged = needed != .list && needed != .delete
        if hasParameterRules && isJudged, let refusal = refusal(of: parameters) { return .denied(refusal) }
        return .allowed(PolicyGrant(isRoot: false, hasSudo: hasSudo))
    }

    private func admits(_ wrapTTL: Duration?) -> Bool {
        if minWrappingTTL == .zero && maxWrappingTTL == .zero { return true }
        guard let wrapTTL, wrapTTL >= minWrappingTTL else { return false }
        // After a merge the bounds may exclude each other; then nothing fits, as it should be.
        return maxWrappingTTL == .zero || wrapTTL <= maxWrappingTTL
    }

    /// Every field sent must pass, repeated ones each time: which of them an engine takes is its affair.
    private func refusal(of parameters: [(name: String, value: FieldInput)]) -> PolicyRefusal? {
        for name in required
        where !parameters.contains(where: { $0.name.hasSameBytes(as: name) && !$0.value.isNull }) {
            return .missingParameter(name)
        }
        if let first = parameters.first, denied.rule(named: "*") != nil {
            return .deniedParameter(first.name)
        }
        let allowsOthers = allowed.isEmpty || allowed.rule(named: "*") != nil
        for parameter in parameters {
            let name = parameter.name.lowercased()
            if let rule = denied.rule(named: name),
                rule.values.isEmpty
                    || rule.values.contains(where: { $0.matchesInAnyReading(parameter.value) })
            {
                return .deniedParameter(name)
            }
            guard let rule = allowed.rule(named: name) else {
                if allowsOthers { continue }
                return .parameterNotAllowed(name)
            }
            if !rule.values.isEmpty && !rule.values.contains(where: { $0.matches(parameter.value) }) {
                return .parameterNotAllowed(name)
            }
        }
        return nil
    }
}

extension FieldInput {
    fileprivate var isNull: Bool { if case .json(let json) = self { json.isNull } else { false } }
}
