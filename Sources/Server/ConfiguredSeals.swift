import Base
import Core
import Crypto
import PluginKit

/// The seals of a configuration, made by their kinds.
extension Catalog {
    /// - Parameter environment: gives a variable's value; tests pass their own.
    /// - Throws: `.badRequest` that names file, line, setting and what was expected.
    static func makeSeals(
        _ configured: [SealConfiguration], log: Log,
        environment: @escaping @Sendable (String) -> String? = { ConfigurationFiles.environmentValue($0) }
    ) throws(VaultError) -> SealSet {
        var members: [SealSet.Member] = []
        for stanza in inOrder(configured) where stanza.kind != "shamir" {
            guard let kind = sealKinds.first(where: { $0.type == stanza.kind }) else {
                throw .badRequest("\(stanza.place): seal \"\(stanza.kind)\" is not known")
            }
            if members.contains(where: { $0.name == stanza.name }) {
                throw .badRequest(
                    "\(stanza.place): seal \"\(stanza.kind)\": another seal is called '\(stanza.name)' too: "
                        + "expected a 'name' of its own")
            }
            do throws(VaultError) {
                members.append(try member(kind, stanza, log, environment))
            } catch {
                let reason = error.privateCause ?? error.messages.joined(separator: "; ")
                // A seal that is left behind must not keep a server down.
                guard stanza.isDisabled else {
                    throw .badRequest("\(stanza.place): seal \"\(stanza.kind)\": \(reason)")
                }
                log.warn(
                    "a disabled seal cannot be used to migrate from it",
                    ["seal": stanza.name, "reason": reason])
            }
        }
        return SealSet(members, clock: SystemClock(), random: BufferedRandom.shared, log: log)
    }

    private static func inOrder(_ seals: [SealConfiguration]) -> [SealConfiguration] {
        seals.enumerated().sorted { ($0.element.priority, $0.offset) < ($1.element.priority, $1.offset) }
            .map(\.element)
    }

    private static func member<Kind: Seal>(
        _ kind: Kind.Type, _ stanza: SealConfiguration, _ log: Log,
        _ environment: @escaping @Sendable (String) -> String?
    ) throws(VaultError) -> SealSet.Member {
        let known = Set(kind.settings.flatMap { [$0.name] + $0.aliases })
        for key in stanza.options.keys.sorted() where !known.contains(key) {
            log.warn("unknown key in the seal stanza", ["seal": stanza.name, "key": key])
        }
        let context = SealContext(
            settings: SealSettings(stanza.options, environment: environment), clock: SystemClock(),
            random: BufferedRandom.shared, log: log)
        return SealSet.Member(name: stanza.name, isDisabled: stanza.isDisabled, seal: try kind.init(context))
    }
}
