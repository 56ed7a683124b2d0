import Base
import Consensus
import StorageBackends

/// `holdfast operator raft recover`: goes on with the survivors when a quorum of a cluster is lost for good.
/// Works on the files of a server that is stopped; no other node is asked, for none may be there.
package enum RaftRecoverCommand {
    package static let name = "operator raft recover"
    package static let synopsis = "Goes on with the surviving nodes after a quorum is lost for good"

    package static let help = """
        Usage: holdfast operator raft recover -config=<path> [options]

          Makes the node of a stopped server the only member of its cluster, or one of those that are named.
          Use it when so many nodes are lost for good that no majority will ever come back: bringing one back
          with its disk is always better.

          What may be lost: writes that were acknowledged, when only the lost nodes had them. Of one survivor
          choose the one whose log goes furthest; "holdfast status" has shown its Raft Applied Index. Several
          find that out by themselves: stop all of them, name on each the others, then start all of them. The
          lost nodes must never come back with their data: empty their directories, and let them join anew.

              $ holdfast operator raft recover -config=/etc/holdfast/ -with=node-2
              $ holdfast server -config=/etc/holdfast/

          The file raft/peers.json in the storage directory does the same at the next start.

        Options:

          -config=<path>
              The server's configuration file or directory. May be given several times.

          -with=<node_id>
              Another survivor. May be given several times.

          -yes
              Do not ask.

        """

    /// Runs the recovery.
    /// - Returns: 0, 1 for wrong use, 2 when it failed or was not wanted.
    package static func run(arguments: [String]) -> Int32 {
        let flags: CommandFlags
        let storage: BackendConfiguration
        do throws(VaultError) {
            flags = try CommandFlags(arguments, valued: ["config", "with"], switches: ["yes"])
            if flags.wantsHelp {
                StandardStream.output.print(help)
                return 0
            }
            storage = try OfflineNode.storage(flags)
        } catch { return fail(error, 1) }
        do throws(VaultError) {
            let log = Log(level: .warn)
            guard try isWanted(storage.options, flags, log) else {
                StandardStream.error.print("Nothing was changed.\n")
                return 2
            }
            let others = flags.all("with")
            let outcome = try RaftBackend.recover(storage.options, with: others, log: log)
            let members =
                others.isEmpty
                ? "This node is the only member of its cluster now"
                : "This node and \(others.joined(separator: ", ")) are the members of its cluster now"
            StandardStream.output.print(
                """
                Success! \(members).
                Its log ends at index \(outcome.index); \(outcome.unconfirmedEntries) of its entries \
                were not known to be committed.

                """)
            return 0
        } catch { return fail(error, 2) }
    }

    /// Says what will happen, and asks.
    private static func isWanted(
        _ settings: [String: String], _ flags: CommandFlags, _ log: Log
    ) throws(VaultError) -> Bool {
        let (members, own, index) = try RaftBackend.look(settings, log: log)
        guard members.contains(where: { $0.raftID == own.raftID }) else {
            throw .badRequest("this node belongs to no cluster: there is nothing to recover")
        }
        let kept = flags.all("with")
        let others = members.filter { $0.raftID != own.raftID && !kept.contains($0.nodeID) }
        guard !others.isEmpty else {
            throw .badRequest("no member would be dropped: start the server")
        }
        let names = others.map { "\($0.nodeID) (\($0.clusterAddress))" }.joined(separator: ", ")
        StandardStream.error.print(
            """
            Node \(own.nodeID) has applied index \(index). These members will be dropped for good:
                \(names)
            Writes that only they had are lost, also such as were acknowledged. None of them may ever come
            back with its data.

            """)
        return try OfflineNode.isConfirmed(own.nodeID, flags)
    }

    private static func fail(_ error: VaultError, _ code: Int32) -> Int32 {
        let text = error.privateCause ?? error.messages.joined(separator: "; ")
        StandardStream.error.print("Error recovering: \(text)\n")
        return code
    }
}
