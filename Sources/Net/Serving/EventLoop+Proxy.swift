import Base
import CPosix
import Glibc

/// The part of a connection before TLS and HTTP where a load balancer stands in front.
extension EventLoop {
    /// Reads the PROXY header; true when it is over and the connection goes on. A bad header ends the
    /// connection that it came on, and nothing else.
    ///
    /// Bytes are looked at first and taken only when they are surely the header's: what follows belongs
    /// to TLS, which reads the socket itself.
    func proxyHeaderEnded(_ c: Connection) -> Bool {
        guard let start = scratch.baseAddress else { return false }
        let before = c.input.count
        let got = recv(c.descriptor, start, ProxyHeader.mostBytes - before, Int32(MSG_PEEK))
        guard got > 0 else {
            if got == 0 || errno != EAGAIN && errno != EINTR { kill(c) }
            return false
        }
        c.input.append(UnsafeBufferPointer(start: start, count: got))
        wipe(UnsafeMutableRawBufferPointer(start: start, count: got))
        switch ProxyHeader.parse(c.input.bytes) {
        case .needMore:
            guard take(c, got) else { return false }
            if c.input.count >= ProxyHeader.mostBytes { kill(c) }
            return false
        case .malformed:
            state.log.debug("connection closed: malformed PROXY header", ["peer": c.peer.address])
            kill(c)
            return false
        case .absent:
            // What was taken already could have been a header's and is a plain request's.
            guard before == 0 || c.tls == nil else {
                kill(c)
                return false
            }
            c.input.truncate(to: before)
        case .complete(let bytes, let source):
            guard take(c, bytes - before) else { return false }
            c.input.release()
            if let source, c.listener.proxyProtocol?.trusts(c.peer.address) == true {
                c.peer = HTTPPeer(
                    address: source.address, port: source.port, isTLS: c.tls != nil,
                    listener: c.listener.index)
            }
        }
        c.phase = c.tls == nil ? .head : .handshake
        return true
    }

    /// Takes bytes that were looked at.
    private func take(_ c: Connection, _ count: Int) -> Bool {
        guard let start = scratch.baseAddress, count > 0 else { return true }
        if recv(c.descriptor, start, count, 0) == count { return true }
        kill(c)
        return false
    }
}
