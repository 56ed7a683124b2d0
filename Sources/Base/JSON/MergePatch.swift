/// JSON Merge Patch (RFC 7386) over raw bytes, and an object's bare names: neither recurses, so that
/// depth costs heap and never stack, and both look at each byte once.
extension RawJSON {
    /// This value with `patch` applied. Values that the patch does not touch keep their very bytes and order;
    /// new members come last.
    package func mergePatched(with patch: RawJSON) -> RawJSON {
        guard patch.kind == .object else { return patch }
        let target = JSONOutline(self)
        let change = JSONOutline(patch)
        var output: [UInt8] = [UInt8(ascii: "{")]
        output.reserveCapacity(bytes.count + patch.bytes.count)
        var open = [MergeFrame(target: target, node: kind == .object ? 0 : nil, change: change, patch: 0)]
        while !open.isEmpty {
            let isFirst = open[open.count - 1].isAtStart
            guard let item = open[open.count - 1].advance() else {
                output.append(UInt8(ascii: "}"))
                open.removeLast()
                continue
            }
            if !isFirst { output.append(UInt8(ascii: ",")) }
            output.append(
                contentsOf: item.target.map { target.name($0) } ?? item.patch.map { change.name($0) } ?? [])
            output.append(UInt8(ascii: ":"))
            if let patched = item.patch {
                if change.isObject(patched) {
                    output.append(UInt8(ascii: "{"))
                    let inner = item.target.flatMap { target.isObject($0) ? $0 : nil }
                    open.append(MergeFrame(target: target, node: inner, change: change, patch: patched))
                } else {
                    output.append(contentsOf: change.value(patched))
                }
            } else if let kept = item.target {
                output.append(contentsOf: target.value(kept))
            }
        }
        return RawJSON(trusted: output)
    }

    /// The same object with null in place of all that is no object with members. Objects that lie deeper
    /// than `depth` levels become null as well; 0 sets no limit. Other kinds give null.
    package func namesOnly(depth: Int = 0) -> RawJSON {
        guard kind == .object else { return RawJSON(trusted: Array("null".utf8)) }
        let outline = JSONOutline(self)
        var output: [UInt8] = [UInt8(ascii: "{")]
        var open: [(members: [(name: String, node: Int)], next: Int)] = [(outline.members(of: 0), 0)]
        while let (members, next) = open.last {
            guard next < members.count else {
                output.append(UInt8(ascii: "}"))
                open.removeLast()
                continue
            }
            open[open.count - 1].next += 1
            if next > 0 { output.append(UInt8(ascii: ",")) }
            let node = members[next].node
            output.append(contentsOf: outline.name(node))
            output.append(UInt8(ascii: ":"))
            let isTooDeep = depth > 0 && open.count >= depth
            if isTooDeep || outline.nodes[node].firstChild < 0 {
                output.append(contentsOf: "null".utf8)
            } else {
                output.append(UInt8(ascii: "{"))
                open.append((outline.members(of: node), 0))
            }
        }
        return RawJSON(trusted: output)
    }
}

/// One object that is being merged: its members in order of output, and how far the output has come.
private struct MergeFrame {
    struct Item {
        var target: Int?
        var patch: Int?
    }
    private var items: [Item] = []
    private var next = 0

    /// `node` is the object that `patch` changes; nil when there is none yet.
    init(target: JSONOutline, node: Int?, change: JSONOutline, patch: Int) {
        var names = OrderedNames()
        var removed: Set<Int> = []
        if let node {
            for (name, member) in target.members(of: node) {
                _ = names.insert(name)
                items.append(Item(target: member, patch: nil))
            }
        }
        for (name, member) in change.members(of: patch) {
            if change.isNull(member) {
                if let place = names.place(of: name) { removed.insert(place) }
                continue
            }
            let (place, isNew) = names.insert(name)
            if isNew { items.append(Item(target: nil, patch: member)) } else { items[place].patch = member }
        }
        if !removed.isEmpty {
            items = items.enumerated().filter { !removed.contains($0.offset) }.map(\.element)
        }
    }

    var isAtStart: Bool { next == 0 }

    mutating func advance() -> Item? {
        guard next < items.count else { return nil }
        next += 1
        return items[next - 1]
    }
}
