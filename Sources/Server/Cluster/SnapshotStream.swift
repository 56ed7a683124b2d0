import Base
import Consensus
import CPosix
import Crypto
import Glibc
import Net
import Synchronization

/// Sends one state to one member, on a connection and a thread of its own, so that neither consensus nor
/// requests wait for it.
///
/// On the wire: a frame `H` with the file's size and consensus' message, frames `D` with pieces of the file,
/// a frame `E` with its SHA-256; back comes one frame, `A` and 1 when the state was taken, 0 when not.
final class SnapshotSending: Sendable {
    static let protocolName = "holdfast-snapshot/1"
    static let mostFrameBytes = 1 << 20
    private static let pieceBytes = 256 << 10
    /// Bytes that may wait for a slow receiver: it pins nothing but the file.
    private static let mostWaitingBytes = 2 << 20
    /// Seconds that a receiver may take to put the state in place.
    private static let mostAnswerSeconds = 600

    private let message: [UInt8]
    private let file: SnapshotFile
    private let log: Log
    private let done: Mutex<(@Sendable (Bool) -> Void)?>

    init(message: [UInt8], file: SnapshotFile, log: Log, done: @escaping @Sendable (Bool) -> Void) {
        self.message = message
        self.file = file
        self.log = log
        self.done = Mutex(done)
    }

    /// Begins to send over a connection that was just made.
    func begin(_ link: PeerLink) -> PeerAdmission? {
        do throws(VaultError) {
            _ = try Thread(name: "snapshot-out") { [self] in run(link) }
            return PeerAdmission(Reply(self), frameBytes: 16)
        } catch { return nil }
    }

    /// Tells how it went; once.
    func finish(_ isTaken: Bool, _ reason: String) {
        let done = self.done.withLock { done in
            defer { done = nil }
            return done
        }
        guard let done else { return }
        if !isTaken { log.warn("a snapshot was not delivered", ["reason": reason]) }
        done(isTaken)
    }

    private var isFinished: Bool { done.withLock { $0 == nil } }

    private func run(_ link: PeerLink) {
        if let failure = stream(link) {
            link.close()
            return finish(false, failure)
        }
        for _ in 0..<(Self.mostAnswerSeconds * 10) {
            if isFinished || !link.isOpen { break }
            usleep(100_000)
        }
        link.close()
        finish(false, "the receiver did not answer")
    }

    /// - Returns: why it could not be sent.
    private func stream(_ link: PeerLink) -> String? {
        let descriptor = open(file.path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return "\(file.path): \(String(cString: strerror(errno)))" }
        defer { close(descriptor) }
        var head: [UInt8] = [UInt8(ascii: "H")]
        withUnsafeBytes(of: UInt64(file.sizeBytes).bigEndian) { head.append(contentsOf: $0) }
        guard link.send(head + message) else { return "the connection ended" }
        var hash = SHA256()
        var sent = 0
        var piece = [UInt8](repeating: 0, count: 1 + Self.pieceBytes)
        piece[0] = UInt8(ascii: "D")
        while sent < file.sizeBytes {
            let got = piece.withUnsafeMutableBytes { bytes in
                read(
                    descriptor, bytes.baseAddress.map { $0 + 1 }, min(Self.pieceBytes, file.sizeBytes - sent))
            }
            guard got > 0 else { return "\(file.path) is shorter than it was" }
            piece.withUnsafeBytes { hash.update(UnsafeRawBufferPointer(rebasing: $0[1...got])) }
            while link.isOpen, link.queuedBytes > Self.mostWaitingBytes { usleep(2_000) }
            guard link.send(Array(piece[...got])) else { return "the connection ended" }
            sent += got
        }
        return link.send([UInt8(ascii: "E")] + hash.finish()) ? nil : "the connection ended"
    }

    /// The receiver's one answer.
    private final class Reply: PeerLinkHandler {
        private let sending: SnapshotSending

        init(_ sending: SnapshotSending) { self.sending = sending }
        func received(_ frame: [UInt8]) {
            sending.finish(frame == [UInt8(ascii: "A"), 1], "the receiver did not take it")
        }
        func drained() {}
        func closed(_ reason: String) { sending.finish(false, reason) }
    }
}

/// Takes in one state from another member, into a file, on a thread of its own.
///
/// Nothing of it is believed before the last byte: the file goes to `taken` when its size and its hash are
/// what the sender said, and is removed otherwise. The room on the disk is taken first.
final class SnapshotReceiving: PeerLinkHandler {
    /// What to do with a whole state: the message, the file, and whom to tell whether it was taken.
    typealias Taken = @Sendable ([UInt8], String, @escaping @Sendable (Bool) -> Void) -> Void

    private enum Piece: Sendable {
        case bytes([UInt8])
        case cut(String)
    }
    private let link: PeerLink
    private let queue = BlockingQueue<Piece>(limit: 256)
    private let waiting = Waiting()
    private let path: String
    private let log: Log
    private let taken: Taken
    private var hasBegun = false

    /// Pieces that wait for the disk before the sender is told to pause, and how few before it may go on.
    private static let mostWaiting = 16
    private static let fewWaiting = 4

    /// Counted on both sides of the queue.
    private final class Waiting: Sendable {
        let count = Atomic<Int>(0)
    }

    init(link: PeerLink, path: String, log: Log, taken: @escaping Taken) {
        self.link = link
        self.path = path
        self.log = log
        self.taken = taken
    }

    func received(_ frame: [UInt8]) {
        if !hasBegun {
            hasBegun = true
            start()
        }
        if waiting.count.add(1, ordering: .relaxed).newValue == Self.mostWaiting { link.setPaused(true) }
        if !queue.push(.bytes(frame)) { link.close() }
    }

    func drained() {}

    func closed(_ reason: String) {
        _ = queue.push(.cut(reason))
        queue.close()
    }

    private func start() {
        do throws(VaultError) {
            _ = try Thread(name: "snapshot-in") { [queue, link, waiting, path, log, taken] in
                let failure = Self.run(path, { Self.next(queue, waiting, link) }) { message in
                    taken(message, path) { isTaken in
                        if !isTaken { unlink(path) }
                        _ = link.send([UInt8(ascii: "A"), isTaken ? 1 : 0])
                    }
                }
                if let failure {
                    unlink(path)
                    log.warn("a snapshot did not arrive", ["reason": failure])
                    _ = link.send([UInt8(ascii: "A"), 0])
                }
                // Until the sender closes: what it still sends has nowhere to go.
                while !queue.take(most: 1).isEmpty {}
            }
        } catch { link.close() }
    }

    private static func next(
        _ queue: BlockingQueue<Piece>, _ waiting: Waiting, _ link: PeerLink
    ) -> Piece {
        guard let piece = queue.take(most: 1).first else { return .cut("the connection ended") }
        if waiting.count.subtract(1, ordering: .relaxed).newValue == fewWaiting { link.setPaused(false) }
        return piece
    }

    /// - Returns: why the file is not whole; nil after `whole` was called.
    private static func run(
        _ path: String, _ next: () -> Piece, whole: ([UInt8]) -> Void
    ) -> String? {
        guard case .bytes(let head) = next(), head.count >= 9, head[0] == UInt8(ascii: "H") else {
            return "it does not begin with its head"
        }
        let size = head[1..<9].reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        guard size <= UInt64(Int64.max) else { return "its size makes no sense" }
        let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { return "\(path): \(String(cString: strerror(errno)))" }
        defer { close(descriptor) }
        if size > 0 {
            let code = posix_fallocate(descriptor, 0, Int(size))
            if code != 0 { return "no room for \(size) bytes: \(String(cString: strerror(code)))" }
        }
        var hash = SHA256()
        var left = Int(size)
        while true {
            let frame: [UInt8]
            switch next() {
            case .cut(let reason): return reason
            case .bytes(let bytes): frame = bytes
            }
            if frame[0] == UInt8(ascii: "D"), frame.count - 1 <= left {
                left -= frame.count - 1
                frame.withUnsafeBytes { hash.update(UnsafeRawBufferPointer(rebasing: $0[1...])) }
                if let failure = write(frame, to: descriptor) { return failure }
            } else if frame[0] == UInt8(ascii: "E") {
                guard left == 0, Array(frame[1...]) == hash.finish() else { return "it is not what was sent" }
                guard fsync(descriptor) == 0 else { return String(cString: strerror(errno)) }
                whole(Array(head[9...]))
                return nil
            } else {
                return "a piece makes no sense"
            }
        }
    }

    private static func write(_ frame: [UInt8], to descriptor: Int32) -> String? {
        frame.withUnsafeBytes { bytes in
            var at = 1
            while at < bytes.count {
                let count = Glibc.write(descriptor, bytes.baseAddress.map { $0 + at }, bytes.count - at)
                if count < 0, errno == EINTR { continue }
                guard count > 0 else { return String(cString: strerror(errno)) }
                at += count
            }
            return nil
        }
    }
}
