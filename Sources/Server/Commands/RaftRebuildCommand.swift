import Base
import Consensus
import StorageBackends

/// `holdfast operator raft rebuild`: sets the files of a damaged node aside, so that it joins its cluster
/// anew.
package enum RaftRebuildCommand {
    /// As it is called.
    package static let name = "operator raft rebuild"
    /// For the list of commands.
    package static let synopsis = "Sets a damaged node's files aside, so that it joins its cluster anew"

    /// What `-help` shows.
    package static let help = """
        Usage: holdfast operator raft rebuild -config=<path> [options]

          For a node of a cluster whose log or data file is damaged, or that was removed. Its server must be
          stopped, and the other nodes must have a leader without it. The node keeps its name, but votes and
          data are gone from it: it gets them from the others, as any new node does, and they drop what it
          was. Nothing is destroyed: the old files lie in a directory beside the new ones, until you remove
          it.

              $ holdfast operator raft rebuild -config=/etc/holdfast/
              $ holdfast server -config=/etc/holdfast/

          With retry_join in the configuration the node finds its cluster by itself; otherwise it wants
          "holdfast operator raft join". With Shamir's seal it must then be unsealed.

        Options:

          -config=<path>
              The server's configuration file or directory. May be given several times.

          -yes
              Do not ask.

        """

    /// Looks, asks, and does it.
    /// - Returns: 0, 1 for wrong use, 2 when it failed or was not wanted.
    package static func run(arguments: [String]) -> Int32 {
        let flags: CommandFlags
        let storage: BackendConfiguration
        do throws(VaultError) {
            flags = try CommandFlags(arguments, valued: ["config"], switches: ["yes"])
            if flags.wantsHelp {
                StandardStream.output.print(help)
                return 0
            }
            storage = try OfflineNode.storage(flags)
        } catch { return fail(error, 1) }
        do throws(VaultError) {
            let log = Log(level: .error)
            let rebuild = try RaftRebuild(examining: storage.options, log: log)
            StandardStream.error.print(text(of: rebuild))
            guard try OfflineNode.isConfirmed(rebuild.nodeID ?? "yes", flags) else {
                StandardStream.error.print("Nothing was changed.\n")
                return 2
            }
            let outcome = try rebuild.run(at: SystemClock().now(), log: log)
            let joins = try !RetryJoin(storage).targets.isEmpty
            let next =
                joins
                ? "it joins its cluster by itself"
                : "then 'holdfast operator raft join' with the address of another node"
            StandardStream.output.print(
                """
                Success! Node \(outcome.nodeID) is empty, and its old files lie in
                    \(outcome.aside)
                Start its server: \(next). Remove the old files when it votes again.

                """)
            return 0
        } catch { return fail(error, 2) }
    }

    private static func text(of rebuild: RaftRebuild) -> String {
        let name = rebuild.nodeID ?? "(its name cannot be read, and the configuration has no node_id)"
        let damage = rebuild.damage ?? "nothing was found, as far as it was looked at"
        let members = rebuild.members.map { members in
            members.isEmpty
                ? "none: it belongs to no cluster yet" : members.map(\.nodeID).joined(separator: ", ")
        }
        return """
            Node:      \(name)
            Directory: \(rebuild.directory)
            Damage:    \(damage)
            Members:   \(members ?? "cannot be read; make sure that the others have a leader")
            All of this node's files are set aside. What only this node holds is lost with them: that is
            nothing, as long as a majority of the other nodes that vote is there.

            """
    }

    private static func fail(_ error: VaultError, _ code: Int32) -> Int32 {
        let text = error.privateCause ?? error.messages.joined(separator: "; ")
        StandardStream.error.print("Error rebuilding: \(text)\n")
        return code
    }
}
