import Base
import Glibc

/// Where every fuzz entry gets its inputs: good examples (the corpus), changed in a few places.
///
///     for input in Fuzz("HTTP heads", corpus: heads, pieces: spice) { … }
///
/// In a test run an entry tries a fixed number of inputs from a fixed seed. `make fuzz` gives it a share of
/// seconds and a fresh seed instead, through the environment (`scripts/fuzz` says which variables). Each
/// input follows from the seed and its own number alone, so that one that fails is found again without those
/// before it.
package final class Fuzz: Sequence, IteratorProtocol {
    /// One input, and the source of whatever else its check has to choose.
    package struct Input: CustomStringConvertible {
        /// The input itself.
        package let bytes: [UInt8]
        /// For choices that the check makes besides.
        package let random: SeededRandom
        fileprivate let number: UInt64
        fileprivate let source: Fuzz

        /// The input as text. Bytes that are not UTF-8 are replaced.
        package var text: String { String(decoding: bytes, as: UTF8.self) }

        /// What a report needs to find it again: as text, or in hexadecimal where it is none.
        package var description: String {
            let shown = String(validating: bytes, as: UTF8.self)?.debugDescription ?? Hex.encode(bytes)
            return "seed \(source.seed), input \(number): \(shown)"
        }

        /// Places at which to cut the input, in order; none, or up to four.
        package var cuts: [Int] {
            (0..<random.below(5)).map { _ in random.below(bytes.count + 1) }.sorted()
        }

        /// For a check that takes two inputs: a second one, made like the first.
        package var another: [UInt8] { source.changed(random) }
    }

    /// What one input may cost in processor time before it counts as a hang.
    private static let mostSeconds = 2.0
    /// Bytes of the longest input that is made by doubling pieces.
    private static let mostBytes = 64 << 10

    private let name: String
    private let corpus: [[UInt8]]
    private let pieces: [[UInt8]]
    private let seed: UInt64
    private let mode: Mode
    private let progress: Int32
    private var number: UInt64 = 0
    private var began = 0.0
    private var isOver = false
    /// Inputs that were given out so far.
    package private(set) var tried = 0

    private enum Mode {
        case count(UInt64)
        /// Until the clock that only goes forward shows this.
        case until(Double)
        case one(UInt64)
    }

    /// - Parameters:
    ///   - name: for reports.
    ///   - corpus: inputs that the code under test accepts; at least one. The same in every process, where
    ///     it can be, so that an input is found again to the byte.
    ///   - pieces: what tends to matter in this language; put in here and there.
    ///   - inputs: how many a test run tries.
    package init(_ name: String, corpus: [[UInt8]], pieces: [[UInt8]] = [], inputs: Int = 100_000) {
        precondition(!corpus.isEmpty, "a fuzz entry without an example")
        self.name = name
        self.corpus = corpus
        self.pieces = pieces
        // An entry has a seed of its own, so that two of one suite do not try the same changes.
        let own = name.utf8.reduce(0xCBF2_9CE4_8422_2325 as UInt64) { ($0 ^ UInt64($1)) &* 0x100_0000_01B3 }
        seed = Self.variable("HOLDFAST_FUZZ_SEED") ?? own
        if let one = Self.variable("HOLDFAST_FUZZ_INPUT") {
            mode = .one(one)
            number = one
        } else if let seconds = Self.variable("HOLDFAST_FUZZ_SECONDS") {
            mode = .until(Self.time(CLOCK_MONOTONIC) + Double(seconds))
        } else {
            mode = .count(UInt64(inputs))
        }
        progress =
            getenv("HOLDFAST_FUZZ_PROGRESS").map { open($0, O_WRONLY | O_CREAT | O_CLOEXEC, 0o600) } ?? -1
    }

    /// The same with text.
    package convenience init(
        _ name: String, texts: [String], pieces: [String] = [], inputs: Int = 100_000
    ) {
        self.init(
            name, corpus: texts.map { Array($0.utf8) }, pieces: pieces.map { Array($0.utf8) }, inputs: inputs)
    }

    deinit { if progress >= 0 { close(progress) } }

    /// Whether enough inputs were tried for a count of them to mean something.
    package var isWhole: Bool { tried >= 1_000 }

    /// The next input; nil when the entry's time is over.
    package func next() -> Input? {
        judgeLast()
        switch mode {
        case .count(let most): if number >= most { return nil }
        case .until(let end):
            if Self.time(CLOCK_MONOTONIC) >= end {
                report("\(tried) inputs from seed \(seed)")
                return nil
            }
        case .one: if isOver { return nil }
        }
        isOver = true
        note(number)
        let random = SeededRandom(seed: seed ^ number &* 0x9E37_79B9_7F4A_7C15)
        let input = Input(bytes: changed(random), random: random, number: number, source: self)
        if case .one = mode { report("\(input)") }
        number += 1
        tried += 1
        began = Self.time(CLOCK_THREAD_CPUTIME_ID)
        return input
    }

    // MARK: Changes

    private func changed(_ random: SeededRandom) -> [UInt8] {
        if random.below(50) == 0 { return random.bytes(random.below(64)) }
        var bytes = corpus[random.below(corpus.count)]
        for _ in 0..<random.below(5) { change(&bytes, random) }
        return bytes
    }

    private func change(_ bytes: inout [UInt8], _ random: SeededRandom) {
        let place = random.below(bytes.count + 1)
        let end = Swift.min(bytes.count, place + 1 + random.below(random.below(4) == 0 ? 64 : 8))
        switch random.below(9) {
        case 0 where place < bytes.count: bytes[place] = UInt8(random.below(256))
        case 1 where place < bytes.count: bytes[place] ^= 1 << UInt8(random.below(8))
        case 2 where place < bytes.count: bytes.remove(at: place)
        case 3: bytes.removeSubrange(place..<end)
        case 4 where bytes.count < Self.mostBytes: bytes.insert(contentsOf: bytes[place..<end], at: place)
        case 5 where bytes.count < Self.mostBytes:
            // The head of this one with the tail of another.
            let other = corpus[random.below(corpus.count)]
            bytes.replaceSubrange(place..., with: other[random.below(other.count + 1)...])
        case 6: swapNumber(&bytes, from: place, random)
        case 7 where random.below(8) == 0: bytes.removeSubrange(place...)
        default:
            let piece = pieces.isEmpty ? [UInt8(random.below(256))] : pieces[random.below(pieces.count)]
            if random.below(2) == 0 {
                bytes.insert(contentsOf: piece, at: place)
            } else {
                bytes.replaceSubrange(place..<Swift.min(bytes.count, place + piece.count), with: piece)
            }
        }
    }

    private static let numbers = [
        "0", "-1", "1", "00", "255", "256", "65536", "2147483647", "2147483648", "4294967296",
        "9223372036854775807", "9223372036854775808", "18446744073709551616", "99999999999999999999", "1e999",
    ].map { Array($0.utf8) }

    /// The next number behind `place` becomes one at the edge of something.
    private func swapNumber(_ bytes: inout [UInt8], from place: Int, _ random: SeededRandom) {
        func isDigit(_ byte: UInt8) -> Bool { byte &- 48 < 10 }
        guard let first = bytes[place...].firstIndex(where: isDigit) else { return }
        let end = bytes[first...].firstIndex { !isDigit($0) } ?? bytes.count
        bytes.replaceSubrange(first..<end, with: Self.numbers[random.below(Self.numbers.count)])
    }

    // MARK: Watching

    /// A hang ends the process, as a crash does: the input's number is in the file of the progress.
    private func judgeLast() {
        guard tried > 0, case .until = mode else { return }
        let took = Self.time(CLOCK_THREAD_CPUTIME_ID) - began
        if took > Self.mostSeconds {
            report("input \(number - 1) from seed \(seed) took \(took) s of processor time")
            abort()
        }
    }

    private func note(_ number: UInt64) {
        guard progress >= 0 else { return }
        var text = Array("\(seed) \(number)\n".utf8)
        text += Array(repeating: 32, count: Swift.max(0, 48 - text.count))
        _ = pwrite(progress, text, text.count, 0)
    }

    private func report(_ text: String) {
        let line = Array("fuzz \(name): \(text)\n".utf8)
        _ = write(STDERR_FILENO, line, line.count)
    }

    private static func time(_ clock: clockid_t) -> Double {
        var time = timespec()
        clock_gettime(clock, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }

    private static func variable(_ name: String) -> UInt64? {
        getenv(name).flatMap { UInt64(String(cString: $0)) }
    }
}
