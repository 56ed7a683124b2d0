import Base
import Glibc

/// Very many due leases in little memory: their ids stand one behind the other in one array of bytes, about
/// eighty bytes for each.
///
/// They are ended in the order of their names, which is that of their places in storage. The more of them are
/// sorted at once, the more neighbours end together and share the writing of their pages.
struct DueList {
    private struct Place {
        let start: UInt32
        let count: UInt32
        let expires: Timestamp
    }
    private var ids: [UInt8] = []
    private var places: [Place] = []

    var count: Int { places.count }

    mutating func add(_ lease: DueLease) {
        let start = ids.count
        ids.append(contentsOf: lease.id.utf8)
        places.append(
            Place(start: UInt32(start), count: UInt32(ids.count - start), expires: lease.expires))
    }

    /// By the bytes of their ids.
    mutating func sort() {
        ids.withUnsafeBytes { ids in
            func id(_ place: Place) -> Slice<UnsafeRawBufferPointer> {
                ids[Int(place.start)..<Int(place.start + place.count)]
            }
            places.sort { a, b in
                Self.precedes(
                    UnsafeRawBufferPointer(rebasing: id(a)), UnsafeRawBufferPointer(rebasing: id(b)))
            }
        }
    }

    private static func precedes(_ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer) -> Bool {
        guard let left = a.baseAddress, let right = b.baseAddress else { return a.count < b.count }
        let order = memcmp(left, right, min(a.count, b.count))
        return order == 0 ? a.count < b.count : order < 0
    }

    func leases(_ range: Range<Int>) -> [DueLease] {
        places[range].map { place in
            let id = ids[Int(place.start)..<Int(place.start + place.count)]
            return DueLease(id: String(decoding: id, as: UTF8.self), expires: place.expires)
        }
    }
}
