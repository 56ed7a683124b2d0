#!/usr/bin/env python3
"""Damaged files: each trial spoils one place of a sound store, and every key must then be as it was, or an error.

Beyond faults/corrupt_test.py: the place is chosen by what it is (either head page, branch and leaf pages, long
values, the list of free pages, the anchor, the lock, the log), the damage may also be a torn page, noise, a page that was
written to another's place or a swap of two; the store is one that was in use until it was killed, so that
the log has writes that the data file lacks; and where the server
starts, it is written to and started once more, since damage may show only then. The first trial damages nothing.

  refused     the server says why and does not start, or does not unseal
  error       a key gives an error, all others are as they were
  harmless    every key is as it was
  stopped     only in a store that is too large to be checked before it is opened: the process ended when it read
              the page, and the log had named the damage
  WRONG, ABSENT, LOST (by writes that came afterwards), DIED (the process crashed), SILENT (it gives no reason)

  Tests/System/damage_test.py --bin .build/release/holdfast
  Tests/System/damage_test.py --bin .build/release/holdfast --scale 20
  Tests/System/damage_test.py --bin .build/release/holdfast --trial 17
"""
import argparse, collections, random, shutil, struct, sys
from pathlib import Path

from faultstore.store import CONFIG, Control, FaultyServer, store_of
from support import Checks, Client, Refused, Unknown, log_of, ready, workdir

TRIALS = 88
PAGE = 4096
BAD = {"WRONG", "ABSENT", "LOST", "DIED", "SILENT"}
PLACES = ["head 0", "head 1", "branch", "leaf", "long", "free list", "any", "anchor", "lock", "log", "log anchor"]
DAMAGES = ["flip", "zero", "torn", "noise", "misplaced", "swapped", "cut"]


def make(binary, base, rng, is_large):
    """A store that was in use: overwritten, deleted from, started anew. Returns it and what it holds.
    A large one has more than the 32 MiB up to which every page is checked at the start."""
    server = FaultyServer(binary, base, "", config=CONFIG, control=Control(Path(base).parent / "unused"))
    server.heal()
    server.start()
    client, want = ready(server), {}
    client.must("POST", "sys/mounts/kv", {"type": "kv"})
    for number in range(600):
        key = f"k{rng.randrange(250)}"
        if want.get(key) and rng.random() < 0.3:
            client.must("DELETE", f"kv/{key}")
            want[key] = None
        else:
            want[key] = {"v": "%x" % rng.getrandbits(8 * rng.choice([16, 200, 3000, 20_000]))}
            client.must("POST", f"kv/{key}", want[key])
        if number == 400:
            client.close()
            server.stop()
            server.start()
            server.unseal(server.keys)
            client = Client(server.port, server.root, 10)
    for number in range(40 if is_large else 0):
        client.must("POST", f"kv/large{number}", {"v": "%x" % rng.getrandbits(4_000_000)})
    client.close()
    server.kill9()
    return server, want


class Pages:
    """What each page of the data file is, by walking the trees as LMDB's format has them."""

    def __init__(self, data):
        self.data = data
        self.kinds = {"head 0": [0], "head 1": [1], "branch": [], "leaf": [], "long": [], "free list": []}
        newest = max((0, 1), key=lambda n: self.u64(n, 144))
        tables = []
        self.walk(self.u64(newest, 128), "main", tables)
        self.walk(self.u64(newest, 80), "free", [])
        for root in tables:
            self.walk(root, "user", [])
        self.kinds["any"] = [n for n in range(len(data) // PAGE) if any(data[n * PAGE:(n + 1) * PAGE])]

    def u16(self, page, at):
        return struct.unpack_from("<H", self.data, page * PAGE + at)[0]

    def u64(self, page, at):
        return struct.unpack_from("<Q", self.data, page * PAGE + at)[0]

    def walk(self, page, tree, tables):
        if page == (1 << 64) - 1:
            return
        is_branch = self.u16(page, 10) & 1
        self.kinds["branch" if is_branch else "free list" if tree == "free" else "leaf"].append(page)
        for index in range((self.u16(page, 12) - 16) // 2):
            at = self.u16(page, 16 + 2 * index)
            low, high, flags, key = struct.unpack_from("<HHHH", self.data, page * PAGE + at)
            if is_branch:
                self.walk(low | high << 16 | flags << 32, tree, tables)
            elif flags == 1:
                first = self.u64(page, at + 8 + key)
                kind = "free list" if tree == "free" else "long"
                self.kinds[kind] += range(first, first + (16 + (low | high << 16) + PAGE - 1) // PAGE)
            elif flags == 2:
                tables.append(self.u64(page, at + 8 + key + 40))


def spoil(folder, pages, place, damage, rng):
    """Damages one place. Returns what was done; None when it changes nothing."""
    if place in ("anchor", "lock", "log anchor"):
        name = folder / {"anchor": "anchor", "lock": "holdfast.lock", "log anchor": "log/anchor"}[place]
        content, page = bytearray(name.read_bytes()), 0
    elif place == "log":
        name = max(folder.glob("log/*.log"))
        content = bytearray(name.read_bytes())
        page = rng.randrange(len(content.rstrip(b"\0")) // PAGE + 1)
    else:
        name, content = folder / "data.mdb", bytearray(pages.data)
        page = rng.choice(pages.kinds[place])
    before = bytes(content)
    start, end = page * PAGE, min((page + 1) * PAGE, len(content))
    other = rng.choice(pages.kinds["any"])
    theirs = pages.data[other * PAGE:(other + 1) * PAGE]
    if damage == "flip":
        # In the part that is in use, mostly: a head page has 152 bytes, a page's own head and pointers come first.
        reach = 152 if place.startswith("head") else rng.choice([16, 64, end - start])
        content[min(start + rng.randrange(reach), end - 1)] ^= 1 << rng.randrange(8)
    elif damage == "zero":
        content[start:end] = bytes(end - start)
    elif damage == "torn":
        split = rng.randrange(start, end) // 512 * 512
        content[split:end] = rng.choice([bytes(end - split), rng.randbytes(end - split)])
    elif damage == "noise":
        content[start:end] = rng.randbytes(end - start)
    elif damage == "misplaced":
        content[start:end] = theirs[:end - start]
    elif damage == "swapped":
        content[start:end] = theirs[:end - start]
        if name.name == "data.mdb":
            content[other * PAGE:(other + 1) * PAGE] = before[start:end]
    else:
        del content[start + rng.randrange(max(1, end - start)):]
    if bytes(content) == before:
        return None
    name.write_bytes(content)
    return f"{damage} of {place}" + (f", page {page}" if name.name not in ("anchor", "holdfast.lock") else "")


def reads(client, want):
    """(keys with an error, verdict of the worst kind or None)"""
    errors, worst = set(), None
    for key, value in want.items():
        status, out = client.call("GET", f"kv/{key}")
        if status >= 500:
            errors.add(key)
        elif value is None:
            worst = worst or (None if status == 404 else "WRONG")
        elif status == 404:
            worst = "ABSENT"
        elif status != 200 or out.get("data") != value:
            worst = "WRONG"
    return errors, worst


def judge(server, keys, root, want):
    """Starts the server, reads all, writes, starts it again, reads all."""
    try:
        server.start(wait=15)
    except RuntimeError:
        return refusal(server)
    try:
        server.unseal(keys, wait=3)
        client = Client(server.port, root, 20)
        client.call("GET", "sys/health")
    except (RuntimeError, Refused, Unknown):
        return refusal(server)
    try:
        errors, worst = reads(client, want)
        if worst:
            return worst
        written = {}
        for number in range(30):
            value = {"v": "n" * 300 * (number + 1)}
            if client.call("POST", f"kv/new{number}", value)[0] == 204:
                written[f"new{number}"] = value
        for _ in range(2):
            again, worst = reads(client, {**want, **written})
            if worst or again - errors:
                return "LOST"
            server.kill9()
            server.start(wait=15)
            server.unseal(keys, wait=3)
            client = Client(server.port, root, 20)
        if errors and "integrity check" not in log_of(server):
            return "SILENT"
        return "error" if errors else "harmless"
    except (RuntimeError, Refused, Unknown):
        server.wait_end(1)
        if not died(server):
            return "LOST"
        return "stopped" if "The data file is damaged" in log_of(server) else "DIED"


def died(server):
    status = server.proc.poll()
    return status is not None and status < 0 and status != -9 or status not in (None, 0, 1, -9)


def refusal(server):
    if died(server):
        return "DIED"
    said = [line for line in log_of(server).splitlines() if "ERROR" in line or line.startswith("Error")
            or "damaged" in line or "integrity" in line]
    return "refused" if said else "SILENT"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--bin", required=True, type=Path)
    p.add_argument("--scale", type=float, default=1, help="1 is CI's size")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--trial", type=int, help="only this one")
    p.add_argument("--large", action="store_true", help="a store above 32 MiB")
    a = p.parse_args()
    c, tally = Checks(), collections.Counter()
    with workdir("damage") as base:
        rng = random.Random(a.seed)
        source, want = make(a.bin.absolute(), Path(base) / "source", rng, a.large)
        pages = Pages((store_of(source) / "data.mdb").read_bytes())
        print("pages: " + ", ".join(f"{kind} {len(found)}" for kind, found in pages.kinds.items()))
        c.that("control: the store has pages of each kind", all(pages.kinds.values()))

        def trial(number):
            rng = random.Random(f"{a.seed}/{number}")
            folder = Path(base) / "trial"
            shutil.rmtree(folder, ignore_errors=True)
            server = FaultyServer(a.bin.absolute(), folder, "", control=Control(Path(base) / "unused"))
            server.heal()
            shutil.copytree(source.fields["data"], server.fields["data"], dirs_exist_ok=True)
            what = "nothing"
            if number is not None:
                place = PLACES[number % len(PLACES)]
                damage = DAMAGES[number // len(PLACES) % len(DAMAGES)]
                what = spoil(store_of(server), pages, place, damage, rng)
                if what is None:
                    return None, "harmless"
            try:
                return what, judge(server, source.keys, source.root, want)
            finally:
                server.kill9()
                if a.trial is not None:
                    print(log_of(server)[-1500:], f"exit status {server.proc.returncode}", sep="\n")

        c.equal("control: an undamaged copy is harmless", trial(None)[1], "harmless")
        bad = BAD if a.large else BAD | {"stopped"}
        numbers = [a.trial] if a.trial is not None else range(max(1, int(TRIALS * a.scale)))
        for number in numbers:
            what, verdict = trial(number)
            if what:
                tally[what.split(",")[0].split(" of ")[1], verdict] += 1
                c.that(f"trial {number}, {what}", verdict not in bad, verdict)
        if a.trial is None:
            c.that("control: some damage is noticed", sum(n for (_, v), n in tally.items() if v == "refused") > 10)
        for (place, verdict), count in sorted(tally.items()):
            print(f"{place:10} {verdict:10} {count}")
    return c.close()


if __name__ == "__main__":
    sys.exit(main())
