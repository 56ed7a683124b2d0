import Base
package import PluginKit
import Glibc

func waitBriefly() { usleep(2_000) }

/// What every audit device must do. A subject says how to make a device, how to read what it wrote, and how
/// to take its target away and give it back.
package enum AuditConformance {
    package typealias Maker = () throws -> any AuditDevice

    /// A device and the other end of it.
    package struct Subject {
        package let make: Maker
        /// All records that have arrived, without what a transport adds to them; in the order of arrival.
        package let arrived: () throws -> [String]
        /// Makes writing impossible.
        package let takeAway: () throws -> Void
        /// Makes it possible again. What arrived before may be lost.
        package let giveBack: () throws -> Void
        /// Bytes that one record may have.
        package let largest: Int

        package init(
            make: @escaping Maker,
            arrived: @escaping () throws -> [String], takeAway: @escaping () throws -> Void,
            giveBack: @escaping () throws -> Void, largest: Int = 4 << 20
        ) {
            self.make = make
            self.arrived = arrived
            self.takeAway = takeAway
            self.giveBack = giveBack
            self.largest = largest
        }
    }

    /// What did not hold.
    package struct Failure: Error, CustomStringConvertible {
        package let description: String
    }

    /// One thing that devices must do.
    package struct Check: Sendable, CustomStringConvertible {
        package let description: String
        private let body: @Sendable (Subject) throws -> Void

        init(_ description: String, _ body: @escaping @Sendable (Subject) throws -> Void) {
            self.description = description
            self.body = body
        }

        package func run(_ subject: Subject) throws { try body(subject) }
    }

    package static let checks: [Check] = [
        Check("nothing is touched before the first record", nothingIsTouched),
        Check("records arrive whole and in order", recordsArrive),
        Check("elements of several records arrive as records", elementsOfSeveral),
        Check("large records arrive whole", largeRecords),
        Check("a device goes on after it was told to reopen", reopening),
        Check("a failure is told and the same device recovers", recovery),
        Check("a second device adds to what the first one wrote", secondDevice),
    ]

    private static func record(_ text: String) -> [UInt8] { Array(#"{"n":"\#(text)"}"#.utf8) + [10] }

    private static func expect(_ subject: Subject, _ wanted: [String]) throws {
        // What goes through a kernel's buffers needs a moment to arrive.
        var found: [String] = []
        for _ in 0..<1_000 {
            found = try subject.arrived()
            if found == wanted { return }
            waitBriefly()
        }
        throw Failure(
            description: "expected \(wanted.count) records, found \(found.count): \(found.prefix(3))")
    }

    private static func nothingIsTouched(_ subject: Subject) throws {
        try subject.takeAway()
        let device = try subject.make()
        device.reopen()
        device.close()
    }

    private static func recordsArrive(_ subject: Subject) throws {
        let device = try subject.make()
        defer { device.close() }
        var wanted: [String] = []
        for group in 0..<20 {
            let names = (0...group).map { "\(group)-\($0)" }
            try device.append(names.map(record))
            wanted += names.map { #"{"n":"\#($0)"}"# }
        }
        try expect(subject, wanted)
    }

    private static func elementsOfSeveral(_ subject: Subject) throws {
        let device = try subject.make()
        defer { device.close() }
        try device.append([record("a") + record("b"), record("c")])
        try expect(subject, ["a", "b", "c"].map { #"{"n":"\#($0)"}"# })
    }

    private static func largeRecords(_ subject: Subject) throws {
        let device = try subject.make()
        defer { device.close() }
        let large = String(repeating: "x", count: subject.largest - 64)
        try device.append([record(large), record("after")])
        try expect(subject, [large, "after"].map { #"{"n":"\#($0)"}"# })
    }

    private static func reopening(_ subject: Subject) throws {
        let device = try subject.make()
        defer { device.close() }
        try device.append([record("a")])
        try expect(subject, [#"{"n":"a"}"#])
        device.reopen()
        try device.append([record("b")])
        let found = try lastArrived(subject, #"{"n":"b"}"#)
        guard found else { throw Failure(description: "nothing arrives after reopening") }
    }

    private static func recovery(_ subject: Subject) throws {
        let device = try subject.make()
        defer { device.close() }
        try device.append([record("a")])
        try subject.takeAway()
        device.reopen()
        do {
            try device.append([record("lost")])
            throw Failure(description: "a record without a place to go was taken")
        } catch is VaultError {}
        try subject.giveBack()
        try device.append([record("c")])
        guard try lastArrived(subject, #"{"n":"c"}"#) else {
            throw Failure(description: "the device does not recover")
        }
    }

    private static func secondDevice(_ subject: Subject) throws {
        let first = try subject.make()
        try first.append([record("a")])
        try expect(subject, [#"{"n":"a"}"#])
        first.close()
        let second = try subject.make()
        defer { second.close() }
        try second.append([record("b")])
        guard try lastArrived(subject, #"{"n":"b"}"#) else {
            throw Failure(description: "the second device's record did not arrive")
        }
    }

    private static func lastArrived(_ subject: Subject, _ record: String) throws -> Bool {
        for _ in 0..<1_000 {
            if try subject.arrived().last == record { return true }
            waitBriefly()
        }
        return false
    }
}
