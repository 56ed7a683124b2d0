/// Where the members of an object's nested objects begin and end: one pass over the bytes, no copy.
///
/// Objects are taken apart at every depth, without recursion; arrays and scalars stay whole.
struct JSONOutline {
    struct Node {
        /// The name with its quotes; empty for the root.
        var name: Range<Int>
        var value: Range<Int>
        /// Indices of nodes, or -1.
        var firstChild: Int32 = -1
        var next: Int32 = -1
    }

    /// The root comes first.
    private(set) var nodes: [Node]
    private let buffer: [UInt8]

    init(_ json: RawJSON) {
        buffer = json.buffer
        nodes = [Node(name: 0..<0, value: json.start..<json.end)]
        guard json.kind == .object else { return }
        let start = json.start + 1
        var found = nodes
        buffer.withUnsafeBufferPointer { Self.walk($0, from: start, into: &found) }
        nodes = found
    }

    func isObject(_ node: Int) -> Bool { buffer[nodes[node].value.lowerBound] == UInt8(ascii: "{") }

    func isNull(_ node: Int) -> Bool { buffer[nodes[node].value.lowerBound] == UInt8(ascii: "n") }

    func name(_ node: Int) -> ArraySlice<UInt8> { buffer[nodes[node].name] }

    func value(_ node: Int) -> ArraySlice<UInt8> { buffer[nodes[node].value] }

    /// The members of an object in the order sent, the last of equal names winning the first's place.
    func members(of node: Int) -> [(name: String, node: Int)] {
        var found: [(name: String, node: Int)] = []
        var names = OrderedNames()
        var child = Int(nodes[node].firstChild)
        while child >= 0 {
            let range = nodes[child].name
            let name = RawJSON(buffer: buffer, start: range.lowerBound, end: range.upperBound).string ?? ""
            let (place, isNew) = names.insert(name)
            if isNew { found.append((name, child)) } else { found[place].node = child }
            child = Int(nodes[child].next)
        }
        return found
    }

    private static func walk(_ b: UnsafeBufferPointer<UInt8>, from start: Int, into nodes: inout [Node]) {
        var at = start
        var open: [(node: Int, lastChild: Int)] = [(0, -1)]
        while let (parent, previous) = open.last {
            while b[at] <= 32 || b[at] == UInt8(ascii: ",") { at += 1 }
            if b[at] == UInt8(ascii: "}") {
                at += 1
                nodes[parent].value = nodes[parent].value.lowerBound..<at
                open.removeLast()
                continue
            }
            let nameStart = at
            skipString(b, &at)
            let nameEnd = at
            while b[at] <= 32 || b[at] == UInt8(ascii: ":") { at += 1 }
            let valueStart = at
            let node = nodes.count
            if previous < 0 {
                nodes[parent].firstChild = Int32(node)
            } else {
                nodes[previous].next = Int32(node)
            }
            open[open.count - 1].lastChild = node
            if b[at] == UInt8(ascii: "{") {
                at += 1
                nodes.append(Node(name: nameStart..<nameEnd, value: valueStart..<at))
                open.append((node, -1))
            } else {
                skipFlat(b, &at)
                nodes.append(Node(name: nameStart..<nameEnd, value: valueStart..<at))
            }
        }
    }

    private static func skipString(_ b: UnsafeBufferPointer<UInt8>, _ at: inout Int) {
        at += 1
        while b[at] != UInt8(ascii: "\"") { at += b[at] == UInt8(ascii: "\\") ? 2 : 1 }
        at += 1
    }

    /// A scalar, or a whole array with all that is in it.
    private static func skipFlat(_ b: UnsafeBufferPointer<UInt8>, _ at: inout Int) {
        if b[at] == UInt8(ascii: "\"") { return skipString(b, &at) }
        guard b[at] == UInt8(ascii: "[") else {
            while b[at] > 32, b[at] != UInt8(ascii: ","), b[at] != UInt8(ascii: "}") { at += 1 }
            return
        }
        var depth = 0
        repeat {
            switch b[at] {
            case UInt8(ascii: "\""): skipString(b, &at)
            case UInt8(ascii: "["):
                depth += 1
                at += 1
            case UInt8(ascii: "]"):
                depth -= 1
                at += 1
            default: at += 1
            }
        } while depth > 0
    }
}

/// Names in the order of their first appearance: searched while few, indexed afterwards, so that no
/// object costs quadratic time.
struct OrderedNames {
    private static let mostSearched = 16
    private var names: [String] = []
    private var index: [String: Int] = [:]

    func place(of name: String) -> Int? {
        names.count > Self.mostSearched ? index[name] : names.firstIndex(of: name)
    }

    /// The name's place, and whether it is new.
    mutating func insert(_ name: String) -> (place: Int, isNew: Bool) {
        if let place = place(of: name) { return (place, false) }
        names.append(name)
        if names.count > Self.mostSearched {
            if index.isEmpty { for (place, name) in names.enumerated() { index[name] = place } }
            index[name] = names.count - 1
        }
        return (names.count - 1, true)
    }
}
