import Base
import Foundation
import PluginKit
import TestKit
import Testing

@testable import Seals

@Suite struct StaticSealTests {
    private static let key = String(repeating: "ab", count: 32)
    private static let other = String(repeating: "cd", count: 32)

    private func make(
        _ written: [String: String], environment: [String: String] = [:]
    ) throws(VaultError) -> StaticSeal {
        try StaticSeal(SealContext(settings: SealSettings(written) { environment[$0] }))
    }

    @Test func keysComeBack() throws {
        let seal = try make(["current_key_id": "a", "current_key": Self.key])
        #expect(try SealConformance.roundTrips(seal) == [])
        #expect(try SealConformance.noticesDamage(seal) == [])
    }

    @Test func theKeyBeforeStillUnwraps() throws {
        let old = try make(["current_key_id": "a", "current_key": Self.key])
        let wrapped = try old.wrap(SecretBytes(copying: [UInt8](repeating: 7, count: 32)))
        let new = try make([
            "current_key_id": "b", "current_key": Self.other, "previous_key_id": "a",
            "previous_key": Self.key,
        ])
        #expect(try new.unwrap(wrapped) == SecretBytes(copying: [UInt8](repeating: 7, count: 32)))
        #expect(try new.wrap(SecretBytes(copying: [1])).keyID == "b")
        let alone = try make(["current_key_id": "b", "current_key": Self.other])
        #expect(throws: VaultError.self) { try alone.unwrap(wrapped) }
    }

    @Test func anotherKeyOfTheSameNameIsNoticed() throws {
        let seal = try make(["current_key_id": "a", "current_key": Self.key])
        let foreign = try make(["current_key_id": "a", "current_key": Self.other])
        let wrapped = try foreign.wrap(SecretBytes(copying: [1, 2, 3]))
        #expect(throws: VaultError.self) { try seal.unwrap(wrapped) }
    }

    @Test func theKeyMayComeFromAFileOrTheEnvironment() throws {
        let path = NSTemporaryDirectory() + "static-seal-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: path) }
        let inText = try make(["current_key_id": "a", "current_key": Self.key])
        let wrapped = try inText.wrap(SecretBytes(copying: [1, 2, 3]))
        for content in [Data((Self.key + "\n").utf8), Data([UInt8](repeating: 0xAB, count: 32))] {
            try content.write(to: URL(fileURLWithPath: path))
            let seal = try make(["current_key_id": "a", "current_key": "file://" + path])
            #expect(try seal.unwrap(wrapped) == SecretBytes(copying: [1, 2, 3]))
        }
        let seal = try make(
            ["current_key_id": "a", "current_key": "env://SEAL"], environment: ["SEAL": Self.key])
        #expect(try seal.unwrap(wrapped) == SecretBytes(copying: [1, 2, 3]))
    }

    @Test(arguments: [
        [:], ["current_key_id": "a"], ["current_key": Self.key],
        ["current_key_id": "a", "current_key": "abcd"], ["current_key_id": "a", "current_key": "no key"],
        ["current_key_id": "a", "current_key": "file:///does/not/exist"],
        ["current_key_id": "a", "current_key": "env://NOT_SET"],
        ["current_key_id": "a", "current_key": Self.key, "previous_key": Self.other],
        ["current_key_id": "a", "current_key": Self.key, "previous_key_id": "b"],
        [
            "current_key_id": "a", "current_key": Self.key, "previous_key_id": "a",
            "previous_key": Self.other,
        ],
    ])
    func whatMakesNoSenseIsRefusedByName(written: [String: String]) {
        #expect { try make(written) } throws: { error in
            guard case .badRequest(let text)? = error as? VaultError else { return false }
            return text.contains("_key") && !text.contains(Self.key) && !text.contains(Self.other)
        }
    }
}
