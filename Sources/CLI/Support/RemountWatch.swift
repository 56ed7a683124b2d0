internal import APIClient
internal import Base
internal import Glibc

/// Waits until a move of a mount that runs in the background has ended.
enum RemountWatch {
    static func wait(for id: String, _ what: String, _ call: Invocation) throws(CommandFailure) {
        while true {
            let answer = try call.api(what) { (client) throws(APIError) in
                try client.read("sys/remount/status/\(id)")
            }
            switch answer?.data?["migration_info"]?["status"]?.string {
            case "success": return
            case "in-progress": usleep(200_000)
            case let status:
                throw .failed("\(what): the migration \(id) ended with status \"\(status ?? "unknown")\"")
            }
        }
    }
}
