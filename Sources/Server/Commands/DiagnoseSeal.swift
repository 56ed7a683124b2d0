import Base
import Core
import PluginKit

/// The seals as a start would use them: each is asked to wrap and unwrap a key that is of no use.
enum SealChecks {
    @Sendable static func run(_ configuration: ServerConfiguration) -> Diagnosis {
        let name = "Check Seal"
        let stanzas = configuration.seals.filter { $0.kind != "shamir" }
        if stanzas.isEmpty {
            return Diagnosis(name, .ok, "shamir: each start waits for shares of the unseal key")
        }
        do throws(VaultError) {
            let seals = try Catalog.makeSeals(configuration.seals, log: Log(level: .error, format: .text))
            let ready = Set(seals.members.map(\.name))
            let lost = stanzas.filter { !ready.contains($0.name) }.map { stanza in
                Diagnosis("Check Seal \(stanza.name)", .warning, "disabled, and its settings make no sense")
            }
            return Diagnosis(name, checks: seals.members.map { check($0, of: seals) } + lost)
        } catch { return Diagnosis(name, failed: error) }
    }

    private static func check(_ member: SealSet.Member, of seals: SealSet) -> Diagnosis {
        let name = "Check Seal \(member.name)"
        let facts = member.seal.facts.map { "\($0.name): \($0.value)" }.joined(separator: ", ")
        guard let failure = seals.failure(of: member) else { return Diagnosis(name, .ok, facts) }
        // One that is left behind, or one of several, does not keep the server down.
        let isNeeded = !member.isDisabled && seals.members.filter { !$0.isDisabled }.count == 1
        return Diagnosis(name, isNeeded ? .failure : .warning, "\(failure) (\(facts))")
    }
}
