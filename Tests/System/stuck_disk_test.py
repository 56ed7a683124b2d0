#!/usr/bin/env python3
"""The disk of a cluster's leader gives no answer for a while: neither an error nor an end.

The leader cannot follow its cluster then, but its clients are answered: another node leads within seconds, and what
was on its way through the stuck one gets a 503 that says that it may yet take effect. When the disk answers again the
node is a standby like any other, and nothing that was acknowledged is lost.

  Tests/System/stuck_disk_test.py --bin .build/release/holdfast
"""
import argparse, json, sys, threading, time
from pathlib import Path

from cluster_test import Cluster
from faultstore.store import STALL, Control, environment, shim
from support import Checks, Refused, Unknown, wait, workdir

SOON = 4.0        # seconds for a read, and for whoever comes when the node knows that it leads no more (1.9 as a rule)
AT_LAST = 15.0    # for what was on its way when the disk stopped (10 as a rule)


def ask(c, node, method, path, body=None, timeout=30.0):
    """Status, text and seconds of one call; status 0 when there was no answer."""
    begin = time.monotonic()
    try:
        status, answer = c.client(node, timeout).call(method, path, body)
    except (Refused, Unknown) as e:
        status, answer = 0, str(e)
    return status, json.dumps(answer), time.monotonic() - begin


def stuck_leader(checks, binary, folder, shim_path):
    base = Path(folder)
    control = Control(base / "control")
    c = Cluster(binary, folder, environment(shim_path, str(base / "n0" / "data"), control))
    try:
        c.form()
        checks.equal("the node with the doubtful disk leads", c.active(), [0])
        for n in range(20):
            c.client(0).must("POST", f"kv/data/k{n}", {"data": {"n": n}})

        found = {}
        control[STALL] = 1
        late = [threading.Thread(target=lambda n=n: found.update(
            {n: ask(c, 0, "POST", f"kv/data/late{n}", {"data": {"n": n}})})) for n in range(4)]
        for t in late:
            t.start()
        wait(lambda: any(c.health(i) == 200 for i in (1, 2)), "another node leads")
        leader = next(i for i in (1, 2) if c.health(i) == 200)
        wait(lambda: c.client(leader).call("POST", "kv/data/k0", {"data": {"n": "new"}})[0] == 200,
             "the new leader takes writes")
        for n in range(20):
            status, text, took = ask(c, 0, "GET", f"kv/data/k{n}")
            fresh = status == 200 and (n or '"n": "new"' in text)
            checks.that(f"read {n} on the stuck node is fresh or refused, soon",
                        (fresh or status == 503) and took <= SOON, (status, text, took))
        for t in late:
            t.join()
        for n, (status, text, took) in sorted(found.items()):
            checks.that(f"write {n} that was on its way is answered", status == 503 and took <= AT_LAST,
                        (status, text, took))
        checks.that("one of them is told that it may yet take effect",
                    any("may" in text for _, text, _ in found.values()), found)
        status, text, took = ask(c, 0, "POST", "kv/data/k1", {"data": {"n": 1}})
        checks.that("a later write on the stuck node is answered soon",
                    status in (200, 503) and took <= SOON, (status, text, took))

        control[STALL] = 0
        wait(lambda: c.health(0) == 429, "the node is a standby")
        for n in range(20):
            status, out = c.client(0).call("GET", f"kv/data/k{n}")
            want = "new" if n == 0 else n
            checks.equal(f"k{n} stands as it was acknowledged", (status, out["data"]["data"]["n"]), (200, want))
        checks.equal("a write through it", c.client(0).call("POST", "kv/data/after", {"data": {}})[0], 200)
        checks.equal("one node is active", len(c.active()), 1)
    finally:
        control[STALL] = 0
        c.stop()


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--bin", required=True, type=Path)
    a = p.parse_args()
    checks = Checks()
    with workdir("stuck") as folder, shim() as shim_path:
        checks.section("a leader's disk that gives no answer",
                       lambda: stuck_leader(checks, a.bin.absolute(), folder, shim_path))
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
