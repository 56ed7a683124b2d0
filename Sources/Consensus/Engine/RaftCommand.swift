import Base

/// What other threads hand to the raft thread.
enum RaftCommand: Sendable {
    case receive([UInt8], from: UInt64)
    case receiveSnapshot(
        message: [UInt8], path: String, progress: RaftProgress, from: UInt64,
        done: @Sendable (Bool) -> Void)
    case propose([UInt8], done: @Sendable (Result<UInt64, RaftError>) -> Void)
    case read(done: @Sendable (RaftError?) -> Void)
    case change(MembershipChange, done: @Sendable (Result<UInt64, RaftError>) -> Void)
    case transfer(UInt64?, done: @Sendable (RaftError?) -> Void)
    case snapshotMade(Result<(SnapshotFile, RaftProgress), VaultError>)
    case snapshotSent(to: UInt64, arrived: Bool)
    case campaign

    /// Answers whoever waits: the node has stopped.
    func refuse() {
        switch self {
        case .receiveSnapshot(_, _, _, _, let done): done(false)
        case .propose(_, let done), .change(_, let done): done(.failure(.stopped))
        case .read(let done), .transfer(_, let done): done(.stopped)
        case .receive, .snapshotMade, .snapshotSent, .campaign: break
        }
    }
}

/// A frame between two nodes.
///
///     kind u8; 1: message kind u8, term u64, the core's message
///              2: number of the question u64                        (a follower asks for a read index)
///              3: number of the question u64, index u64             (the leader answers)
///              4:                                                  (a member: the receiver was removed)
enum RaftFrame {
    case message(kind: UInt8, term: UInt64, bytes: [UInt8])
    case readQuestion(UInt64)
    case readAnswer(UInt64, index: UInt64)
    case farewell

    /// Nil when these are not the bytes of a frame.
    init?(_ bytes: [UInt8]) {
        var reader = WireReader(bytes)
        do throws(VaultError) {
            switch try reader.number(UInt8.self) {
            case 1:
                self = .message(
                    kind: try reader.number(), term: try reader.number(), bytes: reader.rest())
            case 2: self = .readQuestion(try reader.number())
            case 3: self = .readAnswer(try reader.number(), index: try reader.number())
            case 4: self = .farewell
            default: return nil
            }
        } catch { return nil }
    }

    var bytes: [UInt8] {
        var writer = WireWriter(reserving: 32)
        switch self {
        case .message(let kind, let term, let bytes):
            writer = WireWriter(reserving: bytes.count + 16)
            writer.put(UInt8(1))
            writer.put(kind)
            writer.put(term)
            writer.raw(bytes)
        case .readQuestion(let number):
            writer.put(UInt8(2))
            writer.put(number)
        case .readAnswer(let number, let index):
            writer.put(UInt8(3))
            writer.put(number)
            writer.put(index)
        case .farewell: writer.put(UInt8(4))
        }
        return writer.bytes
    }

    /// The kind of the message that comes with a state.
    static let snapshot: UInt8 = 7

    /// The kind that the leader sends all the time.
    static func isHeartbeat(_ kind: UInt8) -> Bool { kind == 8 }

    /// Kinds that only the leader sends (append, heartbeat, its last word), and the answers of those who
    /// follow it.
    static func provesLeadership(_ kind: UInt8) -> Bool {
        switch kind {
        case 3, 8, 14, 4, 9: true
        default: false
        }
    }
}

/// What the log carries: who proposed it, so that the proposer finds its waiter, and the payload.
///
///     kind u8, proposer's nonce u64, number of its call u64, payload
struct Proposal {
    enum Kind: UInt8 {
        case payload = 0
        /// A member's addresses have changed.
        case member = 1
    }
    let kind: Kind
    let nonce: UInt64
    let number: UInt64
    let payload: [UInt8]
    static let headBytes = 17

    init(_ kind: Kind, nonce: UInt64, number: UInt64, payload: [UInt8]) {
        self.kind = kind
        self.nonce = nonce
        self.number = number
        self.payload = payload
    }

    /// - Throws: `.corrupted` when the log holds something else: then this version must not go on.
    init(_ bytes: [UInt8], index: UInt64) throws(VaultError) {
        var reader = WireReader(bytes)
        guard let kind = Kind(rawValue: try reader.number()) else {
            throw .corrupted(
                place: "entry \(index) of the log is of a kind that this version does not know")
        }
        self.init(kind, nonce: try reader.number(), number: try reader.number(), payload: reader.rest())
    }

    var bytes: [UInt8] {
        var writer = WireWriter(reserving: payload.count + Self.headBytes)
        writer.put(kind.rawValue)
        writer.put(nonce)
        writer.put(number)
        writer.raw(payload)
        return writer.bytes
    }
}
