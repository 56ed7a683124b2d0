#!/usr/bin/env python3
"""Three nodes over raft storage: what a standby answers, what it forwards, and what a client notices when the
nodes are restarted one after the other.

  Tests/System/cluster_test.py --bin .build/release/holdfast
"""
import argparse, base64, os, random, signal, sys, threading, time
from support import Checks, Client, Refused, Server, Unknown, free_port, wait, workdir
from vclient import RAFT_CONFIG, mount


class Cluster:
    def __init__(self, binary, base, env=None):
        """`env` tells what the first node finds in its environment besides."""
        cmd = f"'{binary}' server -config={{config}}"
        self.nodes = [Server(cmd, RAFT_CONFIG, os.path.join(base, f"n{i}"), free_port(), f"n{i}",
                             cluster_port=free_port(), multiplier=0, env=None if i else env) for i in range(3)]

    def client(self, i, timeout=10.0, token=None):
        return Client(self.nodes[i].port, token or self.root, timeout)

    def form(self):
        first = self.nodes[0].start()
        first.init()
        self.keys, self.root = first.keys, first.root
        first.unseal(self.keys)
        first.wait_active()
        for node in self.nodes[1:]:
            node.start()
            Client(node.port, timeout=20).must(
                "POST", "sys/storage/raft/join", {"leader_api_addr": f"http://127.0.0.1:{first.port}"})
            node.unseal(self.keys)
        wait(self.has_three_voters, "three voters")
        mount(self.client(0), "kv", "kv", {"version": "2"})

    def has_three_voters(self):
        status, out = self.client(0).call("GET", "sys/storage/raft/configuration")
        return status == 200 and sum(s["voter"] for s in out["data"]["config"]["servers"]) == 3

    def health(self, i):
        return Client(self.nodes[i].port, timeout=2).call("GET", "sys/health")[0]

    def active(self):
        found = []
        for i, node in enumerate(self.nodes):
            try:
                if node.proc.poll() is None and self.health(i) == 200:
                    found.append(i)
            except (Refused, Unknown):
                pass
        return found

    def settled(self):
        return len(self.active()) == 1

    def stop(self):
        for node in self.nodes:
            node.send(signal.SIGCONT)
            node.kill9()


def roles(checks, c):
    checks.equal("one node is active", c.active(), [0])
    for i in (1, 2):
        checks.equal(f"node {i} is a standby", c.health(i), 429)
        status, out = Client(c.nodes[i].port).call("GET", "sys/health?standbyok=true")
        checks.equal("standbyok", (status, out["standby"], out["sealed"]), (200, True, False))
        status, out = Client(c.nodes[i].port).call("GET", "sys/leader")
        checks.equal("the standby names the leader", (status, out["is_self"], out["leader_address"]),
                     (200, False, f"http://127.0.0.1:{c.nodes[0].port}"))
    out = c.client(1).must("GET", "sys/ha-status")["data"]["nodes"]
    checks.equal("ha-status lists all", (len(out), sum(n["active_node"] for n in out)), (3, 1))


def reading_and_writing(checks, c):
    for n in range(60):
        value = {"n": n}
        written = c.client(n % 3).call("POST", f"kv/data/k{n % 7}", {"data": value})
        checks.equal(f"write {n} through node {n % 3}", written[0], 200)
        for i in range(3):
            status, out = c.client(i).call("GET", f"kv/data/k{n % 7}")
            checks.equal(f"read of write {n} on node {i}", (status, out["data"]["data"]), (200, value))
    checks.equal("a list through a standby", c.client(2).must("LIST", "kv/metadata")["data"]["keys"],
                 [f"k{n}" for n in range(7)])
    token = c.client(1).must("POST", "auth/token/create", {"policies": ["root"], "num_uses": 2})
    token = token["auth"]["client_token"]
    got = [c.client(i, token=token).call("GET", "kv/data/k0")[0] for i in (1, 2, 1)]
    checks.equal("a token's uses count on all nodes together", got, [200, 200, 403])
    wrapped = c.client(1).call("GET", "kv/data/k0", headers={"X-Vault-Wrap-TTL": "60"})[1]["wrap_info"]["token"]
    status, out = Client(c.nodes[2].port, wrapped).call("POST", "sys/wrapping/unwrap")
    checks.equal("what one standby wrapped the other unwraps", (status, "data" in out.get("data", {})), (200, True))
    checks.equal("a bad token on a standby", c.client(1, token="nobody's").call("GET", "kv/data/k0")[0], 403)
    checks.equal("a write with a bad token", c.client(1, token="nobody's").call("POST", "kv/data/k0", {})[0], 403)


def headers(checks, c):
    import http.client
    conn = http.client.HTTPConnection("127.0.0.1", c.nodes[1].port, timeout=5)
    conn.request("GET", "/v1/kv/data/k0?version=1", headers={
        "X-Vault-Token": c.root, "X-Vault-No-Request-Forwarding": "true"})
    answer = conn.getresponse()
    answer.read()
    checks.equal("307 instead of an answer", (answer.status, answer.getheader("Location")),
                 (307, f"http://127.0.0.1:{c.nodes[0].port}/v1/kv/data/k0?version=1"))
    conn.request("POST", "/v1/kv/data/indexed", '{"data":{}}', {"X-Vault-Token": c.root})
    answer = conn.getresponse()
    answer.read()
    index = answer.getheader("X-Vault-Index")
    checks.that("a forwarded write tells its index", index, answer.getheaders())
    for i in range(3):
        checks.equal("the index is honoured", c.client(i).call(
            "GET", "kv/data/indexed", headers={"X-Vault-Index": index})[0], 200)
    parts = base64.b64decode(index).decode().split(":")
    parts[2] = parts[3] = str(int(parts[2]) + 1_000_000)
    future = base64.b64encode(":".join(parts).encode()).decode()
    checks.equal("an index that is not there", c.client(1).call(
        "GET", "kv/data/indexed", headers={"X-Vault-Index": future})[0], 412)
    checks.equal("an index that is none", c.client(1).call(
        "GET", "kv/data/indexed", headers={"X-Vault-Index": "nonsense"})[0], 400)


def of_this_node(checks, c):
    for path in ("sys/host-info", "sys/metrics", "sys/in-flight-req", "sys/loggers"):
        checks.equal(f"{path} on a standby", c.client(1).call("GET", path)[0], 200)
    gauges = {g["Name"]: g["Value"] for g in c.client(1).must("GET", "sys/metrics")["Gauges"]}
    checks.equal("a standby's metrics are its own", gauges.get("vault.core.active"), 0)
    checks.equal("stepping a standby down does nothing", c.client(2).call("PUT", "sys/step-down")[0], 204)
    checks.equal("the active node stays", c.active(), [0])
    checks.equal("a standby seals itself", c.client(2).call("PUT", "sys/seal")[0], 204)
    checks.equal("and only itself", (c.health(0), c.health(2)), (200, 503))
    c.nodes[2].unseal(c.keys)
    wait(lambda: c.health(2) == 429, "the standby is back")


def keys_follow(checks, c):
    checks.equal("rotate through a standby", c.client(1).call("PUT", "sys/rotate")[0], 204)
    c.client(1).must("POST", "kv/data/after", {"data": {"term": 2}})
    for i in range(3):
        checks.equal("read under the new key", c.client(i).call("GET", "kv/data/after")[0], 200)


def step_down(checks, c):
    before = c.active()
    t = time.monotonic()
    checks.equal("step-down", c.client(before[0]).call("PUT", "sys/step-down")[0], 204)
    status = c.client(before[0]).call("POST", "kv/data/stepped", {"data": {}})[0]
    took = time.monotonic() - t
    checks.equal("the next write, through the old node", status, 200)
    print(f"step-down to the next write: {took:.2f} s", flush=True)
    wait(c.settled, "one active node")
    checks.that("another node is active", c.active() != before)


class Load(threading.Thread):
    """Writes, and reads back what it wrote; tries the next node after a refused connection or a 503."""

    def __init__(self, c, name):
        super().__init__(daemon=True)
        self.c, self.key, self.ending = c, name, False
        self.failures, self.done, self.retries = [], 0, 0

    def request(self, *args):
        for attempt in range(200):
            node = self.place % 3
            try:
                status, out = self.c.client(node).call(*args)
            except Refused:
                status = 0
            except Unknown as e:
                status, out = -1, str(e)
            if status not in (0, 503):
                return status, out
            self.retries += 1
            self.place += 1
            time.sleep(0.02)
        return status, "given up"

    def run(self):
        self.place, n = random.randrange(3), 0
        while not self.ending:
            n += 1
            status, out = self.request("POST", f"kv/data/{self.key}", {"data": {"n": n}})
            if status != 200:
                self.failures.append(("write", n, status, out))
            status, out = self.request("GET", f"kv/data/{self.key}")
            if status != 200 or out["data"]["data"]["n"] != n:
                self.failures.append(("read", n, status, out))
            self.done += 1
            if n % 5 == 0:
                self.place += 1


def rolling_restart(checks, c):
    loads = [Load(c, f"roll{i}") for i in range(4)]
    for load in loads:
        load.start()
    time.sleep(1)
    # The active node last, as operators do it.
    order = sorted(range(3), key=lambda i: i in c.active())
    for i in order:
        c.nodes[i].stop()
        time.sleep(0.3)
        c.nodes[i].start()
        c.nodes[i].unseal(c.keys)
        wait(lambda: c.health(i) in (200, 429), f"node {i} is back")
        wait(c.settled, "one active node")
        time.sleep(0.5)
    for load in loads:
        load.ending = True
    for load in loads:
        load.join(30)
    failures = [f for load in loads for f in load.failures]
    checks.that("no request failed", not failures, failures[:5])
    checks.that("there was load", sum(load.done for load in loads) > 100)
    print(f"rolling restart: {sum(load.done for load in loads)} pairs, "
          f"{sum(load.retries for load in loads)} retries", flush=True)


def cut_off(checks, c):
    """Without a quorum nothing is answered from memory, and nothing hangs."""
    left = c.active()[0]
    for i in set(range(3)) - {left}:
        c.nodes[i].send(signal.SIGSTOP)
    time.sleep(1)
    for method, path, body in [("GET", "kv/data/k0", None), ("POST", "kv/data/k0", {"data": {}})]:
        t = time.monotonic()
        status = c.client(left, timeout=10).call(method, path, body)[0]
        took = time.monotonic() - t
        checks.equal(f"{method} without a quorum", status, 503)
        checks.that(f"{method} without a quorum is answered soon", took < 8, f"{took:.2f} s")
    checks.that("no node says it is active", c.health(left) != 200)
    for i in set(range(3)) - {left}:
        c.nodes[i].send(signal.SIGCONT)
    wait(c.settled, "one active node")
    wait(lambda: c.client(left).call("POST", "kv/data/k0", {"data": {}})[0] == 200, "a write")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--bin", required=True)
    p.add_argument("sections", nargs="*")
    a = p.parse_args()
    checks = Checks()
    with workdir("cluster") as base:
        c = Cluster(os.path.abspath(a.bin), base)
        try:
            checks.section("three nodes form a cluster", c.form)
            for body in (roles, reading_and_writing, headers, of_this_node, keys_follow, step_down,
                         rolling_restart, cut_off):
                if not a.sections or body.__name__ in a.sections:
                    checks.section(body.__name__.replace("_", " "), lambda: body(checks, c))
        finally:
            c.stop()
            if checks.failed:
                for node in c.nodes:
                    with open(node.log, errors="replace") as log:
                        print(f"--- log of {node.node}\n" + "".join(log.readlines()[-25:]))
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
