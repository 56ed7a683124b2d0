/// Bounds on a port between members, with their units and reasons.
package struct PeerLimits: Sendable {
    /// Connections that have not shown a good certificate yet. Each may cost a handshake's memory, some 50
    /// KiB; beyond it the oldest makes room, for an honest handshake takes milliseconds.
    package var strangers = 64
    /// Milliseconds for a handshake, counted from the first sight of the connection.
    package var handshakeMilliseconds = 5_000
    /// Milliseconds for a connection of ours to come about, TLS included.
    package var dialMilliseconds = 2_000
    /// Milliseconds without a byte of progress while a frame is under way, in either direction.
    package var stallMilliseconds = 10_000
    /// Milliseconds for which the kernel waits for a sign of life of what it has sent.
    package var silenceMilliseconds = 3_000
    /// Bytes of one frame, unless the acceptor says less.
    package var frameBytes = 64 << 20
    /// Bytes that may wait to be sent on one connection; more is refused, which consensus makes up for.
    package var queuedBytes = 96 << 20

    /// The usual limits.
    package init() {}
}
