/// Checks that bytes are one JSON value (RFC 8259), without recursion and within limits of depth,
/// string length and container size, and that they are UTF-8 throughout.
enum JSONValidator {
    /// - Returns: the offsets of the value's first byte and of the one behind its last.
    static func validate(_ bytes: [UInt8], limits: Limits) throws(VaultError) -> (start: Int, end: Int) {
        var walk = Walk(limits: limits)
        let failure: VaultError? = bytes.withUnsafeBufferPointer { buffer -> VaultError? in
            do throws(VaultError) {
                try walk.document(buffer)
                return nil
            } catch { return error }
        }
        if let failure { throw failure }
        return (walk.start, walk.end)
    }

    @inline(__always)
    static func hexValue(_ byte: UInt8) -> UInt8? {
        switch byte {
        case 48...57: byte - 48
        case 65...70: byte - 55
        case 97...102: byte - 87
        default: nil
        }
    }

    private struct Walk {
        let limits: Limits
        var start = 0
        var end = 0
        private var at = 0
        /// One entry for each open container: true for an object, with how many entries it has so far.
        private var open: [(isObject: Bool, entries: Int)] = []

        init(limits: Limits) { self.limits = limits }

        mutating func document(_ b: UnsafeBufferPointer<UInt8>) throws(VaultError) {
            skipSpace(b)
            start = at
            try value(b)
            end = at
            skipSpace(b)
            if at != b.count { throw fault("nothing more after the value") }
        }

        /// Reads a value and, when it opens containers, all that is inside of them.
        private mutating func value(_ b: UnsafeBufferPointer<UInt8>) throws(VaultError) {
            repeat {
                // Here stands the first byte of a value.
                switch at < b.count ? b[at] : 0 {
                case UInt8(ascii: "{"):
                    try push(isObject: true)
                    skipSpace(b)
                    if at < b.count, b[at] == UInt8(ascii: "}") {
                        at += 1; open.removeLast()
                    } else {
                        try name(b)
                        continue
                    }
                case UInt8(ascii: "["):
                    try push(isObject: false)
                    skipSpace(b)
                    if at < b.count, b[at] == UInt8(ascii: "]") {
                        at += 1; open.removeLast()
                    } else {
                        continue
                    }
                case UInt8(ascii: "\""): try string(b)
                case UInt8(ascii: "t"): try word(b, "true")
                case UInt8(ascii: "f"): try word(b, "false")
                case UInt8(ascii: "n"): try word(b, "null")
                default: try number(b)
                }
                try closeOrAdvance(b)
            } while !open.isEmpty
        }

        /// Behind a complete value: closes what ends here, or steps to the next value.
        private mutating func closeOrAdvance(_ b: UnsafeBufferPointer<UInt8>) throws(VaultError) {
            while let container = open.last {
                skipSpace(b)
                let byte = at < b.count ? b[at] : 0
                if byte == UInt8(ascii: ",") {
                    at += 1
                    open[open.count - 1].entries += 1
                    let most = container.isObject ? limits.jsonObjectEntries : limits.jsonArrayElements
                    if container.entries + 2 > most {
                        throw .tooLarge(
                            "a JSON \(container.isObject ? "object" : "array") may have \(most) entries at most"
                        )
                    }
                    skipSpace(b)
                    if container.isObject { try name(b) }
                    return
                }
                guard byte == UInt8(ascii: container.isObject ? "}" : "]") else {
                    throw fault(container.isObject ? "',' or '}'" : "',' or ']'")
                }
                at += 1
                open.removeLast()
            }
        }

        private mutating func push(isObject: Bool) throws(VaultError) {
            if open.count >= limits.jsonDepth {
                throw .badRequest("JSON may be nested \(limits.jsonDepth) levels deep at most")
            }
            open.append((isObject, 0))
            at += 1
        }

        private mutating func name(_ b: UnsafeBufferPointer<UInt8>) throws(VaultError) {
            guard at < b.count, b[at] == UInt8(ascii: "\"") else {
                throw fault("a member's name in double quotes")
            }
            try string(b)
            skipSpace(b)
            guard at < b.count, b[at] == UInt8(ascii: ":") else { throw fault("':'") }
            at += 1
            skipSpace(b)
        }

        private mutating func string(_ b: UnsafeBufferPointer<UInt8>) throws(VaultError) {
            at += 1
            let first = at
            while true {
                guard at < b.count else { throw fault("the end of a string") }
                let byte = b[at]
                switch byte {
                case UInt8(ascii: "\""):
                    if at - first > limits.jsonStringBytes {
                        throw .tooLarge("a JSON string may have \(limits.jsonStringBytes) bytes at most")
                    }
                    at += 1
                    return
                case UInt8(ascii: "\\"): try escape(b)
                case 0..<32: throw fault("no control character inside a string")
                case 32..<128: at += 1
                default: try multibyte(b)
                }
            }
        }

        private mutating func escape(_ b: UnsafeBufferPointer<UInt8>) throws(VaultError) {
            guard at + 1 < b.count else { throw fault("the rest of an escape") }
            switch b[at + 1] {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"), UInt8(ascii: "b"),
                UInt8(ascii: "f"),
                UInt8(ascii: "n"), UInt8(ascii: "r"), UInt8(ascii: "t"):
                at += 2
            case UInt8(ascii: "u"):
                guard at + 6 <= b.count, (2..<6).allSatisfy({ hexValue(b[at + $0]) != nil }) else {
                    throw fault("four hexadecimal digits after \\u")
                }
                at += 6
            default: throw fault("an escape of JSON's")
            }
        }

        /// One character of two to four bytes, refused when overlong, a surrogate or past U+10FFFF (RFC
        /// 3629).
        private mutating func multibyte(_ b: UnsafeBufferPointer<UInt8>) throws(VaultError) {
            let lead = b[at]
            let second = at + 1 < b.count ? b[at + 1] : 0
            let length: Int
            let lowest: UInt8
            let highest: UInt8
            switch lead {
            case 0xC2...0xDF: (length, lowest, highest) = (2, 0x80, 0xBF)
            case 0xE0: (length, lowest, highest) = (3, 0xA0, 0xBF)
            case 0xED: (length, lowest, highest) = (3, 0x80, 0x9F)
            case 0xE1...0xEF: (length, lowest, highest) = (3, 0x80, 0xBF)
            case 0xF0: (length, lowest, highest) = (4, 0x90, 0xBF)
            case 0xF1...0xF3: (length, lowest, highest) = (4, 0x80, 0xBF)
            case 0xF4: (length, lowest, highest) = (4, 0x80, 0x8F)
            default: throw fault("UTF-8")
            }
            guard at + length <= b.count, (lowest...highest).contains(second),
                (2..<length).allSatisfy({ b[at + $0] & 0xC0 == 0x80 }) || length == 2
            else { throw fault("UTF-8") }
            at += length
        }

        private mutating func number(_ b: UnsafeBufferPointer<UInt8>) throws(VaultError) {
            func digit() -> Bool { at < b.count && b[at] >= 48 && b[at] <= 57 }
            let first = at
            if at < b.count, b[at] == UInt8(ascii: "-") { at += 1 }
            guard digit() else {
                at = first
                throw fault("a JSON value")
            }
            if b[at] == 48 { at += 1 } else { while digit() { at += 1 } }
            if at < b.count, b[at] == UInt8(ascii: ".") {
                at += 1
                guard digit() else { throw fault("a digit") }
                while digit() { at += 1 }
            }
            if at < b.count, b[at] | 32 == UInt8(ascii: "e") {
                at += 1
                if at < b.count, b[at] == UInt8(ascii: "+") || b[at] == UInt8(ascii: "-") { at += 1 }
                guard digit() else { throw fault("a digit") }
                while digit() { at += 1 }
            }
        }

        private mutating func word(_ b: UnsafeBufferPointer<UInt8>, _ word: StaticString) throws(VaultError) {
            let length = word.utf8CodeUnitCount
            guard at + length <= b.count, (0..<length).allSatisfy({ b[at + $0] == word.utf8Start[$0] }) else {
                throw fault("a JSON value")
            }
            at += length
        }

        private mutating func skipSpace(_ b: UnsafeBufferPointer<UInt8>) {
            while at < b.count, b[at] == 32 || b[at] == 10 || b[at] == 13 || b[at] == 9 { at += 1 }
        }

        private func fault(_ expected: String) -> VaultError {
            .badRequest("failed to parse JSON input: byte \(at): expected \(expected)")
        }
    }
}
