import Base
import Glibc

/// One connection between members and its two buffers. Touched by the port's thread only.
///
/// A frame is four bytes of length, the greatest first, and as many bytes of payload, at least one. A
/// stranger, who has not finished a handshake, has no buffer here at all; a member's grow with what has
/// really come.
final class PeerConnection {
    enum Phase {
        /// A connection of ours that the other end has not answered yet.
        case connecting
        /// Accepted, and no byte has come: nothing but this object is spent on it.
        case silent
        case handshaking
        case open
    }

    static let headBytes = 4

    let token: UInt64
    let descriptor: Int32
    let address: String
    var phase: Phase
    /// Set for a connection of ours.
    let dial: PeerDial?
    let link: PeerLink
    var session: TLSSession?
    var handler: (any PeerLinkHandler)?
    var frameBytes = 0
    /// What epoll watches for.
    var interest: UInt32 = 0
    /// Monotonic milliseconds after which it is given up; `.max` for never.
    var deadline: UInt64
    var isPaused = false
    /// TLS wants to write before it can read on.
    var readWantsWrite = false

    private var input: [UInt8] = []
    private var output: [UInt8] = []
    private var sent = 0
    /// More than half of what may wait did, and nobody was told since that it is less.
    private var wasFull = false

    init(
        token: UInt64, descriptor: Int32, address: String, phase: Phase, dial: PeerDial?, link: PeerLink,
        deadline: UInt64
    ) {
        self.token = token
        self.descriptor = descriptor
        self.address = address
        self.phase = phase
        self.dial = dial
        self.link = link
        self.deadline = deadline
    }

    /// Whether the other end has proven nothing yet, and came by itself.
    var isStranger: Bool { dial == nil && (phase == .silent || phase == .handshaking) }
    var hasOutput: Bool { sent < output.count }
    /// Whether a frame has begun that has not ended.
    var hasPartialInput: Bool { !input.isEmpty }

    // MARK: In

    /// Takes bytes that came, and gives every frame that is whole.
    /// - Returns: nil when a frame is longer than allowed, or empty.
    func take(_ bytes: UnsafeRawBufferPointer) -> [[UInt8]]? {
        var frames: [[UInt8]] = []
        if input.isEmpty {
            guard let used = Self.split(bytes, frameBytes, into: &frames) else { return nil }
            if used < bytes.count { input.append(contentsOf: bytes[used...]) }
            return frames
        }
        input.append(contentsOf: bytes)
        let used = input.withUnsafeBytes { Self.split($0, frameBytes, into: &frames) }
        guard let used else { return nil }
        if used == input.count {
            input.wipe()
        } else if used > 0 {
            let rest = Array(input[used...])
            input.wipe()
            input = rest
        }
        return frames
    }

    private static func split(
        _ bytes: UnsafeRawBufferPointer, _ most: Int, into frames: inout [[UInt8]]
    ) -> Int? {
        var at = 0
        while bytes.count - at >= headBytes {
            let count = Int(UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: at, as: UInt32.self)))
            guard count > 0, count <= most else { return nil }
            guard bytes.count - at - headBytes >= count else { break }
            frames.append(Array(bytes[(at + headBytes)..<(at + headBytes + count)]))
            at += headBytes + count
        }
        return at
    }

    // MARK: Out

    func append(_ frame: [UInt8], fullAt most: Int) {
        withUnsafeBytes(of: UInt32(frame.count).bigEndian) { output.append(contentsOf: $0) }
        output.append(contentsOf: frame)
        if output.count - sent > most / 2 { wasFull = true }
    }

    enum Flushed {
        case all, some, failed
    }

    /// Writes as much as the socket takes.
    /// - Parameter progressed: called when anything went out.
    func flush(progressed: () -> Void) -> Flushed {
        guard let session else { return .failed }
        while sent < output.count {
            let result = output.withUnsafeBytes { bytes in
                session.write(
                    UnsafeRawBufferPointer(rebasing: bytes[sent..<min(bytes.count, sent + 64 << 10)]))
            }
            switch result {
            case .done(let count):
                sent += count
                link.noteSent(count)
                progressed()
            case .wantsRead, .wantsWrite:
                trim()
                return .some
            case .ended, .failed: return .failed
            }
        }
        wipeOutput()
        return .all
    }

    /// True once for each time that the queue has been more than half full and is not any more.
    func noteDrained(fullAt most: Int) -> Bool {
        guard wasFull, output.count - sent <= most / 2 else { return false }
        wasFull = false
        return true
    }

    /// Forgets what was sent of a long queue.
    private func trim() {
        guard sent > 1 << 20, sent > output.count / 2 else { return }
        let rest = Array(output[sent...])
        output.wipe()
        output = rest
        sent = 0
    }

    private func wipeOutput() {
        guard !output.isEmpty else { return }
        if output.capacity > 256 << 10 {
            output.wipe()
        } else {
            output.withUnsafeMutableBytes { wipe($0) }
            output.removeAll(keepingCapacity: true)
        }
        sent = 0
    }

    /// Wipes what is left and closes the socket.
    func end() {
        session?.shutdown()
        session = nil
        close(descriptor)
        input.wipe()
        output.wipe()
        sent = 0
    }
}
