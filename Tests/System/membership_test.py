#!/usr/bin/env python3
"""Three nodes become five and three again, twice, while clients write and read. Of the two that are removed each
time one is the leader; they come back emptied, under their old names, and one loses its disk before it may vote.

  Tests/System/membership_test.py --bin .build/release/holdfast

Checked: the members at each step, that no acknowledged write is lost or stored twice, that no read is stale, that
at least 99 % of the requests are answered within 2.5 seconds of when they were due, that a removed node serves
nothing, and that those who stay agree.
"""
import argparse, json, os, random, shutil, sys, time
from support import Checks, Client, Refused, Unknown, log_of, wait, workdir
from ha_test import INF, MOUNT, Epoch, self_test
from members_test import Cluster, command
from vclient import mount, spawn

THREADS, RATE = 4, 100     # requests a second, of all threads together
PATIENCE = 2.5             # a request that takes longer was not served: a node that is cut off takes 2 s to say so
OUTAGE = 2.0               # seconds without any answer; the longest failover may take as long
GRACE = 0.0                # a removed node hands nothing on: its removal is acknowledged when the leader hears it no more
ROUNDS = 4                 # clusters with a removed node that runs on
REFUSED, LOST = 0, -1      # instead of a status: certainly without effect; perhaps with one


class Load(Epoch):
    """Clients that know the members. Each request has a time at which it is due and is measured from there, so
    that those count too that had to wait behind a slow one. A retried write is another value: what may have been
    stored twice shows."""

    def __init__(self, cluster, names):
        super().__init__(cluster, 0, random.Random(1), argparse.Namespace(keys=6))
        self.names, self.took, self.slow, self.retries = list(names), [], [], 0
        self.answered = []                         # when

    def begin(self):
        self.threads = [spawn(self.client, n, self.rng.random()) for n in range(THREADS)]

    def end(self):
        self.stop = True
        for thread in self.threads:
            thread.join(15)
        return not any(thread.is_alive() for thread in self.threads)

    def client(self, number, seed):
        rng, clients, step = random.Random(seed), {}, THREADS / RATE
        due = time.monotonic() + number * step / THREADS
        while not self.stop:
            time.sleep(max(0.0, due - time.monotonic()))
            self.request(rng, clients, due)
            due += step

    def request(self, rng, clients, due):
        key, write, place, statuses = rng.choice(self.keys), rng.random() < 0.5, rng.randrange(60), []
        while True:
            names = self.names
            for gone in set(clients) - set(names):     # it may come back, as another process
                clients.pop(gone).close()
            statuses.append(self.attempt(clients, names[(place + len(statuses)) % len(names)], key, write))
            took = time.monotonic() - due
            if statuses[-1] not in (REFUSED, 503) or took > 5:
                break
            time.sleep(0.02)
        with self.lock:
            self.took.append(took)
            if statuses[-1] in (200, 404):
                self.answered.append(due + took)
            self.retries += len(statuses) - 1
            if statuses[-1] not in (200, 404) or took > PATIENCE:
                self.slow.append(("write" if write else "read", round(took, 2), statuses[-3:]))

    def longest_outage(self):
        """The longest time, in seconds, in which no request was answered."""
        ends = sorted(self.answered)
        return max((b - a for a, b in zip(ends, ends[1:])), default=INF)

    def attempt(self, clients, name, key, write, headers=None):
        """One request to one node, as the history has it. Returns the status."""
        if name not in clients:
            clients[name] = self.c.api(name, timeout=4)
        with self.lock:
            self.serial += 1
            value = self.serial
        began = time.monotonic()
        try:
            path = f"{MOUNT}/data/{key}"
            body = {"data": {"v": value}} if write else None
            status, out = clients[name].call("POST" if write else "GET", path, body, headers=headers)
        except Refused:
            return REFUSED
        except Unknown:
            status, out = LOST, {}
        ended = time.monotonic()
        with self.lock:
            if write and status == 200:
                self.history[key].append((began, ended, "w", value))
                self.acked[key][value] = out["data"]["version"]
            elif write:                            # whatever it says, it may have been stored
                self.history[key].append((began, INF, "w", value))
                self.unknown[key].add(value)
            elif status in (200, 404):
                self.history[key].append((began, ended, "r", out["data"]["data"]["v"] if status == 200 else None))
        return status


class Outsider:
    """Asks a node that was removed, from the moment on at which its removal was acknowledged."""

    def __init__(self, load, name):
        self.load, self.name, self.ending, self.answers = load, name, False, []
        self.began = time.monotonic()
        self.threads = [spawn(self.ask, n) for n in range(4)]

    def ask(self, number):
        kind = ("write", "forwarded read", "read", "read")[number]
        clients, headers = {}, {"X-Vault-Forward": "active-node"} if number == 1 else None
        while not self.ending:
            sent = time.monotonic()
            status = self.load.attempt(clients, self.name, self.load.keys[number], number == 0, headers)
            self.answers.append((status, kind, round(sent - self.began, 2),
                                 round(time.monotonic() - sent, 2)))
            time.sleep(0.02)

    def close(self, checks):
        self.ending = True
        for thread in self.threads:
            thread.join(10)
        served = [a for a in self.answers if 200 <= a[0] < 300 or a[0] == 404]
        print(f"{self.name}, removed: asked {len(self.answers)} times, slowest answer "
              f"{max((a[3] for a in self.answers), default=0):.2f} s; handed on "
              f"{sum(a[1] == 'write' for a in served)} writes, {sum(a[1] != 'write' for a in served)} reads, "
              f"the last after {max((a[2] for a in served), default=0):.2f} s", flush=True)
        checks.that(f"{self.name}, removed, answers no read", not [a for a in served if a[1] == "read"], served[:5])
        late = [a for a in served if a[2] > GRACE]
        checks.that(f"{self.name}, removed, soon hands on nothing more", not late, late[:5])
        late = [a for a in self.answers if a[3] > PATIENCE or a[0] == LOST]
        checks.that(f"{self.name}, removed, lets nobody wait", not late, late[:5])
        checks.that(f"{self.name}, removed, was asked", len(self.answers) >= len(self.threads), len(self.answers))


def peers(c, node=None):
    """What `list-peers` shows: who votes, by name; and who leads."""
    ran = command(c, "operator", "raft", "list-peers", "-format=json", node=node)
    if ran.returncode:
        raise RuntimeError(f"list-peers: {ran.stderr}")
    servers = json.loads(ran.stdout)["data"]["config"]["servers"]
    return {s["node_id"]: s["voter"] for s in servers}, [s["node_id"] for s in servers if s["leader"]]


def members_are(checks, c, load, what):
    """All members name the same members, all with a vote, and the same leader."""
    want = {n: True for n in load.names}
    wait(lambda: c.leader() in want and peers(c) == (want, [c.leader()]), f"{what}: {sorted(want)}, all voting")
    for name in sorted(want):
        wait(lambda: peers(c, name) == (want, [c.leader()]), f"{what}: {name} lists the same")
    checks.equal(f"{what}: one is active, the others stand by",
                 sorted(c.health(n) for n in want), [200] + [429] * (len(want) - 1))


def form(checks, c):
    c.node("a")
    c.begin("a")
    stabilize(checks, c, "1s")
    for name in "bc":
        enter(checks, c, name)
    wait(lambda: c.members() == {"a": True, "b": True, "c": True}, "three voters")
    mount(c.api("a"), MOUNT, "kv", {"version": "2"})
    c.api("a").must("POST", f"{MOUNT}/config", {"max_versions": 100_000})


def stabilize(checks, c, span):
    ran = command(c, "operator", "raft", "autopilot", "set-config", f"-server-stabilization-time={span}")
    checks.equal(f"new members shall vote after {span}", ran.returncode, 0)


def enter(checks, c, name):
    if name not in c.nodes:
        c.node(name)
    c.nodes[name].start()
    checks.equal(f"{name} joins", c.join(name, c.leader()), (200, {"joined": True}))
    c.unseal(name)


def grow(checks, c, load, names):
    for name in names:
        enter(checks, c, name)
        wait(lambda: c.health(name) == 429, f"{name} stands by")
        load.names = load.names + [name]
        checks.equal(f"{name} is listed", sorted(peers(c)[0]), sorted(load.names))
    members_are(checks, c, load, f"{len(load.names)} nodes")
    time.sleep(1)


def shrink(checks, c, load, outsiders):
    """Removes the leader, asked for at the leader; then another, asked for at that one itself."""
    for place in ("leader", "standby"):
        leader = c.leader()
        victim = leader if place == "leader" else next(n for n in load.names if n != leader)
        ran = command(c, "operator", "raft", "remove-peer", victim, node=victim)
        outsiders[victim] = Outsider(load, victim)
        load.names = [n for n in load.names if n != victim]
        checks.equal(f"the {place} {victim} is removed", (ran.returncode, ran.stderr), (0, ""))
        members_are(checks, c, load, f"without the {place} {victim}")
        began = time.monotonic()
        wait(lambda: c.health(victim) == 530, f"{victim} knows that it is out")
        print(f"{victim}, removed, knew it {time.monotonic() - began:.2f} s later", flush=True)
        says_why(checks, c, victim)
        time.sleep(1)


def says_why(checks, c, name):
    out = Client(c.nodes[name].port).call("GET", "sys/health")[1]
    checks.equal(f"{name}'s health names the reason", out.get("removed_from_cluster"), True)
    began = time.monotonic()
    answers = [c.api(name).call(*call) for call in (("GET", f"{MOUNT}/data/x"), ("POST", f"{MOUNT}/data/x", {}))]
    took = time.monotonic() - began
    checks.that(f"{name} refuses with the reason", all(s == 503 and "removed from its cluster" in o["errors"][0]
                                                       for s, o in answers), answers)
    checks.that(f"{name} refuses at once", took < 0.5, took)
    status = command(c, "status", node=name).stdout
    checks.that(f"{name}'s status says so", "Removed From Cluster" in status and "empty its data" in status, status)
    status, out = c.join(name, c.leader())
    checks.that(f"{name} cannot join as it is", status == 400 and "empty its data" in out["errors"][0], (status, out))


def come_back(checks, c, load, outsiders):
    """Started again with what they had, removed nodes still serve nothing. Emptied, they are as good as new."""
    for name in list(outsiders):
        outsiders.pop(name).close(checks)
        node = c.nodes[name]
        node.kill9()
        node.start()
        Client(node.port).call("PUT", "sys/unseal", {"key": c.keys[0]})
        outsider = Outsider(load, name)
        time.sleep(1)
        outsider.close(checks)
        wait(lambda: c.health(name) == 530, f"{name}, started again, knows that it is no member")
        checks.that(f"{name}, started again, says what to do", "empty its data directory" in log_of(node))
        node.kill9()
        empty(node)


def empty(node):
    shutil.rmtree(node.fields["data"])
    os.makedirs(node.fields["data"])


def lost_disk(checks, c, load, name):
    """A node that does not vote yet loses all that it has, and joins again under the same name."""
    stabilize(checks, c, "1h")
    enter(checks, c, name)
    wait(lambda: c.health(name) == 429, f"{name} stands by")
    checks.equal(f"{name} does not vote", peers(c)[0], {**{n: True for n in load.names}, name: False})
    c.nodes[name].kill9()
    empty(c.nodes[name])
    enter(checks, c, name)
    wait(lambda: c.health(name) == 429, f"{name} stands by again")
    checks.equal(f"{name} is there once", peers(c)[0], {**{n: True for n in load.names}, name: False})
    status = c.api(name).call("GET", f"{MOUNT}/data/{load.keys[0]}")[0]
    checks.equal(f"{name} has the data again", status, 200)
    stabilize(checks, c, "1s")
    wait(lambda: peers(c)[0][name], f"{name} votes")
    load.names = load.names + [name]


def verdict(checks, c, load):
    checks.that("all clients have ended", load.end())
    asked, took = len(load.took), sorted(load.took)
    share = 1 - len(load.slow) / max(1, asked)
    print(f"load: {asked} requests, {share:.2%} served within {PATIENCE:g} s "
          f"({sum(t <= 1 for t in took) / asked:.2%} within 1 s), slowest {took[-1]:.2f} s, "
          f"{load.retries} retries; at most {load.longest_outage():.2f} s without any answer", flush=True)
    checks.that("never was nobody served for long", load.longest_outage() <= OUTAGE, load.longest_outage())
    checks.that("there was load", asked > 1000, asked)
    checks.that("at least 99 % were served", share >= 0.99, load.slow[:8])
    failed = [s for s in load.slow if s[2][-1] not in (200, 404)]
    checks.that("no request failed", not failed, failed[:8])
    judged = load.judge()
    for fault in ("lost", "doubled", "stale", "nonlinear", "undecided"):
        checks.equal(f"{fault}, of {sum(map(len, load.acked.values()))} acknowledged writes", judged[fault], 0)
    stored = 0
    for key in load.keys:
        states = []
        for name in load.names:
            status, out = c.api(name).call("GET", f"{MOUNT}/data/{key}")
            versions = c.api(name).must("GET", f"{MOUNT}/metadata/{key}")["data"]["versions"]
            states.append((status, out.get("data"), versions))
        checks.that(f"{' '.join(load.names)} agree on {key}", all(s == states[0] for s in states[1:]), states)
        stored += len(states[0][2])
    unknown = sum(map(len, load.unknown.values()))
    acked = sum(map(len, load.acked.values()))
    print(f"writes: {acked} acknowledged; {unknown} not, of which {stored - acked} are stored", flush=True)
    checks.that("nothing is stored that nobody wrote", acked <= stored <= acked + unknown, (acked, unknown, stored))


def forgotten(checks, c):
    """A removed node runs on; the members are killed, nothing having been written since, and start again. The
    removed one may have its removal in its log, but was never told that it is committed. Who wins is a race:
    hence several rounds, each with a new cluster."""
    c.api("a").must("POST", f"{MOUNT}/data/x", {"data": {"v": 1}})
    time.sleep(0.5)
    leader = c.leader()
    removed = next(n for n in "cba" if n != leader)
    stay = [n for n in "abc" if n != removed]
    ran = command(c, "operator", "raft", "remove-peer", removed, node=leader)
    checks.equal(f"{removed} is removed", (ran.returncode, ran.stderr), (0, ""))
    time.sleep(2)
    for name in stay:
        c.nodes[name].kill9()
    for name in stay:
        c.nodes[name].start()
        c.unseal(name)
    wait(lambda: c.health(removed) == 530, f"{removed} is told that it is out")
    end = time.monotonic() + 4
    seen = set()
    while time.monotonic() < end:
        try:
            seen.add((c.health(removed), c.api(removed, timeout=4).call("GET", f"{MOUNT}/data/x")[0]))
        except (Refused, Unknown):
            pass
        time.sleep(0.1)
    served = [s for s in seen if s[0] in (200, 429) or s[1] == 200]
    says_why(checks, c, removed)
    checks.that(f"{removed}, removed, neither leads nor follows nor answers a read", not served, served)
    checks.equal("those who stay are at work", sorted(c.health(n) for n in stay), [200, 429])
    for name in stay:
        status = c.api(name, timeout=5).call("POST", f"{MOUNT}/data/x", {"data": {"v": 2}})[0]
        checks.equal(f"a write through {name}", status, 200)


def under_load(checks, c, cycles):
    load, outsiders, newcomers = Load(c, "abc"), {}, ["d", "e"]
    load.begin()
    for cycle in range(cycles):
        if cycle:
            newcomers = list(outsiders)
            checks.section("removed nodes start again", lambda: come_back(checks, c, load, outsiders))
            name = newcomers.pop()
            checks.section("a newcomer loses its disk", lambda: lost_disk(checks, c, load, name))
        checks.section("three become five", lambda: grow(checks, c, load, newcomers))
        checks.section("five become three", lambda: shrink(checks, c, load, outsiders))
    for outsider in outsiders.values():
        outsider.close(checks)
    checks.section("what the clients saw", lambda: verdict(checks, c, load))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--bin", required=True)
    p.add_argument("--cycles", type=int, default=2)
    p.add_argument("--forgotten", action="store_true",
                   help="instead: does a removed node that runs on disturb members that start again?")
    args = p.parse_args()
    self_test()
    checks = Checks()
    for _ in range(ROUNDS if args.forgotten else 1):
        with workdir("membership") as base:
            c = Cluster(os.path.abspath(args.bin), base)
            failed = checks.failed
            try:
                checks.section("three nodes form a cluster", lambda: form(checks, c))
                if args.forgotten:
                    checks.section("a removed node, and members that start again", lambda: forgotten(checks, c))
                else:
                    under_load(checks, c, args.cycles)
            finally:
                c.stop()
                if checks.failed > failed:
                    for name, node in c.nodes.items():
                        print(f"--- log of {name}\n" + "\n".join(log_of(node).splitlines()[-15:]))
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
