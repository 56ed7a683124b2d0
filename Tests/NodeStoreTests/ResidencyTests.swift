import Base
import Foundation
import Testing

@testable import NodeStore

/// Mapped pages of a durable store do not stay in this process without end.
@Suite(.serialized) struct ResidencyTests {
    @Test func aWalkThroughALargeStoreLeavesFewPagesMapped() throws {
        let statistics = Residency()
        let before = statistics.mappedBytes()
        let store = Store()
        let environment = try store.open()
        defer { environment.close() }
        let value = [UInt8](repeating: 7, count: 64 << 10)
        for batch in 0..<16 {
            try environment.put((0..<256).map { (key(batch * 256 + $0), value) })
        }
        let reader = try environment.makeReader()
        var most = 0
        for number in 0..<4_096 {
            try reader.refresh()
            let found = try #require(try key(number).withUnsafeBytes { try reader.get(0, $0) })
            // Every page is touched; what was given up comes back as it was.
            for at in stride(from: 0, to: found.count, by: 4_096) where found[at] != 7 {
                Issue.record("byte \(at) of value \(number) is lost")
            }
            reader.release()
            if number % 64 == 0 {
                most = max(most, statistics.mappedBytes())
                Thread.sleep(forTimeInterval: 0.025)
            }
        }
        // 256 MiB were read; the tests beside this one map their own.
        #expect(before > 0 && most - before < 160 << 20)
    }

    private func key(_ number: Int) -> [UInt8] { Array("key-\(number)".utf8) }
}
