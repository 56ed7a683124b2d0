#!/usr/bin/env python3
"""A disk that fails: one sync, write or read gives EIO. Nothing is acknowledged by what failed, or after it.

The fault shim (faultstore/shim.c) makes a chosen call of the server fail, once: whoever tries a failed sync again
finds that it succeeds, and has lost what it was to write. After a failed sync or write of the data the server
refuses all writes at once and reads on; after a failed head page, when LMDB gives no view any more, it ends. Started
again on a sound disk it must hold what was acknowledged.

  Tests/System/failing_disk_test.py --bin .build/release/holdfast
  Tests/System/failing_disk_test.py --bin .build/release/holdfast --scale 20
"""
import argparse, json, random, shutil, sys, threading, time
from pathlib import Path

from faultstore import store
from faultstore.store import READ, SYNC, SYNCED_WRITE, WRITE, FaultyServer, store_of
from faultstore.workload import Workload
from support import Checks, Client, Refused, Unknown, log_of, ready, workdir

NAMES = {SYNC: "sync", SYNCED_WRITE: "write of a head page", WRITE: "write"}
POINTS = 10


def filled(binary, base, shim):
    server = FaultyServer(binary, base, shim)
    server.start()
    client = ready(server)
    client.must("POST", "sys/mounts/kv", {"type": "kv"})
    for number in range(5):
        client.must("POST", f"kv/k{number}", {"v": str(number)})
    return server, client


def restarted(c, name, server, want):
    """What was acknowledged is there after a start on a sound disk, and writes pass again."""
    server.kill9()
    server.control.heal()
    server.start()
    server.unseal(server.keys, wait=10)
    client = Client(server.port, server.root, 10)
    found = {k: client.call("GET", f"kv/{k}")[1].get("data") for k in want}
    c.that(f"{name}: after a restart all that was acknowledged is there", found == want,
           {k: (want[k], found[k]) for k in want if found[k] != want[k]})
    client.must("POST", "kv/again", {"v": "1"})
    return client


def data_fails(c, binary, base, shim, kind):
    """Writers at work when it happens: the commit is not acknowledged, nor is any later one."""
    name = f"failed {NAMES[kind]}"
    server, client = filled(binary, base, shim)
    try:
        want, after, codes, failed_at = {}, [], [], [None]
        lock = threading.Lock()

        def work(number):
            mine = Client(server.port, server.root, 10)
            for i in range(400):
                sent = time.monotonic()
                try:
                    status, answer = mine.call("POST", f"kv/w{number}-{i}", {"v": "x" * 50})
                except (Refused, Unknown):
                    return
                with lock:
                    if status == 204:
                        want[f"w{number}-{i}"] = {"v": "x" * 50}
                        if failed_at[0] and sent > failed_at[0]:
                            after.append(i)
                    else:
                        failed_at[0] = failed_at[0] or time.monotonic()
                        codes.append((status, json.dumps(answer)))

        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for t in threads:
            t.start()
        time.sleep(0.1)
        server.control.fail(kind, skip=3, count=1, longer=512)     # the anchor's 512 bytes are another matter
        for t in threads:
            t.join()
        c.equal(f"{name}: it happened", server.control[store.FAILED], 1)
        syncs = server.control[store.SYNCS]
        c.that(f"{name}: some were acknowledged before", want)
        c.that(f"{name}: none that was sent after the first refusal", not after, after)
        c.that(f"{name}: all others got 5xx", codes and all(500 <= s < 600 for s, _ in codes), codes[:3])
        status, answer = client.call("POST", "kv/later", {"v": "1"})
        c.that(f"{name}: later writes are refused with a reason",
               status == 503 and "storage has failed" in json.dumps(answer), (status, answer))
        c.equal(f"{name}: it syncs nothing any more", server.control[store.SYNCS], syncs)
        found = {k: client.must("GET", f"kv/{k}")["data"] for k in want}
        c.that(f"{name}: reads go on", found == want)
        c.equal(f"{name}: health says so", client.must("GET", "sys/health").get("storage_writable"), False)
        c.that(f"{name}: the log says so", "may have left the disk in doubt" in log_of(server))
        client = restarted(c, name, server, want)
        c.that(f"{name}: health says nothing more", "storage_writable" not in client.must("GET", "sys/health"))
        c.equal(f"{name}: what was refused for certain is not there", client.call("GET", "kv/later")[0], 404)
    finally:
        server.kill9()


def head_page_fails(c, binary, base, shim):
    """LMDB then refuses every view: the process ends, and says why. What the log has is not lost by it."""
    name = "failed head page"
    server, client = filled(binary, base, shim)
    try:
        want = {f"k{n}": {"v": str(n)} for n in range(5)}
        server.control.fail(SYNCED_WRITE, count=1)
        try:
            if client.call("POST", "kv/last", {"v": "1"})[0] == 204:
                want["last"] = {"v": "1"}
        except (Refused, Unknown):
            pass
        c.equal(f"{name}: the process ends at once", server.wait_end(2), 1)
        c.that(f"{name}: the log says why", "head page" in log_of(server), log_of(server)[-300:])
        restarted(c, name, server, want)
    finally:
        server.kill9()


def anchor_fails(c, binary, base, shim):
    """The data file's anchor is no part of what makes a commit durable: a failed write of it is only said."""
    server, client = filled(binary, base, shim)

    def settled(path, value):
        """Writes, and waits until the data file has it. Returns how many writes that took."""
        before = server.control[store.OPS], server.control[store.SYNCS]
        client.must("POST", path, {"v": value})
        time.sleep(0.3)
        return server.control[store.OPS] - before[0] - (server.control[store.SYNCS] - before[1])

    try:
        settled("kv/k0", "none")                              # what is carried over from before goes first
        writes = settled("kv/k1", "one")                      # the anchor comes last
        server.control.fail(WRITE, skip=writes - 1, count=1)
        settled("kv/k1", "two")
        c.equal("failed anchor: it happened", server.control[store.FAILED], 1)
        c.that("failed anchor: it is said", "anchor was not written" in log_of(server), log_of(server)[-300:])
        client.must("POST", "kv/k2", {"v": "three"})
        restarted(c, "failed anchor", server, {"k1": {"v": "two"}, "k2": {"v": "three"}})
    finally:
        server.kill9()


def start_fails(c, binary, base, shim):
    """A file that cannot be read or synced at the start: a plain word, and nothing changed."""
    server, client = filled(binary, base, shim)
    try:
        client.close()
        server.kill9()
        folder = store_of(server)
        before = (folder / "data.mdb").read_bytes()
        for kind, skip in [(READ, 0), (READ, 1), (READ, 3), (READ, 5), (SYNC, 0), (SYNC, 1)]:
            name = f"start, {'read' if kind == READ else 'sync'} {skip} fails"
            server.control.fail(kind, skip=skip, count=1)
            c.raises(f"{name}: it does not start", RuntimeError, server.start)
            last = log_of(server).splitlines()[-1]
            c.that(f"{name}: it names the file and the cause", "made/store" in last and "error" in last, last)
            c.that(f"{name}: nothing has changed", (folder / "data.mdb").read_bytes() == before)
            server.control.heal()
        restarted(c, "start", server, {f"k{n}": {"v": str(n)} for n in range(5)})
    finally:
        server.kill9()


def pages_vanish(c, binary, base, shim):
    """The file is cut under the running server: it may end, it may refuse, it must not lie."""
    server, client = filled(binary, base, shim)
    try:
        with open(store_of(server) / "data.mdb", "r+b") as f:
            f.truncate(8192)
        for number in range(5):
            try:
                status, answer = client.call("GET", f"kv/k{number}")
            except (Refused, Unknown):
                break
            c.that("cut file: no wrong answer", status >= 500 or answer.get("data") == {"v": str(number)},
                   (status, answer))
        server.kill9()
        c.raises("cut file: it does not start", RuntimeError, server.start)
        c.that("cut file: it says why", "is damaged" in log_of(server), log_of(server)[-300:])
    finally:
        server.kill9()


def each_point(c, binary, base, shim, wanted, seed):
    """One failure at some point of the scripted load, init and unsealing included."""
    points = [(kind, n) for kind, most in [(SYNC, 42), (SYNCED_WRITE, 2), (WRITE, 70)] for n in range(most)]
    tried = random.Random(seed).sample(points, min(len(points), wanted))
    happened = 0
    for kind, skip in tried:
        name = f"{NAMES[kind]} {skip} of the load fails"
        folder = base / "trial"
        shutil.rmtree(folder, ignore_errors=True)
        server = FaultyServer(binary, folder, shim)
        server.control.fail(kind, skip=skip, count=1)
        load = Workload(seed=skip)
        try:
            try:
                server.start()
                low, high = load.run(server, may_refuse=True)
            except RuntimeError as e:
                low, high = 0, 0
                c.that(f"{name}: it ends before it listens", "exited 1" in str(e), e)
            happened += server.control[store.FAILED] == 1
            if server.is_running() and low < len(load.steps) and load.root:
                policy = {"policy": 'path "late" { capabilities = ["read"] }'}
                status = Client(server.port, load.root).call("PUT", "sys/policies/acl/late", policy)[0]
                c.that(f"{name}: then nothing is accepted", status == 503, status)
            server.kill9()
            server.heal()
            problems = load.problems(server, low, high)
            if not c.that(name, not problems, f"{low}: {load.refusal} {problems}"):
                print(log_of(server)[-600:])
        finally:
            server.kill9()
    c.that("most failures were reached", happened >= len(tried) * 0.7, f"{happened} of {len(tried)}")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--bin", required=True, type=Path)
    p.add_argument("--scale", type=float, default=1, help="1 is CI's size")
    p.add_argument("--seed", type=int, default=1)
    a = p.parse_args()
    c, binary = Checks(), a.bin.absolute()
    with workdir("failing-disk") as base, store.shim() as shim:
        def part(title, body, *more):
            folder = Path(base) / title.replace(" ", "-")
            folder.mkdir()
            c.section(title, lambda: body(c, binary, folder, shim, *more))

        part("sync", data_fails, SYNC)
        part("write", data_fails, WRITE)
        part("head page", head_page_fails)
        part("anchor", anchor_fails)
        part("start", start_fails)
        part("pages vanish", pages_vanish)
        part("each point", each_point, max(1, int(POINTS * a.scale)), a.seed)
    return c.close()


if __name__ == "__main__":
    sys.exit(main())
