#!/usr/bin/env python3
"""A disk without room: writes are refused with a plain reason, reads go on, and it recovers by itself.

The disk is the fault shim's (faultstore/shim.c), which cuts writes short as file systems do, and, where this
process may mount, a small tmpfs and a small ext4 image. What was acknowledged must be there in the end; the
same for an audit device on such a disk.

  Tests/System/full_disk_test.py --bin .build/release/holdfast
  Tests/System/full_disk_test.py --bin .build/release/holdfast --scale 20
"""
import argparse, contextlib, json, os, random, resource, shutil, subprocess, sys, time
from pathlib import Path

from faultstore import store
from faultstore.store import FULL, ROOM, FaultyServer
from support import Checks, Client, log_of, ready, workdir

NO_BLOCKS, NO_WRITES = 1, 2
RECOVERY_SECONDS = 30


class Filler:
    """Writes values until the disk is full, and remembers what was acknowledged."""

    def __init__(self, c, name, server, client, seed):
        self.c, self.name, self.server, self.client = c, name, server, client
        self.rng, self.want, self.count = random.Random(seed), {}, 0

    def write(self, length=None):
        """One write, of a new key or over an old one. Returns status and answer."""
        old = self.want and self.rng.random() < 0.3
        key = self.rng.choice(sorted(self.want)) if old else f"k{self.count}"
        self.count += 1
        length = length or self.rng.choice([10, 3_000, 60_000, 400_000])
        value = {"v": "%0*x" % (length, self.rng.getrandbits(4 * length))}
        status, answer = self.client.call("POST", f"kv/{key}", value, timeout=20)
        if status == 204:
            self.want[key] = value
        else:
            self.check_refusal(f"write of {length} bytes", status, answer)
        return status

    def check_refusal(self, what, status, answer):
        self.c.that(f"{self.name}: a {what} is refused with a reason",
                    status == 503 and "full" in json.dumps(answer), (status, answer))

    def fill(self, most=3_000):
        """Until some writes in a row were refused."""
        refused = 0
        for _ in range(most):
            refused = refused + 1 if self.write() != 204 else 0
            if refused == 5:
                return True
        return self.c.that(f"{self.name}: the disk fills up", False, f"{len(self.want)} keys were taken")

    def check_reads(self, moment):
        wrong = [k for k, v in self.want.items() if self.client.must("GET", f"kv/{k}")["data"] != v]
        self.c.that(f"{self.name}: {moment} each of {len(self.want)} keys is as acknowledged", not wrong, wrong)
        listed = self.client.must("GET", "kv?list=true")["data"]["keys"] if self.want else []
        self.c.that(f"{self.name}: {moment} the list has them", set(self.want) <= set(listed))

    def check_full(self):
        """What goes on while there is no room."""
        self.check_reads("while full")
        self.c.equal(f"{self.name}: health still answers", self.client.call("GET", "sys/health")[0], 200)
        status, answer = self.client.call("POST", "auth/token/create", {})
        if status != 200:
            self.check_refusal("token", status, answer)
        victim = sorted(self.want)[0]
        status, answer = self.client.call("DELETE", f"kv/{victim}")
        if status == 204:
            del self.want[victim]
        else:
            self.check_refusal("delete", status, answer)
        self.c.that(f"{self.name}: the process runs on", self.server.proc.poll() is None)

    def check_recovery(self):
        """Room came back."""
        began = time.monotonic()
        while self.client.call("POST", "kv/recovered", {"v": "1"})[0] != 204:
            if time.monotonic() - began > RECOVERY_SECONDS:
                return self.c.that(f"{self.name}: writes again within {RECOVERY_SECONDS} s, without a restart", False)
            time.sleep(0.1)
        self.c.that(f"{self.name}: writes again without a restart", True)
        print(f"      {self.name}: {len(self.want)} keys, writes again after {time.monotonic() - began:.2f} s")
        self.want["recovered"] = {"v": "1"}
        for length in [10, 400_000]:
            self.c.equal(f"{self.name}: a write of {length} bytes passes again", self.write(length), 204)

    def check_restart(self, moment):
        self.server.kill9()
        self.server.start()
        self.server.unseal(self.server.keys, wait=10)
        self.client = Client(self.server.port, self.server.root, 10)
        self.check_reads(moment)


def exercise(c, name, server, take_room, give_room, rounds, seed):
    """Fills the disk and gives room again, a few times over."""
    server.start()
    client = ready(server)
    client.must("POST", "sys/mounts/kv", {"type": "kv"})
    filler = Filler(c, name, server, client, seed)
    for _ in range(5):
        filler.write(20_000)
    for number in range(rounds):
        take_room()
        if not filler.fill():
            return
        filler.check_full()
        if number == 0:
            filler.check_restart("after a start on the full disk")
        give_room()
        filler.check_recovery()
    filler.check_restart("in the end")


def on_shim(c, binary, base, shim, how, room, rounds, seed):
    server = FaultyServer(binary, base, shim)

    def take_room():
        # The data file gets its writes a moment after they were acknowledged. A head page that cannot be written
        # in the midst of it ends the process: failing_disk_test.py has that case.
        time.sleep(0.3)
        server.control.set({ROOM: room, FULL: how})

    try:
        exercise(c, Path(base).name, server, take_room, server.control.heal, rounds, seed)
        c.that(f"{Path(base).name}: the disk has refused something", server.control[store.REFUSED] > 0)
    finally:
        server.kill9()


@contextlib.contextmanager
def mounted(kind, where, megabytes):
    """A file system of its own; None where this process may not mount."""
    where.mkdir(parents=True)
    if kind == "tmpfs":
        commands = [["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "none", where]]
    else:
        image = where.with_suffix(".img")
        with open(image, "wb") as f:
            f.truncate(megabytes << 20)
        commands = [["mkfs.ext4", "-q", "-m", "0", image], ["mount", "-o", "loop", image, where]]
    try:
        for command in commands:
            if subprocess.run(command, capture_output=True).returncode != 0:
                print(f"      {kind}: cannot be mounted here; the shim stands for it")
                yield None
                return
    except FileNotFoundError:
        yield None
        return
    try:
        yield where
    finally:
        subprocess.run(["umount", where], capture_output=True)


def ballast(where, leave_bytes):
    """Takes the room of a file system but for some bytes."""
    facts = os.statvfs(where)
    with open(where / "ballast", "wb") as f:
        try:
            os.posix_fallocate(f.fileno(), 0, max(1, facts.f_bavail * facts.f_frsize - leave_bytes))
        except OSError:
            pass


def server_on(where, binary, base):
    """A server whose data is on that file system; its log and its configuration stay outside."""
    config = store.CONFIG.replace("{data}", str(where))
    server = FaultyServer(binary, Path(base) / "server", "", config=config)
    server.heal()
    return server


def on_mount(c, binary, base, kind, rounds, seed):
    with mounted(kind, Path(base) / "disk", 20) as where:
        if where is None:
            return
        server = server_on(where, binary, base)
        try:
            exercise(c, kind, server, lambda: ballast(where, 2 << 20), lambda: (where / "ballast").unlink(), rounds,
                     seed)
        finally:
            server.kill9()


def of_its_own_keys(c, binary, base):
    """A disk that is full of secrets: deleting some makes room for others, again and again."""
    with mounted("tmpfs", Path(base) / "disk", 16) as where:
        if where is None:
            return
        server = server_on(where, binary, base)
        try:
            server.start()
            client = ready(server)
            client.must("POST", "sys/mounts/kv", {"type": "kv"})
            filler = Filler(c, "own keys", server, client, 7)
            for number in range(3):
                filler.fill()
                for key in sorted(filler.want, key=lambda key: len(filler.want[key]["v"]))[-6:]:
                    c.equal(f"own keys: a delete passes, round {number}", client.call("DELETE", f"kv/{key}")[0], 204)
                    del filler.want[key]
                c.equal(f"own keys: a write passes, round {number}", filler.write(200_000), 204)
                if number == 1:
                    filler.check_restart("after a restart on a full disk")
                    client = filler.client
            filler.check_reads("in the end")
        finally:
            server.kill9()


def at_a_limit(c, binary, base, shim, rounds, seed):
    """A limit on the size of files (`ulimit -f`), which is set and lifted while the server runs."""
    server = FaultyServer(binary, base, shim)
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]

    def take_room():
        size = (store.store_of(server) / "data.mdb").stat().st_size
        resource.prlimit(server.proc.pid, resource.RLIMIT_FSIZE, (size + 50_000, hard))

    def give_room():
        if server.is_running():
            resource.prlimit(server.proc.pid, resource.RLIMIT_FSIZE, (hard, hard))

    try:
        exercise(c, "limit", server, take_room, give_room, rounds, seed)
    finally:
        server.kill9()


def at_the_start(c, binary, base, shim):
    """The first start finds no room: it says so, and leaves nothing that a later start would stumble over."""
    for how in [NO_BLOCKS, NO_WRITES]:
        server = FaultyServer(binary, Path(base) / f"start-{how}", shim)
        server.control.set({ROOM: 0, FULL: how})
        try:
            c.raises(f"start, mode {how}: it does not start", RuntimeError, server.start)
            c.that(f"start, mode {how}: it says why", "storage is full" in log_of(server), log_of(server)[-300:])
            server.control.heal()
            server.start()
            server.control.set({ROOM: 0, FULL: NO_WRITES})
            status, answer = Client(server.port).call(
                "PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
            c.that(f"init, mode {how}: it is refused with a reason", status == 503 and "full" in json.dumps(answer),
                   (status, answer))
            server.control.heal()
            ready(server).must("POST", "sys/mounts/kv", {"type": "kv"})
            c.that(f"start, mode {how}: with room it goes on", True)
        finally:
            server.kill9()


# An audit device on such a disk (row 14 of the fault plan).

def refused_by_audit(c, name, client, log):
    size = log.stat().st_size if log.exists() else 0
    for method, path, body in [("GET", "kv/a", None), ("POST", "kv/a", {"v": "new"}), ("DELETE", "kv/a", None),
                               ("POST", "auth/token/create", {}), ("PUT", "sys/policies/acl/p", {"policy": ""})]:
        status, answer = client.call(method, path, body)
        c.that(f"{name}: {method} {path} is refused with a reason",
               status == 503 and "audit device" in json.dumps(answer), (status, answer))
    status, health = client.call("GET", "sys/health")
    c.equal(f"{name}: health still answers", status, 200)
    c.equal(f"{name}: health says so", health.get("audit_available"), False)
    c.equal(f"{name}: nothing is left of half a record", log.stat().st_size if log.exists() else 0, size)


def recovered_audit(c, name, client, log):
    c.equal(f"{name}: with room again nothing has changed", client.must("GET", "kv/a")["data"], {"v": "old"})
    c.that(f"{name}: no policy was made", "p" not in client.must("GET", "sys/policies/acl?list=true")["data"]["keys"])
    c.that(f"{name}: health says nothing more", "audit_available" not in client.call("GET", "sys/health")[1])
    client.must("POST", "kv/a", {"v": "old"})
    try:
        for line in log.read_text().splitlines():
            json.loads(line)
        whole = True
    except ValueError:
        whole = False
    c.that(f"{name}: every line of the log is a record", whole)


def audit_server(binary, base, shim, log):
    server = FaultyServer(binary, base, shim, config=store.CONFIG)
    # Only the log's disk fails here.
    server.env["FAULTSTORE_ROOT"] = str(log.parent)
    server.start()
    client = ready(server)
    client.must("POST", "sys/mounts/kv", {"type": "kv"})
    client.must("POST", "kv/a", {"v": "old"})
    client.must("PUT", "sys/audit/file", {"type": "file", "options": {"file_path": str(log)}})
    return server, client


def audit_on_shim(c, binary, base, shim):
    log = Path(base) / "log/audit.log"
    log.parent.mkdir(parents=True)
    server, client = audit_server(binary, Path(base) / "server", shim, log)
    try:
        for name, words in [("no room", {ROOM: 0, FULL: NO_WRITES}),
                            ("failing writes", {store.FAIL_COUNT: 1 << 60, store.FAIL_KIND: store.WRITE})]:
            server.control.set(words)
            refused_by_audit(c, f"audit, {name}", client, log)
            server.control.heal()
            recovered_audit(c, f"audit, {name}", client, log)
    finally:
        server.kill9()


def audit_on_mount(c, binary, base):
    with mounted("tmpfs", Path(base) / "disk", 1) as where:
        if where is None:
            return
        log = where / "audit.log"
        server, client = audit_server(binary, Path(base) / "server", "", log)
        try:
            ballast(where, 0)
            # What is left of the log's last page takes some more records.
            for _ in range(40):
                if client.call("GET", "kv/a")[0] == 503:
                    break
            refused_by_audit(c, "audit, full tmpfs", client, log)
            (where / "ballast").unlink()
            recovered_audit(c, "audit, full tmpfs", client, log)
            # A file system cannot be made read-only while a log is open for writing: it is rotated away.
            log.rename(log.with_suffix(".1"))
            client.must("GET", "kv/a")
            log.unlink()
            if subprocess.run(["mount", "--bind", where, where], capture_output=True).returncode == 0:
                subprocess.run(["mount", "-o", "remount,bind,ro", where], check=True, capture_output=True)
                refused_by_audit(c, "audit, read-only", client, log)
                subprocess.run(["umount", where], check=True, capture_output=True)
                recovered_audit(c, "audit, read-only", client, log)
        finally:
            server.kill9()


def mount_for_ourselves():
    """Starts this program again where its mounts are its own and end with it, if that is allowed."""
    mark = "FULL_DISK_TEST_IS_UNSHARED"
    for flags in [["-m"], ["-rm"]] if mark not in os.environ and shutil.which("unshare") else []:
        if subprocess.run(["unshare", *flags, "true"], capture_output=True).returncode == 0:
            os.environ[mark] = "1"
            os.execvp("unshare", ["unshare", *flags, sys.executable, *sys.argv])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--bin", required=True, type=Path)
    p.add_argument("--scale", type=float, default=1, help="1 is CI's size")
    p.add_argument("--seed", type=int, default=1)
    a = p.parse_args()
    mount_for_ourselves()
    c, binary, rounds = Checks(), a.bin.absolute(), max(2, int(2 * a.scale))
    with workdir("full-disk") as base, store.shim() as shim:
        def part(title, body, *more):
            folder = Path(base) / title.replace(" ", "-")
            folder.mkdir()
            c.section(title, lambda: body(c, binary, folder, *more))

        part("no new blocks", on_shim, shim, NO_BLOCKS, 300_000, rounds, a.seed)
        part("no new blocks at all", on_shim, shim, NO_BLOCKS, 0, rounds, a.seed + 1)
        part("no write at all", on_shim, shim, NO_WRITES, 0, rounds, a.seed + 2)
        part("tmpfs", on_mount, "tmpfs", rounds, a.seed + 3)
        part("ext4", on_mount, "ext4", rounds, a.seed + 4)
        part("own keys", of_its_own_keys)
        part("at a limit", at_a_limit, shim, rounds, a.seed + 5)
        part("at the start", at_the_start, shim)
        part("audit device", audit_on_shim, shim)
        part("audit device on tmpfs", audit_on_mount)
    return c.close()


if __name__ == "__main__":
    sys.exit(main())
