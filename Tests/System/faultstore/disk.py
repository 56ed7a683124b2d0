"""A model of a disk that works out, from the shim's trace, what a crash may leave.

A killed process leaves all that it has written. A loss of power leaves what was synced, and of the rest
whatever the disk got to: any of a page's states since its last sync, some sectors of one and some of
another, any of the file's sizes, the names in the order of their changes but not all of them. A write to a
descriptor with O_DSYNC is synced, earlier ones to other pages are not. What a failed sync was to write is
lost to all later ones: the kernel counts those pages as clean.
"""
import os, struct
from pathlib import Path

HEAD = struct.Struct("<IcBHQQqqq")
MAGIC = 0x54534648
PAGE, SECTOR = 4096, 512


class Op:
    """One call: `what` is w(rite), t(runcate), a(llocate), s(ync), c(reate), m(ake directory), u(nlink),
    r(ename)."""

    def __init__(self, what, syncs, path, to, began, ended, offset, length, result, data):
        self.what, self.syncs, self.path, self.to = what, syncs, path, to
        self.began, self.ended, self.offset, self.length, self.result = began, ended, offset, length, result
        self.data = data

    def __repr__(self):
        more = f" {self.length} bytes at {self.offset}" if self.what == "w" else ""
        return f"{self.what} {os.path.basename(self.path)}{more}{' synced' if self.syncs else ''}"


def read_trace(path, start=0):
    """The calls in a trace from a byte on; a record that was cut short by the kill is left out."""
    raw = Path(path).read_bytes()
    ops, at = [], start
    while at + HEAD.size <= len(raw):
        magic, what, syncs, count, began, ended, offset, length, result = HEAD.unpack_from(raw, at)
        if magic != MAGIC:
            raise ValueError(f"the trace is broken at byte {at}")
        what = what.decode()
        end = at + HEAD.size + count
        names = raw[at + HEAD.size:end].decode().split("\0")
        data = raw[end:end + length] if what == "w" else b""
        if end > len(raw) or (what == "w" and len(data) < length):
            break
        ops.append(Op(what, bool(syncs), names[0], names[-1], began, ended, offset, length, result, data))
        at = end + len(data)
    return ops


class File:
    def __init__(self):
        self.cache, self.disk = bytearray(), bytearray()
        self.states = {}              # page -> its contents since the last sync, oldest first
        self.sizes = []               # sizes since the last sync

    def write(self, offset, data):
        if not data:
            return
        end = offset + len(data)
        if end > len(self.cache):
            self.cache += bytes(end - len(self.cache))
            self.sizes.append(end)
        self.cache[offset:end] = data
        for page in range(offset // PAGE, (end - 1) // PAGE + 1):
            self.states.setdefault(page, []).append(self.page(self.cache, page))

    def resize(self, size):
        if size < len(self.cache):
            del self.cache[size:]
            self.states = {p: s for p, s in self.states.items() if p * PAGE < size}
        else:
            self.cache += bytes(size - len(self.cache))
        self.sizes.append(size)

    @staticmethod
    def page(content, number):
        return bytes(content[number * PAGE:(number + 1) * PAGE]).ljust(PAGE, b"\0")

    def sync(self, first=0, last=1 << 60):
        """Writes the pages that are not clean; a whole sync the size too."""
        if last == 1 << 60 and self.sizes:
            self.settle(self.sizes[-1])
            self.sizes = []
        for number in [p for p in self.states if first <= p <= last]:
            content = self.states.pop(number)[-1]
            end = min((number + 1) * PAGE, len(self.cache))
            if end > len(self.disk):
                self.disk += bytes(end - len(self.disk))
            self.disk[number * PAGE:end] = content[:end - number * PAGE]

    def settle(self, size):
        if size < len(self.disk):
            del self.disk[size:]
        else:
            self.disk += bytes(size - len(self.disk))

    def lose(self):
        """A sync failed: the kernel counts the pages as clean, and the disk never got them."""
        self.states, self.sizes = {}, []

    def after_power_loss(self, rng, keep):
        """One of the contents that a loss of power may leave. `keep`: how likely each page was written."""
        left = bytearray(self.disk)
        if self.sizes and rng.random() < keep:
            size = rng.choice(self.sizes)
            left = left[:size] + bytes(max(0, size - len(left)))
        for number, states in self.states.items():
            if rng.random() >= keep:
                continue
            content = bytearray(rng.choice(states))
            if rng.random() < 0.2:                       # torn: sectors of different states
                older = rng.choice([self.page(self.disk, number), *states])
                for sector in range(0, PAGE, SECTOR):
                    if rng.random() < 0.5:
                        content[sector:sector + SECTOR] = older[sector:sector + SECTOR]
            # Pages behind the size that was recorded do not exist.
            end = min((number + 1) * PAGE, len(left))
            if end > number * PAGE:
                left[number * PAGE:end] = content[:end - number * PAGE]
        return bytes(left)


class Disk:
    """The files below `root` as the calls so far have left them. Directories are names without a file."""

    def __init__(self, root):
        self.root = str(root)
        self.names = {self.root: None}           # as the running system sees them
        self.kept = {self.root: None}            # what is certain after a loss of power
        self.changes = []                        # (directory, path, file, is it there) not yet synced

    def apply(self, op, half=False):
        """Takes one call over. `half`: the process died in the middle of it."""
        file = self.names.get(op.path)
        if op.what == "w":
            self.write(op, file, op.data[:len(op.data) // 2] if half else op.data, half)
        elif half:
            return
        elif op.what == "s":
            if op.path in self.names and file is None:
                self.sync_names(op.path) if op.result >= 0 else None
            elif file is not None:
                file.sync() if op.result >= 0 else file.lose()
        elif op.result < 0:
            return
        elif op.what in "ta":
            if file is not None and len(file.cache) != op.length:
                file.resize(op.length)
        elif op.what == "c":
            self.change(op.path, File(), True)
        elif op.what == "m":
            self.change(op.path, None, True)
        elif op.what == "u":
            if op.path in self.names:
                self.change(op.path, file, False)
        elif op.what == "r":
            self.change(op.to, file, True)
            self.change(op.path, file, False)

    @staticmethod
    def write(op, file, data, half):
        if file is None:
            return
        file.write(op.offset, data)
        if op.syncs and data and not half:
            pages = op.offset // PAGE, (op.offset + len(data) - 1) // PAGE
            if op.result >= 0:
                file.sync(*pages)
            else:
                for page in range(pages[0], pages[1] + 1):
                    file.states.pop(page, None)

    def change(self, path, file, is_there):
        if is_there:
            self.names[path] = file
        else:
            del self.names[path]
        self.changes.append((os.path.dirname(path), path, file, is_there))

    def sync_names(self, directory):
        for change in [c for c in self.changes if c[0] == directory]:
            self.settle(self.kept, change)
            self.changes.remove(change)

    @staticmethod
    def settle(names, change):
        _, path, file, is_there = change
        if is_there:
            names[path] = file
        else:
            names.pop(path, None)

    def after_kill(self):
        """What a killed process leaves: path -> bytes, None for a directory."""
        return {p: None if f is None else bytes(f.cache) for p, f in self.names.items()}

    def after_power_loss(self, rng):
        """One of the states that a loss of power may leave."""
        keep = rng.choice([0, 0.1, 0.5, 0.9, 1])
        names = dict(self.kept)
        for change in self.changes[:rng.choice([0, len(self.changes), rng.randint(0, len(self.changes))])]:
            self.settle(names, change)
        found = {}
        for path, file in sorted(names.items()):
            if path == self.root or os.path.dirname(path) in found:      # else its directory is gone
                found[path] = None if file is None else file.after_power_loss(rng, keep)
        return found


def materialize(state, root, to):
    """Writes a state into the directory `to`, which stands for `root`."""
    for path, content in sorted(state.items()):
        target = str(to) + path[len(str(root)):]
        if content is None:
            os.makedirs(target, exist_ok=True)
        else:
            with open(target, "wb") as f:
                f.write(content)
