import Base
import TestKit
import Testing

@testable import Core

@Suite struct TokensCodecTests {
    /// An entry with something in every field.
    static var full: TokenEntry {
        var entry = TokenEntry(hash: "h1", created: Timestamp(nanoseconds: 1_700_000_000_123_456_789))
        entry.accessor = "acc"
        entry.parent = "p"
        entry.policies = ["default", "dév"]
        entry.path = "auth/token/create"
        entry.displayName = "token-x"
        entry.metadata = ["a": "1", "b": ""]
        entry.lifetime.ttl = .seconds(3600)
        entry.lifetime.explicitMaxTTL = .seconds(7200)
        entry.lifetime.period = .seconds(60)
        entry.lifetime.expires = entry.lifetime.created + .seconds(3600)
        entry.lifetime.renewed = entry.lifetime.created + .seconds(1)
        entry.lifetime.isRenewable = true
        entry.numberOfUses = -1
        entry.entityID = "e"
        entry.boundCIDRs = [CIDRBlock("10.0.0.0/8")].compactMap { $0 }
        entry.role = "r"
        return entry
    }

    @Test func everyFieldComesBack() {
        #expect(TokenCodec.decode(TokenCodec.encode(Self.full), hash: "h1") == Self.full)
        let bare = TokenEntry(hash: "h2", created: Timestamp(seconds: 1))
        #expect(TokenCodec.decode(TokenCodec.encode(bare), hash: "h2") == bare)
    }

    @Test func everyPrefixAndEveryExtraByteIsRefused() {
        let bytes = TokenCodec.encode(Self.full)
        for count in 0..<bytes.count {
            #expect(TokenCodec.decode(Array(bytes.prefix(count)), hash: "h1") == nil)
        }
        #expect(TokenCodec.decode(bytes + [0], hash: "h1") == nil)
    }

    @Test func foreignVersionTypeAndFlagsAreRefused() {
        var bytes = TokenCodec.encode(Self.full)
        for (place, value) in [(0, UInt8(2)), (1, 9), (2, 0xF0)] {
            let before = bytes[place]
            bytes[place] = value
            #expect(TokenCodec.decode(bytes, hash: "h1") == nil)
            bytes[place] = before
        }
    }

    @Test(arguments: [
        ("10.0.0.0/8", "10.1.2.3", true), ("10.0.0.0/8", "11.0.0.1", false), ("127.0.0.1", "127.0.0.1", true),
        ("127.0.0.1", "127.0.0.2", false), ("10.0.0.0/9", "10.128.0.1", false), ("::1/128", "::1", true),
        ("2001:db8::/33", "2001:db8:7fff::1", true), ("2001:db8::/33", "2001:db8:8000::1", false),
        ("10.0.0.0/8", "::ffff:10.1.1.1", true), ("0.0.0.0/0", "8.8.8.8", true), ("0.0.0.0/0", "::1", false),
        ("10.0.0.0/8", "", false), ("10.0.0.0/8", "x", false),
    ])
    func networksContainWhatTheyShould(network: String, address: String, expected: Bool) {
        #expect(CIDRBlock(network)?.contains(address) == expected)
    }

    @Test(arguments: [
        "", "x", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/", "10.0.0/8", "::/129", "1.2.3.4/8/8",
    ])
    func badNetworksAreRefused(text: String) { #expect(CIDRBlock(text) == nil) }
}
