#!/usr/bin/env python3
"""The power fails at a chosen moment: what was not synced is gone, or there in part, in any order.

The scripted load runs once, and the shim keeps every write (faultstore/shim.c). From that trace a model of the
disk (faultstore/disk.py) makes states that a loss of power at a moment may leave; a server must start on each and
hold all that was acknowledged by then. Three loads: as it comes; with a kill on the way, so that the second
process builds upon what the first has left unsynced; and with a sync that fails on the way.

Two controls: the state at the end is right, and a disk that ignores syncs is found out.

  Tests/System/power_loss_test.py --bin .build/release/holdfast
  Tests/System/power_loss_test.py --bin .build/release/holdfast --scale 20
  Tests/System/power_loss_test.py --bin .build/release/holdfast --kill-at 9 --at 14 --seed 3
"""
import argparse, copy, random, shutil, sys
from pathlib import Path

from faultstore import disk, store
from faultstore.disk import Disk
from faultstore.store import FaultyServer
from faultstore.workload import Workload
from support import Checks, log_of, workdir

TRIALS = 60


class Recording:
    """One run of the load: its calls, and what was acknowledged when."""

    def __init__(self, binary, base, shim, name, faults=None):
        self.name, self.binary, self.base = name, binary, Path(base)
        trace = self.base / f"{name}.trace"
        server = FaultyServer(binary, self.base / name, shim, trace=trace)
        self.root = server.fields["data"]
        self.load = Workload()
        server.control.set(faults or {})
        try:
            done = self.begin(server)
            if done < len(self.load.steps):
                # The fault came: the next process goes on from what the first has left, on a sound disk.
                server.kill9()
                server.control.heal()
                server.start()
                done = self.load.settle(server, done)
                if done is not None:
                    self.load.run(server, first=done)
        finally:
            server.kill9()
        self.ops = disk.read_trace(trace)

    def begin(self, server):
        try:
            server.start()
        except RuntimeError:
            return 0
        return self.load.run(server, may_refuse=True)[0]

    def disk_at(self, number, honest=True):
        """The disk before call `number`."""
        made = Disk(self.root)
        for op in self.ops[:number]:
            if not honest:
                op = copy.copy(op)
                op.syncs = False
                if op.what == "s":
                    continue
            made.apply(op)
        return made

    def moment(self, number):
        return self.ops[number].began if number < len(self.ops) else self.ops[-1].ended + (1 << 60)

    def problems(self, state, low, high):
        """What a server says about a state of the disk."""
        folder = self.base / "trial"
        shutil.rmtree(folder, ignore_errors=True)
        server = FaultyServer(self.binary, folder, "", control=store.Control(self.base / "unused"))
        server.heal()
        disk.materialize(state, self.root, server.fields["data"])
        found = self.load.problems(server, low, high)
        return found and found + [log_of(server)[-400:]]

    def trial(self, number, seed, honest=True):
        low, high = self.load.bounds(self.moment(number))
        rng = random.Random(f"{self.name}/{number}/{seed}")
        return self.problems(self.disk_at(number, honest).after_power_loss(rng), low, high)


def judge(c, recording, trials, at, seed):
    total = len(recording.ops)
    for trial in range(trials):
        number = at if at is not None else random.Random(f"{seed}/{trial}").randint(0, total)
        problems = recording.trial(number, seed + trial)
        at_call = recording.ops[number] if number < total else "the end"
        c.that(f"{recording.name}: power lost before call {number} ({at_call}), seed {seed + trial}", not problems,
               " ".join(map(str, problems)))
    print(f"{recording.name}: {total} calls, {trials} losses of power")


def controls(c, recording):
    total, steps = len(recording.ops), len(recording.load.steps)
    c.that("control: what a kill at the end leaves is right",
           not recording.problems(recording.disk_at(total).after_kill(), steps, steps))
    found = sum(bool(recording.trial(total * n // 6, n, honest=False)) for n in range(1, 7))
    c.that("control: a disk that ignores syncs is found out", found > 0)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--bin", required=True, type=Path)
    p.add_argument("--scale", type=float, default=1, help="1 is CI's size")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--at", type=int, help="only before this call")
    p.add_argument("--kill-at", type=int, help="only the load that is killed at this call")
    a = p.parse_args()
    c, binary = Checks(), a.bin.absolute()
    trials = 1 if a.at is not None else max(1, int(TRIALS * a.scale))
    with workdir("power-loss") as base, store.shim() as shim:
        def part(name, faults, trials, with_controls=False):
            def body():
                recording = Recording(binary, base, shim, name, faults)
                if with_controls:
                    controls(c, recording)
                judge(c, recording, trials, a.at, a.seed)
            c.section(name, body)

        if a.kill_at is None:
            part("plain", {}, trials, with_controls=a.at is None)
        kills = [a.kill_at] if a.kill_at is not None else kill_points(a, trials)
        few = max(1, trials // 12)
        for number in kills:
            part(f"killed-at-{number}", {store.KILL_AT: number, store.KILL_WHEN: store.AFTER}, few)
        for kind, name in ([] if a.kill_at is not None else
                           [(store.SYNC, "sync"), (store.SYNCED_WRITE, "head-page"), (store.WRITE, "write")]):
            for skip in random.Random(a.seed).sample(range(2, 30), max(1, min(28, trials // 40))):
                part(f"failing-{name}-{skip}",
                     {store.FAIL_SKIP: skip, store.FAIL_COUNT: 1, store.FAIL_KIND: kind}, few)
    return c.close()


def kill_points(a, trials):
    """While the store is made, where most can be forgotten, and some later ones."""
    rng = random.Random(a.seed)
    return sorted({*rng.sample(range(4, 24), min(20, max(3, trials // 20))),
                   *rng.sample(range(24, 160), min(100, max(2, trials // 30)))})


if __name__ == "__main__":
    sys.exit(main())
