@_spi(_Unicode) import Swift

extension String {
    /// Whether the text is in Unicode's normal form C (UAX #15), in which equal texts have equal bytes.
    var isNormalized: Bool { unicodeScalars.elementsEqual(_nfc) }
}
