package import Base
package import Core
package import PluginKit

/// All of `sys/`, one group of routes per file.
package enum SystemRoutes {
    package static func make(
        core: VaultCore, seal: SealController, metrics: SysMetrics? = nil,
        facts: ServerFacts = ServerFacts(), raft: (any RaftControl)? = nil
    ) -> [BoundRoute] {
        let active: @Sendable () -> ActiveCore? = { core.active }
        var routes: [BoundRoute] = []
        func add<Group>(_ group: Group, _ table: [Route<Group>]) { routes += table.map { $0.bind(group) } }
        add(SysSeal(core: core, seal: seal), SysSeal.routes)
        add(SysLeader(core: core), SysLeader.routes)
        add(SysSealBackends(seal: seal), SysSealBackends.routes)
        add(SysMounts(registry: core.mounts, random: core.random), SysMounts.routes)
        add(SysLockedUsers(registry: core.mounts), SysLockedUsers.routes)
        add(SysPolicies(), SysPolicies.routes)
        add(SysCapabilities(active: active), SysCapabilities.routes)
        add(SysAudit(broker: core.audit, random: core.random), SysAudit.routes)
        add(SysKeys(keys: KeyService(active: active)), SysKeys.routes)
        add(SysRekey(core: core, seal: seal, target: .barrier), SysRekey.routes(.barrier))
        add(SysRekey(core: core, seal: seal, target: .recovery), SysRekey.routes(.recovery))
        add(SysGenerateRoot(generation: RootGeneration(core: core, seal: seal)), SysGenerateRoot.routes)
        add(SysConfig(sanitized: facts.sanitizedConfiguration), SysConfig.routes)
        add(SysHost(core: core), SysHost.routes)
        add(SysMonitor(monitors: core.monitors), SysMonitor.routes)
        add(SysQuotas(registry: core.mounts), SysQuotas.routes)
        add(SysLoggers(log: core.log), SysLoggers.routes)
        add(SysPlugins(registry: core.mounts, random: core.random), SysPlugins.routes)
        add(SysOpenAPI(active: active), SysOpenAPI.routes)
        add(SysInternal(active: active), SysInternal.routes)
        add(SysLeases(clock: core.clock, random: core.random, active: active), SysLeases.routes)
        add(SysWrapping(active: active), SysWrapping.routes)
        add(SysTools(random: core.random), SysTools.routes)
        add(SysPasswordPolicies(random: core.random), SysPasswordPolicies.routes)
        if let metrics { add(metrics, SysMetrics.routes) }
        if let raft {
            add(SysRaft(control: raft), SysRaft.routes)
            add(SysRaftAutopilot(control: raft), SysRaftAutopilot.routes)
            add(SysRaftSnapshot(control: raft), SysRaftSnapshot.routes)
            add(SysRaftSnapshotAuto(control: raft), SysRaftSnapshotAuto.routes)
        }
        if facts.hasRawStorage { add(SysRaw(), SysRaw.routes) }
        return routes
    }
}

/// What the endpoints tell of the process that they run in, which only the server knows.
package struct ServerFacts: Sendable {
    /// The configuration as it may be shown: without a secret.
    package var sanitizedConfiguration: @Sendable () -> JSONValue = { .object([]) }

    /// Whether the configuration opens `sys/raw`.
    package var hasRawStorage = false

    package init() {}
}
