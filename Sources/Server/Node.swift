package import Base
package import Core
import Crypto
import Glibc
package import Net
import PluginKit
import SecretsEngines
import SystemAPI

/// One server process put together: storage, core, API and listeners.
package final class Node: Sendable {
    /// Seconds that running requests get when the server stops.
    private static let graceSeconds = 10

    /// What serves requests while the server is unsealed.
    package let core: VaultCore
    /// What initialises and unseals it.
    package let seal: SealController
    /// The listeners.
    package let http: HTTPServer
    private let page: MetricsPage
    private let metrics = MetricsThread()
    private let telemetry: TelemetryConfiguration
    private let hostName: String
    private let cluster: NodeCluster?
    private let joining: JoinController?

    /// Opens the storage, binds the listeners and puts everything together; nothing is answered yet.
    /// - Throws: `.badRequest` that names what is wrong with the configuration, or `.corrupted` storage.
    package init(_ configuration: ServerConfiguration, log: Log) throws(VaultError) {
        guard let storage = configuration.storage else {
            throw .badRequest("storage: expected a storage stanza")
        }
        let clock = SystemClock()
        let random = BufferedRandom.shared
        let backend = try Catalog.openStorage(storage.type, storage.options, log: log)
        let mounts = MountRegistry(
            secrets: Catalog.secretFactories, auth: Catalog.authFactories,
            defaultTTL: configuration.defaultLeaseTTL,
            maxTTL: configuration.maxLeaseTTL, lockouts: configuration.lockouts, clock: clock, random: random,
            log: log)
        let audit = AuditBroker(kinds: Catalog.auditKinds, clock: clock, random: random, log: log)
        let hostName = Self.hostName()
        let cluster = try NodeCluster(
            backend, configuration, hostName: hostName, clock: clock, random: random, log: log)
        core = VaultCore(
            backend: backend, mounts: mounts, audit: audit, clock: clock, random: random, log: log,
            role: cluster?.role)
        seal = try SealController(
            core: core, clusterName: configuration.clusterName,
            seals: try Catalog.makeSeals(configuration.seals, log: log))
        let connected = cluster?.connect(core, seal)
        self.cluster = cluster
        joining = connected?.1
        let page = MetricsPage(
            core: core, seals: seal.seals, settings: configuration.telemetry, mountTypes: Catalog.mountTypes,
            clock: clock)
        var facts = ServerFacts()
        facts.sanitizedConfiguration = { configuration.sanitized }
        facts.hasRawStorage = configuration.hasRawStorageEndpoint
        let systemRoutes = SystemRoutes.make(
            core: core, seal: seal, metrics: SysMetrics(render: page.render), facts: facts,
            raft: connected?.0)
        mounts.setBuiltIn("sys/", systemRoutes)
        let context = MountContext(
            uuid: "", accessor: "", path: "cubbyhole/", clock: clock, random: random, log: log)
        mounts.setBuiltIn("cubbyhole/", try Catalog.cubbyhole.init(context).mountRoutes)
        let dispatcher = Dispatcher(
            systemRoutes: RouteTable(systemRoutes), mounts: mounts, inFlight: core.inFlight, log: log,
            gate: core.gate
        ) { [core] in core.active }
        var listeners: [Net.ListenerConfiguration] = []
        var rules: [ListenerRules] = []
        var headers = configuration.sendsHostnameHeader ? [("X-Vault-Hostname", hostName)] : []
        if configuration.sendsRaftNodeHeader, let cluster {
            headers.append(("X-Vault-Raft-Node-ID", cluster.nodeID))
        }
        for listener in configuration.listeners {
            let limits = listener.limits(maxRequestDuration: configuration.defaultMaxRequestDuration)
            listeners.append(try listener.forNet(limits))
            rules.append(ListenerRules(listener, limits: limits, more: headers))
        }
        let front = APIFront(
            dispatcher: dispatcher, rateLimiter: core.rateLimiter, audit: audit, rules: rules,
            cors: { [http = core.http] in http.cors },
            metrics: page, ui: try Self.ui(core, configuration), clock: clock, random: random, log: log,
            forwarding: Self.forwarding(core, cluster)
        ) { LoopContext(backend: backend) }
        http = try HTTPServer(
            handler: front, listeners: listeners, limits: Self.serverLimits(rules.map(\.limits)), log: log)
        cluster?.service.setFront(front, loops: http.loops)
        page.setConnections { [http] in http.connectionCount }
        self.page = page
        self.hostName = hostName
        telemetry = configuration.telemetry
        core.onSeal { [http] in
            for loop in http.loops { loop.post { context in (context as? LoopContext)?.forget() } }
        }
    }

    private static func ui(_ core: VaultCore, _ configuration: ServerConfiguration) throws(VaultError)
        -> WebUI?
    {
        guard configuration.isUIEnabled else { return nil }
        return try WebUI(operators: { [http = core.http] in http.config.uiHeaders }, log: core.log)
    }

    private static func forwarding(_ core: VaultCore, _ cluster: NodeCluster?) -> Forwarding? {
        guard let cluster, let gate = core.gate else { return nil }
        return Forwarding(core: core, gate: gate, forwarder: cluster.service)
    }

    /// What holds for all listeners together. The largest body that one of them takes must fit.
    private static func serverLimits(_ listeners: [Limits]) -> Limits {
        var limits = Limits.standard
        let largest = listeners.map(\.bodyBytes).filter { $0 != .max }.max() ?? 0
        limits.bodyBytesInFlight = max(limits.bodyBytesInFlight, largest)
        return limits
    }

    private static func hostName() -> String {
        var name = [CChar](repeating: 0, count: 256)
        guard gethostname(&name, name.count - 1) == 0 else { return "" }
        return String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// Begins to answer.
    package func start() throws(VaultError) {
        try metrics.start(page, core: core, settings: telemetry, hostName: hostName, log: core.log)
        try http.start()
        if let joining { try cluster?.start(joining) }
        try seal.start()
    }

    /// Lets another node take over, finishes what runs, seals, and lets go of the storage.
    package func stop() {
        joining?.stop()
        if let failure = core.stepDownBlocking() {
            core.log.warn("no other node took over", ["cause": failure.messages.joined(separator: "; ")])
        }
        core.monitors.endAll()
        http.stop(graceSeconds: Self.graceSeconds)
        metrics.stop()
        seal.stop()
        core.seal()
        core.backend.close()
    }
}

extension ListenerConfiguration {
    /// The listener in the words of the network layer.
    func forNet(_ limits: Limits) throws(VaultError) -> Net.ListenerConfiguration {
        var listener: Net.ListenerConfiguration
        if kind == .unix {
            listener = Net.ListenerConfiguration(
                address: "unix:\(address)", unixMode: UInt32(socketMode, radix: 8))
            listener.unixUser = socketUser
            listener.unixGroup = socketGroup
        } else {
            listener = Net.ListenerConfiguration(address: address, tls: try tlsForNet())
        }
        listener.limits = limits
        listener.proxyProtocol = proxyProtocol.map { behavior in
            switch behavior {
            case .useAlways: ProxyProtocolRules(.useAlways, networks: proxyProtocolNetworks)
            case .allowAuthorized: ProxyProtocolRules(.allowAuthorized, networks: proxyProtocolNetworks)
            case .denyUnauthorized: ProxyProtocolRules(.denyUnauthorized, networks: proxyProtocolNetworks)
            }
        }
        return listener
    }

    private func tlsForNet() throws(VaultError) -> TLSConfiguration? {
        if isTLSDisabled { return nil }
        guard !tlsCertificateFile.isEmpty, !tlsKeyFile.isEmpty else {
            throw .badRequest(
                "listener \(address): expected tls_cert_file and tls_key_file, or tls_disable = true for plain HTTP"
            )
        }
        let certificates: TLSConfiguration.ClientCertificates =
            ignoresClientCertificates ? .disabled : requiresClientCertificate ? .require : .request
        return TLSConfiguration(
            certificateFile: tlsCertificateFile, keyFile: tlsKeyFile,
            minimumVersion: tlsMinVersion == .tls13 ? .v13 : .v12,
            maximumVersion: tlsMaxVersion == .tls13 ? .v13 : .v12,
            clientCAFile: tlsClientCAFile.isEmpty ? nil : tlsClientCAFile,
            clientCertificates: certificates,
            cipherSuites: tlsCipherSuites)
    }
}
