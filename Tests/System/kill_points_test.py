#!/usr/bin/env python3
"""The server dies before, after and in the middle of a chosen call that changes its disk.

A short scripted load runs against a server whose storage calls are counted (faultstore/shim.c); at the n-th
the process is killed. A new server on the same directory must then hold exactly what was acknowledged, with
or without the one step that was in doubt. `--scale 1` tries `POINTS` points, spread over the whole load;
a large one tries every call in all three ways.

  Tests/System/kill_points_test.py --bin .build/release/holdfast
  Tests/System/kill_points_test.py --bin .build/release/holdfast --scale 100
  Tests/System/kill_points_test.py --bin .build/release/holdfast --at 17 --when middle
"""
import argparse, random, shutil, sys
from pathlib import Path

from faultstore import store
from faultstore.store import AFTER, BEFORE, MIDDLE, MOMENTS, FaultyServer
from faultstore.workload import Workload
from support import Checks, log_of, workdir

POINTS = 36


def count(c, binary, base, shim):
    """How many calls the load makes when nothing happens: the control."""
    server = FaultyServer(binary, Path(base) / "control", shim)
    load = Workload()
    try:
        server.start()
        acked, _ = load.run(server)
        total = server.control[store.OPS]
        server.kill9()
        server.heal()
        problems = load.problems(server, acked, acked)
    finally:
        server.kill9()
    c.that("control: the load runs to its end", acked == len(load.steps), f"{acked} of {len(load.steps)}")
    c.that("control: a kill after the end loses nothing", not problems, problems)
    c.that("control: the shim sees the calls", total > 100, total)
    return total


def trial(c, binary, base, shim, number, when):
    name = f"killed {MOMENTS[when]} call {number}"
    folder = Path(base) / "trial"
    shutil.rmtree(folder, ignore_errors=True)
    server = FaultyServer(binary, folder, shim)
    server.control.set({store.KILL_AT: number, store.KILL_WHEN: when})
    load = Workload(seed=number)
    try:
        try:
            server.start()
            low, high = load.run(server)
        except RuntimeError:
            low, high = 0, 0                       # it died before it listened
        status = server.wait_end(5)
        if status is None and low == len(load.steps):
            server.kill9()                          # fewer calls this time: their number varies a little
            return False
        c.that(f"{name}: it dies", status == -9, status)
        server.heal()
        problems = load.problems(server, low, high)
        if not c.that(name, not problems, problems):
            print(log_of(server)[-600:])
        return True
    finally:
        server.kill9()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--bin", required=True, type=Path)
    p.add_argument("--scale", type=float, default=1, help="1 is CI's size; 100 is every call, in every way")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--at", type=int, help="only this call")
    p.add_argument("--when", choices=["before", "after", "middle"], help="only this moment")
    a = p.parse_args()
    c, binary = Checks(), a.bin.absolute()
    with workdir("kill-points") as base, store.shim() as shim:
        total = count(c, binary, base, shim)
        moments = [BEFORE, AFTER, MIDDLE] if not a.when else [["before", "after", "middle"].index(a.when)]
        points = [(n, w) for n in ([a.at] if a.at else range(1, total + 1)) for w in moments]
        wanted = max(1, int(POINTS * a.scale))
        if len(points) > wanted and not a.at:
            rng, step = random.Random(a.seed), len(points) / wanted
            points = [points[min(len(points) - 1, int((i + rng.random()) * step))] for i in range(wanted)]
        died = 0
        for number, when in points:
            died += trial(c, binary, base, shim, number, when)
        c.that("most points were reached", died >= len(points) * 0.9, f"{died} of {len(points)}")
        print(f"{total} calls in the load; {died} kills")
    return c.close()


if __name__ == "__main__":
    sys.exit(main())
