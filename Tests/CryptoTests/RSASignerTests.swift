import Base
import Testing

@testable import Crypto

@Suite struct RSASignerTests {
    private static let key = """
        -----BEGIN PRIVATE KEY-----
        MIICdQIBADANBgkqhkiG9w0BAQEFAASCAl8wggJbAgEAAoGBAM+5ruk9AT+lezLz
        Ms1pZLXkcJwgTC+lNix1Ue0Q5mbst5RathulgqIqgBd6tUdtCXYQB9ZYzIEPeyXm
        IbNHDPoianD1PVcaes4sv/Q63/97hDFuymVfzHcwqkMw9y7RKmT9lYnbbEghRwx0
        s0sQHDsWr6Y6c0QJv94P9r59G4nPAgMBAAECgYAW5ajaHNdeZKdH3nbjHZL0WdHv
        47+CIPvvup7lOs+q2L0DpVwdgAj+RyEHdYc18FbypKG4huFD+KjibJOaZ2KOnQjw
        V9xNDmNMXWIlbHfW3G4GejqyamnDXm4AoINB4Exr61PmIbEe7kU6YLb0KFF4WP1x
        KPUBh1jc+DkLT4ODwQJBAPEhQaCKNgAuWjvt5L4zNfK4NejPKYhGMnuXIjEMAHcW
        UM2WylOrpDkcjZq7NF9OgS0OZ5XqWtnyJInLISI1wSUCQQDciRCvQUWUMNscP6zg
        2OUqgHf4eTn1tfmSuQJvMkE4Zv6mgRsvnFSMcsPQkQF0OAPRnFlZMF733pTqCFXk
        uE7jAkAJMN1RgzMfuqSR2DV50nXh9IeJgivxF8vgzhftiqmR4HXgADliCw7NZns3
        RJ9waoud7gigvDgOSp596hIvPaFJAkBLNXs5KVtfNGIk+hos/Ar7OaCwXjdD8nFQ
        dkO8RDk10PobMoBg9kFnPGRHJoyGY+v5egaGghaBFalXPsx8GdbdAkAwijnzqCD8
        7ZE5Qq/oiRaxK6pNd+xwqxdyitUJvRTy4T24qFsomGAkv//qSfcyFGw26MwIj1lj
        Hu4MR1NVTlwl
        -----END PRIVATE KEY-----

        """

    /// As `openssl dgst -sha256 -sign` signs it: the padding has no randomness.
    @Test func signaturesAreThoseOfOpenSSL() throws {
        let signature = try RSASigner.sign(
            Array("header.claims".utf8), pem: SecretBytes(copying: Self.key.utf8))
        #expect(
            Base64.standard.encode(signature)
                == "L9y/M1YE+vrz8xUgHbF0LXWN2iUXubQrYBXXakDURD2H5qsBzasqrxYow0RG8amlZ/4FHT8px4VavTbN"
                + "X4vDcw3fmQRQE9wj31RAfm8J22q6ijutqXiYT9mn7h4eTvFJC"
                + "+z7v7VfmVNVkNum+CruTUUmpv/1BBEkXa/JJAFLKnQ="
        )
    }

    @Test(arguments: ["", "junk", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
    func whatIsNoKeyIsRefused(text: String) {
        #expect(throws: VaultError.self) {
            try RSASigner.sign([1], pem: SecretBytes(copying: text.utf8))
        }
    }

    /// RFC 2202, test case 2.
    @Test func codesWithSHA1AreThoseOfTheRFC() {
        let code = HMACSHA1.code(
            key: SecretBytes(copying: "Jefe".utf8), message: Array("what do ya want for nothing?".utf8))
        #expect(Hex.encode(code) == "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79")
    }
}
