package import Base
import CZlib

/// Compresses a stream into gzip's format (RFC 1952), piece by piece. Belongs to one thread.
package final class GzipWriter {
    private let stream: UnsafeMutablePointer<z_stream>

    /// - Parameter level: 0 stores, which is right for what is encrypted; 9 tries hardest.
    /// - Throws: `.internal` without memory.
    package init(level: Int32 = 0) throws(VaultError) {
        stream = .allocate(capacity: 1)
        stream.initialize(to: z_stream())
        guard hf_deflate_init(stream, level) == Z_OK else {
            stream.deallocate()
            throw .internal("deflateInit2")
        }
    }

    deinit {
        deflateEnd(stream)
        stream.deallocate()
    }

    /// Compresses what is given.
    /// - Parameter isLast: ends the stream behind it.
    /// - Returns: what there is to write by now; may be empty.
    package func write(_ bytes: UnsafeRawBufferPointer, isLast: Bool = false) -> [UInt8] {
        var output: [UInt8] = []
        // zlib's structure is not const, though it only reads.
        stream.pointee.next_in = UnsafeMutablePointer(
            mutating: bytes.baseAddress?.assumingMemoryBound(to: UInt8.self))
        stream.pointee.avail_in = UInt32(bytes.count)
        while true {
            let room = bytes.count + 64 << 10
            let piece = [UInt8](unsafeUninitializedCapacity: room) { buffer, count in
                stream.pointee.next_out = buffer.baseAddress
                stream.pointee.avail_out = UInt32(room)
                deflate(stream, isLast ? Z_FINISH : Z_NO_FLUSH)
                count = room - Int(stream.pointee.avail_out)
            }
            output = output.isEmpty ? piece : output + piece
            if stream.pointee.avail_out > 0 { return output }
        }
    }

    /// The same with bytes of an array.
    package func write(_ bytes: [UInt8], isLast: Bool = false) -> [UInt8] {
        bytes.withUnsafeBytes { write($0, isLast: isLast) }
    }
}

/// Reads a stream in gzip's format back, piece by piece, in bounded memory. Belongs to one thread.
package final class GzipReader {
    private let stream: UnsafeMutablePointer<z_stream>
    private static let pieceBytes = 256 << 10
    /// The whole stream has been read, and its check was right.
    package private(set) var isAtEnd = false

    /// - Throws: `.internal` without memory.
    package init() throws(VaultError) {
        stream = .allocate(capacity: 1)
        stream.initialize(to: z_stream())
        guard hf_inflate_init(stream) == Z_OK else {
            stream.deallocate()
            throw .internal("inflateInit2")
        }
    }

    deinit {
        inflateEnd(stream)
        stream.deallocate()
    }

    /// Takes what comes next, and hands over what was in it in pieces.
    /// - Throws: `.badRequest` when this is not gzip's format, and what `sink` throws.
    package func read(
        _ bytes: UnsafeRawBufferPointer,
        _ sink: (UnsafeRawBufferPointer) throws(VaultError) -> Void
    ) throws(VaultError) {
        stream.pointee.next_in = UnsafeMutablePointer(
            mutating: bytes.baseAddress?.assumingMemoryBound(to: UInt8.self))
        stream.pointee.avail_in = UInt32(bytes.count)
        let piece = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.pieceBytes, alignment: 16)
        defer { piece.deallocate() }
        while true {
            if isAtEnd {
                guard stream.pointee.avail_in == 0 else {
                    throw .badRequest("the archive goes on behind its end")
                }
                return
            }
            stream.pointee.next_out = piece.baseAddress?.assumingMemoryBound(to: UInt8.self)
            stream.pointee.avail_out = UInt32(piece.count)
            let code = inflate(stream, Z_NO_FLUSH)
            guard code == Z_OK || code == Z_STREAM_END || code == Z_BUF_ERROR else {
                throw .badRequest("the archive is damaged, or not in gzip's format")
            }
            let count = piece.count - Int(stream.pointee.avail_out)
            if count > 0 { try sink(UnsafeRawBufferPointer(rebasing: piece[..<count])) }
            if code == Z_STREAM_END { isAtEnd = true }
            if code == Z_BUF_ERROR || stream.pointee.avail_in == 0 && stream.pointee.avail_out > 0 { break }
        }
    }
}
