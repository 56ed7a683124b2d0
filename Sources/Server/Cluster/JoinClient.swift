import Base
import Net
import SystemAPI

/// Asks a member of the cluster, over its API, to take this node on. Waits: never on an I/O thread.
struct JoinClient: Sendable {
    /// Why it did not work out.
    enum Failure: Error {
        /// It may work later: nobody there, or not ready yet.
        case early(String)
        /// It will not work like this.
        case refused(VaultError)

        var text: String {
            switch self {
            case .early(let text): text
            case .refused(let error): error.messages.joined(separator: "; ")
            }
        }
    }

    private static let timeout = Duration.seconds(10)
    private static let mostAnswerBytes = 4 << 20

    let target: JoinTarget
    /// Which address of the target's is asked.
    let address: String

    /// The clients of a target, in the order in which they should be tried.
    static func all(_ target: JoinTarget) -> [JoinClient] {
        guard let autoJoin = target.autoJoin else {
            return [JoinClient(target: target, address: target.address)]
        }
        return HostLookup.addresses(of: autoJoin.name).map { host in
            JoinClient(
                target: target,
                address: "\(autoJoin.scheme)://\(ClusterAddresses.join(host, autoJoin.port))")
        }
    }

    func challenge(serverID: String) throws(Failure) -> JoinChallenge {
        let body: JSONValue = ["server_id": .string(serverID)]
        let data = try call("challenge", body)
        guard let challenge = bytes(data["challenge"]), let config = bytes(data["seal_record"]),
            let rootKey = bytes(data["root_key"])
        else { throw unreadable() }
        return JoinChallenge(challenge: challenge, sealConfig: config, wrappedRootKey: rootKey)
    }

    /// - Returns: what the cluster tells, as yet encrypted.
    func answer(_ answer: JoinAnswer) throws(Failure) -> [UInt8] {
        let digits = String(answer.raftID, radix: 16)
        let body: JSONValue = [
            "server_id": .string(answer.serverID), "answer": .string(Base64.standard.encode(answer.proof)),
            "challenge": .string(Base64.standard.encode(answer.challenge)),
            "raft_id": .string(String(repeating: "0", count: 16 - digits.count) + digits),
            "cluster_addr": .string(answer.clusterAddress), "api_addr": .string(answer.apiAddress),
            "host_name": .string(answer.hostName), "version": .string(answer.version),
            "non_voter": .bool(answer.isNonVoter),
        ]
        guard let sealed = bytes(try call("answer", body)["bootstrap"]) else { throw unreadable() }
        return sealed
    }

    private func call(_ step: String, _ body: JSONValue) throws(Failure) -> RawJSON {
        var settings = HTTPClientSettings()
        settings.timeout = Self.timeout
        settings.connectTimeout = .seconds(3)
        settings.mostResponseBytes = Self.mostAnswerBytes
        if !target.caCertificate.isEmpty { settings.caPEM = target.caCertificate }
        if !target.clientCertificate.isEmpty {
            settings.clientCertificatePEM = target.clientCertificate
            settings.clientKeyPEM = target.clientKey
        }
        if !target.serverName.isEmpty { settings.serverName = target.serverName }
        var base = address
        while base.hasSuffix("/") { base.removeLast() }
        var request = HTTPClientRequest(
            method: "PUT", url: base + "/v1/sys/storage/raft/bootstrap/" + step,
            headers: [("Content-Type", "application/json"), ("X-Vault-Request", "true")],
            body: body.encoded())
        return try data(of: try send(&request, HTTPClient(settings)))
    }

    /// Sends, and follows a standby that names the active node.
    private func send(
        _ request: inout HTTPClientRequest, _ client: HTTPClient
    ) throws(Failure) -> HTTPClientResponse {
        do throws(HTTPClientError) {
            let response = try client.send(request)
            guard [307, 308].contains(response.status), let location = response.header("location") else {
                return response
            }
            request.url = location
            return try client.send(request)
        } catch {
            switch error.kind {
            case .connect, .timeout, .broken: throw .early(error.message)
            case .configuration, .tls, .plainText, .tooLarge:
                throw .refused(.badRequest("leader_api_addr: \(error.message)"))
            }
        }
    }

    private func data(of response: HTTPClientResponse) throws(Failure) -> RawJSON {
        let json = try? RawJSON(validating: response.body)
        let texts = json?["errors"]?.elements.compactMap(\.string) ?? []
        let text = "\(address): \(response.status) \(texts.joined(separator: "; "))"
        switch response.status {
        case 200:
            guard let data = json?["data"], data.kind == .object else { throw unreadable() }
            return data
        case 403: throw .refused(.forbidden(text))
        // Sealed or not initialised, without a leader, busy, or behind a proxy that is.
        case 429, 500...: throw .early(text)
        default: throw .refused(.badRequest("the cluster does not take this node on: \(text)"))
        }
    }

    private func bytes(_ value: RawJSON?) -> [UInt8]? {
        value?.string.flatMap { Base64.standard.decode($0) }.flatMap { $0.isEmpty ? nil : $0 }
    }

    private func unreadable() -> Failure {
        .refused(.badRequest("leader_api_addr: \(address) does not answer as a Holdfast server does"))
    }
}
