/// A strict, incremental decoder of one chunked body (RFC 9112 §7.1), without a socket.
///
/// Sizes are hexadecimal digits only; extensions are bounded and dropped; trailers are checked,
/// bounded and dropped, for nothing here reads them and a trailer must never act as a header. It
/// consumes exactly the body, so that the byte after it is the next request's first.
package struct ChunkedDecoder: Sendable {
    /// What became of one piece of input.
    package enum Outcome: Sendable, Equatable {
        /// Everything was consumed, and more must come.
        case needMore
        /// The body ended after so many bytes of this piece.
        case complete(consumed: Int)
        case failed(HTTPProtocolError)
    }

    private enum State {
        case size, extensions, sizeEnd, data, dataCR, dataLF
        case trailerStart, trailerName, trailerValue, trailerEnd, lastLF, finished
    }

    /// Bytes of all extensions of a body: many times what any client sends, too few to be a burden.
    private static let mostExtensionBytes = 4 << 10
    /// Bytes of the trailer section.
    private static let mostTrailerBytes = 8 << 10

    private let classes = ByteClass.shared
    private let mostBodyBytes: Int
    private var state = State.size
    private var remaining = 0
    private var digits = 0
    private var extensionBytes = 0
    private var trailerBytes = 0
    private var trailerNameBytes = 0
    private var failure: HTTPProtocolError?

    package init(mostBodyBytes: Int) {
        // Sixteen more bits must fit: a size grows by a digit before it is measured.
        self.mostBodyBytes = min(mostBodyBytes, 1 << 48)
    }

    /// Reads one piece and appends the decoded bytes to `body`.
    package mutating func decode(_ input: UnsafeBufferPointer<UInt8>, into body: inout [UInt8]) -> Outcome {
        if let failure { return .failed(failure) }
        if state == .finished { return .complete(consumed: 0) }
        var at = 0
        do throws(HTTPProtocolError) {
            while at < input.count {
                if state == .data {
                    let piece = min(remaining, input.count - at)
                    body.append(contentsOf: UnsafeBufferPointer(rebasing: input[at..<at + piece]))
                    at += piece
                    remaining -= piece
                    if remaining == 0 { state = .dataCR }
                    continue
                }
                let byte = input[at]
                at += 1
                try take(byte, bodyBytes: body.count)
                if state == .finished { return .complete(consumed: at) }
            }
            return .needMore
        } catch {
            failure = error
            return .failed(error)
        }
    }

    /// One byte of the framing between the data.
    private mutating func take(_ byte: UInt8, bodyBytes: Int) throws(HTTPProtocolError) {
        switch state {
        case .size: try takeSize(byte, bodyBytes: bodyBytes)
        case .extensions:
            if byte == 13 {
                state = .sizeEnd
            } else {
                extensionBytes += 1
                guard classes.isValue(byte) else { throw .bad("malformed chunk extension") }
                guard extensionBytes <= Self.mostExtensionBytes else {
                    throw .bad("chunk extensions are too long")
                }
            }
        case .sizeEnd:
            try require(byte, 10)
            state = remaining == 0 ? .trailerStart : .data
            digits = 0
        case .dataCR:
            guard byte == 13 else { throw .bad("a chunk is longer than its size says") }
            state = .dataLF
        case .dataLF:
            try require(byte, 10)
            state = .size
        case .trailerStart, .trailerName, .trailerValue, .trailerEnd: try takeTrailer(byte)
        case .lastLF:
            try require(byte, 10)
            state = .finished
        case .data, .finished: break
        }
    }

    private mutating func takeSize(_ byte: UInt8, bodyBytes: Int) throws(HTTPProtocolError) {
        if let digit = hexDigit(byte) {
            digits += 1
            // Sixteen digits fill 64 bits; leading zeros do not make a size longer than that.
            guard digits <= 16 else { throw .bad("malformed chunk size") }
            guard remaining <= mostBodyBytes else { throw .bodyTooLarge }
            remaining = remaining << 4 | Int(digit)
            return
        }
        guard digits > 0 else { throw .bad("malformed chunk size") }
        guard remaining <= mostBodyBytes - bodyBytes else { throw .bodyTooLarge }
        switch byte {
        case 13: state = .sizeEnd
        case UInt8(ascii: ";"): state = .extensions
        default: throw .bad("malformed chunk size")
        }
    }

    private mutating func takeTrailer(_ byte: UInt8) throws(HTTPProtocolError) {
        trailerBytes += 1
        guard trailerBytes <= Self.mostTrailerBytes else {
            throw HTTPProtocolError(431, "the trailer section is longer than allowed")
        }
        switch state {
        case .trailerStart where byte == 13: state = .lastLF
        case .trailerStart, .trailerName:
            if byte == UInt8(ascii: ":"), trailerNameBytes > 0 {
                state = .trailerValue
                trailerNameBytes = 0
                return
            }
            guard classes.isToken(byte) else { throw .bad("malformed trailer field") }
            trailerNameBytes += 1
            state = .trailerName
        case .trailerValue:
            if byte == 13 {
                state = .trailerEnd
            } else {
                guard classes.isValue(byte) else { throw .bad("malformed trailer field") }
            }
        default:
            try require(byte, 10)
            state = .trailerStart
        }
    }

    private func require(_ byte: UInt8, _ wanted: UInt8) throws(HTTPProtocolError) {
        guard byte == wanted else { throw .bad("a line must end with CR LF") }
    }
}

/// The value of a hexadecimal digit of either case; nil for any other byte.
@inline(__always)
func hexDigit(_ byte: UInt8) -> UInt8? {
    switch byte {
    case 48...57: byte - 48
    case 65...70: byte - 55
    case 97...102: byte - 87
    default: nil
    }
}
