#!/usr/bin/env python3
"""Who belongs to a cluster: joining in every way, members that leave or lose their disks, strangers and floods at
its doors, snapshots out and in.

  Tests/System/members_test.py --bin .build/release/holdfast
"""
import argparse, json, os, shutil, socket, ssl, subprocess, sys, time
from support import certificate, Checks, Client, Refused, Server, Unknown, free_port, log_of, wait, workdir
from vclient import RAFT_CONFIG, mount


class Cluster:
    """Nodes by name. The first that is unsealed makes the cluster."""

    def __init__(self, binary, base):
        self.binary, self.base, self.nodes, self.root, self.keys = binary, base, {}, None, None

    def node(self, name, stanza="", more=""):
        config = RAFT_CONFIG.replace("  performance_multiplier", f"  {stanza}\n  performance_multiplier") + more
        made = Server(f"'{self.binary}' server -config={{config}}", config, os.path.join(self.base, name),
                      free_port(), name, cluster_port=free_port(), multiplier=0)
        self.nodes[name] = made
        return made

    def api(self, name, token=None, timeout=10):
        return Client(self.nodes[name].port, token or self.root, timeout)

    def address(self, name):
        return f"http://127.0.0.1:{self.nodes[name].port}"

    def health(self, name):
        try:
            return Client(self.nodes[name].port, timeout=3).call("GET", "sys/health")[0]
        except (Refused, Unknown):
            return 0

    def begin(self, name):
        node = self.nodes[name]
        if not node.proc:
            node.start()
        node.init()
        self.keys, self.root = node.keys, node.root
        node.unseal(self.keys)
        node.wait_active()

    def join(self, name, to, **more):
        return Client(self.nodes[name].port, timeout=20).call(
            "PUT", "sys/storage/raft/join", {"leader_api_addr": self.address(to), **more})

    def unseal(self, name):
        self.nodes[name].unseal(self.keys)

    def leader(self):
        return next((n for n in self.nodes if self.nodes[n].proc and self.health(n) == 200), None)

    def members(self, name=None):
        name = name or self.leader()
        servers = self.api(name).must("GET", "sys/storage/raft/configuration")["data"]["config"]["servers"]
        return {s["node_id"]: s["voter"] for s in servers}

    def stop(self):
        for node in self.nodes.values():
            node.kill9()


def joining(checks, c):
    a = c.node("a")
    c.node("b", f'retry_join {{{{ leader_api_addr = "{c.address("a")}" }}}}').start()
    c.node("c", 'retry_join {{\n auto_join = "provider=dns name=localhost"\n auto_join_scheme = "http"\n'
                f' auto_join_port = {a.port}\n }}}}'.replace("}}}}", "}}") + "\n  retry_join_as_non_voter = true").start()
    c.node("d").start()
    began = time.monotonic()
    checks.equal("too early is no error", c.join("d", "a"), (200, {"joined": False}))
    checks.that("and answers soon", time.monotonic() - began < 20)
    for body, want in [({}, "leader_api_addr"), ({"leader_api_addr": "a:1"}, "leader_api_addr"),
                       ({"auto_join": "provider=k8s"}, "provider=dns"),
                       ({"leader_api_addr": "http://a:1", "leader_client_cert": "x"}, "both or neither")]:
        status, out = Client(c.nodes["d"].port).call("PUT", "sys/storage/raft/join", body)
        checks.that(f"refused: {body}", status == 400 and want in out["errors"][0], (status, out))
    c.begin("a")
    for name in "bcd":
        seal = lambda: Client(c.nodes[name].port).must("GET", "sys/seal-status")
        wait(lambda: seal()["initialized"], f"{name} has found its cluster")
        checks.equal(f"{name} waits for its shares", (seal()["sealed"], seal()["t"], seal()["n"]), (True, 1, 1))
        c.unseal(name)
        wait(lambda: c.health(name) == 429, f"{name} is a standby")
    wait(lambda: c.members() == {"a": True, "b": True, "c": False, "d": True}, "all members, one without a vote")
    mount(c.api("a"), "kv", "kv")
    checks.equal("a write through a node that never votes", c.api("c").call("PUT", "kv/x", {"v": "1"})[0], 204)
    checks.equal("read on all", [c.api(n).must("GET", "kv/x")["data"]["v"] for n in "abcd"], ["1"] * 4)
    checks.equal("a member that joins again is one already", c.join("b", "a"), (200, {"joined": True}))
    state = lambda: c.api("b").must("GET", "sys/storage/raft/autopilot/state")["data"]
    wait(lambda: len(state()["voters"]) == 3, "autopilot has seen them")
    state = state()
    checks.equal("autopilot, asked on a standby", (state["healthy"], state["failure_tolerance"], state["leader"],
                                                   sorted(state["voters"])), (True, 1, "a", ["a", "b", "d"]))


def strangers(checks, c):
    port, api = c.nodes["a"].cluster_port, Client(c.nodes["a"].port)
    plain = socket.create_connection(("127.0.0.1", port), 2)
    plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    plain.settimeout(3)
    checks.equal("plain text is cut off", closed(plain), True)
    tls = ssl.create_default_context()
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    for names in (["holdfast-raft/1"], ["holdfast-forward/1"], ["h2"], []):
        if names:
            tls.set_alpn_protocols(names)
        try:
            with tls.wrap_socket(socket.create_connection(("127.0.0.1", port), 2)) as s:
                s.settimeout(3)
                s.sendall(b"\0\0\0\4junk")
                checks.equal(f"no certificate, {names}", closed(s), True)
        except OSError:
            checks.that(f"no certificate, {names}", True)
    silent = [socket.create_connection(("127.0.0.1", port), 2) for _ in range(300)]
    checks.equal("the cluster works beside 300 silent strangers", c.api("b").call("PUT", "kv/y", {"v": "1"})[0], 204)
    for s in silent:
        s.close()
    before = resident(c.nodes["a"])
    refused = sum(api.call("PUT", "sys/storage/raft/bootstrap/challenge", {"server_id": f"n{n}"})[0] != 200
                  for n in range(3000))
    checks.equal("3,000 challenges", refused, 0)
    checks.that("leave nothing behind", resident(c.nodes["a"]) - before < 20_000, resident(c.nodes["a"]) - before)
    challenge = api.must("PUT", "sys/storage/raft/bootstrap/challenge", {"server_id": "evil"})["data"]
    answer = {"server_id": "evil", "challenge": challenge["challenge"], "answer": "AAAA",
              "raft_id": "00000000000000ff", "cluster_addr": "127.0.0.1:1"}
    checks.equal("a wrong proof", api.call("PUT", "sys/storage/raft/bootstrap/answer", answer)[0], 403)
    for field in ("server_id", "challenge", "answer", "raft_id", "cluster_addr"):
        status, out = api.call("PUT", "sys/storage/raft/bootstrap/answer", {**answer, field: ""})
        checks.that(f"without {field}", status in (400, 403), (status, out))
    status = api.call("PUT", "sys/storage/raft/remove-peer", {"server_id": "b"}, token="")[0]
    checks.that("nobody is removed without a token", status in (400, 403), status)
    checks.equal("nobody came in or went", sorted(c.members()), ["a", "b", "c", "d"])


def closed(s):
    try:
        while True:
            if not s.recv(4096):
                return True
    except (ConnectionError, ssl.SSLError):
        return True
    except OSError:
        return False


def resident(node):
    with open(f"/proc/{node.proc.pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))


def leaving(checks, c):
    status, out = c.api("a").call("POST", "sys/storage/raft/remove-peer", {"server_id": "nobody"})
    checks.that("no such member", status == 400 and "nobody" in out["errors"][0], (status, out))
    status, out = c.api("a").call("POST", "sys/storage/raft/remove-peer", {"server_id": "a"})
    checks.equal("the leader hands over, and its successor removes it", (status, out), (204, {}))
    wait(lambda: c.leader() not in (None, "a"), "another leader")
    checks.equal("it is gone", sorted(c.members()), ["b", "c", "d"])
    wait(lambda: c.health("a") == 530, "it knows")
    wait(lambda: c.api("a", timeout=4).call("GET", "kv/x")[0] == 503, "it answers no more")
    c.nodes["a"].kill9()
    shutil.rmtree(c.nodes["a"].fields["data"])
    os.makedirs(c.nodes["a"].fields["data"])
    c.nodes["a"].start()
    checks.equal("emptied, it may come back", c.join("a", c.leader()), (200, {"joined": True}))
    c.unseal("a")
    wait(lambda: c.members() == {"a": True, "b": True, "c": False, "d": True}, "and votes again")


def lost_disk(checks, c):
    node = c.nodes["d"]
    if c.leader() == "d":
        c.api("d").must("PUT", "sys/step-down")
        wait(lambda: c.leader() not in (None, "d"), "another leader")
    node.kill9()
    shutil.rmtree(node.fields["data"])
    os.makedirs(node.fields["data"])
    wait(lambda: c.api(c.leader()).call("PUT", "kv/z", {"v": "2"})[0] == 204, "a write without it")
    node.start()
    checks.equal("an empty node under its old name", c.join("d", c.leader())[0], 200)
    c.unseal("d")
    wait(lambda: c.health("d") == 429, "it is a standby again")
    checks.equal("with all data", c.api("d").must("GET", "kv/z")["data"]["v"], "2")
    impostor = c.node("e")
    with open(impostor.fields["config"]) as f:
        text = f.read().replace('node_id = "e"', 'node_id = "d"')
    with open(impostor.fields["config"], "w") as f:
        f.write(text)
    impostor.start()
    checks.equal("a second node of that name", c.join("e", c.leader())[0], 200)
    Client(impostor.port).must("PUT", "sys/unseal", {"key": c.keys[0]})
    time.sleep(2)
    checks.that("is not taken on", c.health("e") in (501, 503) and c.health("d") == 429, c.health("e"))
    checks.that("and says why", "is the name of a member that is alive" in log_of(impostor), log_of(impostor)[-300:])
    impostor.kill9()
    del c.nodes["e"]


def command(c, *words, node=None):
    env = {**os.environ, "VAULT_ADDR": c.address(node or c.leader()), "VAULT_TOKEN": c.root, "HOME": c.base}
    return subprocess.run([c.binary, *words], env=env, capture_output=True, text=True, cwd=c.base, timeout=120)


def snapshots(checks, c):
    wait(lambda: c.leader() is not None, "an active node")
    api = c.api(c.leader())
    for n in range(40):
        api.must("PUT", f"kv/many/{n}", {"v": f"{n:04d}" * 15_000})
    standby = next(n for n in c.nodes if c.nodes[n].proc.poll() is None and c.health(n) == 429)
    for name, node in (("s1", None), ("s2", standby)):
        ran = command(c, "operator", "raft", "snapshot", "save", name, node=node)
        checks.equal(f"save on {node or 'the leader'}", (ran.returncode, ran.stderr), (0, ""))
        ran = command(c, "operator", "raft", "snapshot", "inspect", "-format=json", name)
        checks.that("inspect", ran.returncode == 0 and json.loads(ran.stdout)["size"] > 2_000_000, ran)
    checks.equal("other programs read it", subprocess.run(
        "tar -xzOf s1 SHA256SUMS.sealed | wc -c", shell=True, cwd=c.base, capture_output=True, text=True
    ).stdout.strip(), "32")
    api.must("PUT", "kv/many/1", {"v": "later"})
    api.must("PUT", "kv/later", {"v": "later"})
    with open(os.path.join(c.base, "s1"), "rb") as f:
        whole = f.read()
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 1
    for name, bad in (("cut", whole[:-100]), ("damaged", bytes(damaged))):
        with open(os.path.join(c.base, name), "wb") as f:
            f.write(bad)
        checks.equal(f"{name}: refused here", command(c, "operator", "raft", "snapshot", "restore", name).returncode, 2)
        status = raw(c, "POST", "sys/storage/raft/snapshot", bad)
        checks.equal(f"{name}: refused there", status, 400)
    checks.equal("nothing has changed", api.must("GET", "kv/later")["data"]["v"], "later")
    for name, node in (("s1", None), ("s2", standby)):
        ran = command(c, "operator", "raft", "snapshot", "restore", name, node=node)
        checks.equal(f"restore through {node or 'the leader'}", (ran.returncode, ran.stderr), (0, ""))
        wait(lambda: c.leader() is not None, "an active node")
        for n in [n for n in c.nodes if c.nodes[n].proc.poll() is None]:
            wait(lambda: c.health(n) in (200, 429), f"{n} serves")
            checks.equal(f"{n} has the old state", (c.api(n).must("GET", "kv/many/1")["data"]["v"][:4],
                                                    c.api(n).call("GET", "kv/later")[0]), ("0001", 404))
        c.api(c.leader()).must("PUT", "kv/later", {"v": "again"})
    schedule(checks, c)


def raw(c, method, path, body, node=None):
    import http.client
    conn = http.client.HTTPConnection("127.0.0.1", c.nodes[node or c.leader()].port, timeout=30)
    conn.request(method, "/v1/" + path, body, {"X-Vault-Token": c.root, "Content-Type": "application/gzip"})
    answer = conn.getresponse()
    answer.read()
    return answer.status


def schedule(checks, c):
    api, folder = c.api(c.leader()), os.path.join(c.base, "kept")
    os.makedirs(folder)
    path = "sys/storage/raft/snapshot-auto/config/often"
    for body in ({"path_prefix": folder}, {"path_prefix": "kept", "interval": "1m"},
                 {"path_prefix": folder, "interval": "1m", "retain": 0},
                 {"path_prefix": folder, "interval": "1m", "file_prefix": "../x"},
                 {"path_prefix": folder, "interval": "1m", "storage_type": "aws-s3"}):
        checks.equal(f"no schedule: {body}", api.call("POST", path, body)[0], 400)
    api.must("POST", path, {"path_prefix": folder, "interval": "1m", "retain": 2, "file_prefix": "p"})
    wait(lambda: os.listdir(folder), "a snapshot by itself")
    status = api.must("GET", "sys/storage/raft/snapshot-auto/status/often")["data"]
    wait(lambda: api.must("GET", "sys/storage/raft/snapshot-auto/status/often")["data"]["last_snapshot_end"], "its end")
    name = os.listdir(folder)[0]
    checks.that("its name", name.startswith("p-") and name.endswith(".snap"), (name, status))
    checks.equal("it is whole", command(c, "operator", "raft", "snapshot", "inspect", f"kept/{name}").returncode, 0)
    checks.equal("and its owner's alone", oct(os.stat(os.path.join(folder, name)).st_mode & 0o777), "0o600")
    api.must("DELETE", path)
    retention(checks, api, path, folder)


def retention(checks, api, path, folder):
    """Old snapshots go when a new one is whole: the oldest first, and only the schedule's own."""
    wait(lambda: api.call("GET", path.replace("config", "status"))[0] == 404, "the schedule is gone")
    for old in os.listdir(folder):
        os.remove(os.path.join(folder, old))
    old = [f"p-2025-01-0{day}T00-00-00Z.snap" for day in range(1, 6)]
    others = ["p-notes.txt", "q-2025-01-01T00-00-00Z.snap", "p-2025-01-01.snap"]
    for name in old + others:
        with open(os.path.join(folder, name), "wb") as f:
            f.write(b"x" * 1000)
    api.must("POST", path, {"path_prefix": folder, "interval": "1m", "retain": 3, "file_prefix": "p"})
    kept = lambda: sorted(n for n in os.listdir(folder) if n not in others and not n.endswith(".tmp"))
    wait(lambda: len(kept()) == 3, "three are kept")
    checks.equal("the newest of the old, and the new one", kept()[:2], old[-2:])
    checks.that("nothing else was touched", all(os.path.exists(os.path.join(folder, n)) for n in others))
    api.must("DELETE", path)


def into_a_new_cluster(checks, c):
    """A snapshot in machines that never saw the old ones."""
    with workdir("members-new") as base:
        new = Cluster(c.binary, base)
        try:
            new.node("x").start()
            new.begin("x")
            with open(os.path.join(c.base, "s1"), "rb") as f:
                archive = f.read()
            shutil.copy(os.path.join(c.base, "s1"), os.path.join(base, "s1"))
            checks.equal("another cluster's is refused", raw(new, "POST", "sys/storage/raft/snapshot", archive, "x"), 400)
            ran = command(new, "operator", "raft", "snapshot", "restore", "-force", "s1", node="x")
            checks.equal("unless it is forced", (ran.returncode, ran.stderr), (0, ""))
            wait(lambda: new.health("x") == 503, "the node has sealed itself: it has other keys now")
            new.keys, new.root = c.keys, c.root
            new.unseal("x")
            wait(lambda: new.health("x") == 200, "it is active")
            checks.equal("with the old cluster's data", new.api("x").must("GET", "kv/x")["data"]["v"], "1")
            new.node("y").start()
            checks.equal("others join it", new.join("y", "x"), (200, {"joined": True}))
            new.unseal("y")
            wait(lambda: new.health("y") == 429, "y is a standby")
            checks.equal("with that data", new.api("y").must("GET", "kv/x")["data"]["v"], "1")
        finally:
            new.stop()


def over_tls(checks, c):
    """The leader's API speaks TLS and wants to see a certificate."""
    with workdir("members-tls") as base:
        ca, _ = certificate(base, "ca")
        cert, key = certificate(base, "server", "ca")
        client, client_key = certificate(base, "client", "ca")
        text = lambda path: open(path).read()
        new = Cluster(c.binary, base)
        try:
            a = new.node("a")
            tls = free_port()
            with open(a.fields["config"], "a") as f:
                f.write(f'listener "tcp" {{\n address = "127.0.0.1:{tls}"\n cluster_address = "127.0.0.1:{free_port()}"\n'
                        f' tls_cert_file = "{cert}"\n tls_key_file = "{key}"\n tls_client_ca_file = "{ca}"\n'
                        ' tls_require_and_verify_client_cert = true\n}\n')
            new.begin("a")
            new.node("b").start()
            join = lambda **more: Client(new.nodes["b"].port, timeout=20).call(
                "PUT", "sys/storage/raft/join", {"leader_api_addr": f"https://127.0.0.1:{tls}", **more})
            checks.equal("a certificate that nobody vouches for", join()[0], 400)
            checks.equal("another authority", join(leader_ca_cert=text(certificate(base, "other")[0]))[0], 400)
            mine = {"leader_client_cert": text(client), "leader_client_key": text(client_key)}
            checks.equal("another name", join(leader_ca_cert=text(ca), leader_tls_servername="elsewhere", **mine)[0], 400)
            checks.equal("all that is needed", join(leader_ca_cert=text(ca), leader_tls_servername="localhost", **mine),
                         (200, {"joined": True}))
            new.unseal("b")
            wait(lambda: new.health("b") == 429, "b is a standby")
            stanza = (f'retry_join {{{{\n leader_api_addr = "https://127.0.0.1:{tls}"\n leader_ca_cert_file = "{ca}"\n'
                      f' leader_client_cert_file = "{client}"\n leader_client_key_file = "{client_key}"\n}}}}')
            new.node("d", stanza).start()
            wait(lambda: Client(new.nodes["d"].port).must("GET", "sys/seal-status")["initialized"], "d, by files")
        finally:
            new.stop()


def quorum_lost(checks, c):
    """All but one node are gone for good."""
    survivor = next(n for n in "abd" if c.leader() != n)
    api = c.api(c.leader())
    api.must("PUT", "kv/last", {"v": "word"})
    wait(lambda: c.api(survivor).must("GET", "kv/last")["data"]["v"] == "word", "the survivor has all")
    for name in c.nodes:
        if name != survivor:
            c.nodes[name].kill9()
    wait(lambda: c.health(survivor) not in (200, 429) or c.api(survivor, timeout=4).call("GET", "kv/last")[0] == 503,
         "one of many answers nothing")
    node, recover = c.nodes[survivor], ["operator", "raft", "recover", f"-config={c.nodes[survivor].fields['config']}"]
    run = lambda *more: subprocess.run([c.binary, *recover, *more], capture_output=True, text=True, timeout=60,
                                       stdin=subprocess.DEVNULL, env={**os.environ, "HOME": c.base})
    ran = run("-yes")
    checks.that("not while the server runs", ran.returncode == 2, ran)
    node.stop()
    ran = run()
    checks.that("not without being asked for", ran.returncode == 2 and "-yes" in ran.stderr, ran)
    ran = run("-yes")
    checks.that("recovered", ran.returncode == 0 and "Success" in ran.stdout, ran)
    checks.that("it says whom it drops", all(n in ran.stderr for n in "abd" if n != survivor), ran.stderr)
    checks.equal("a second time there is nothing to do", run("-yes").returncode, 2)
    node.start()
    c.unseal(survivor)
    wait(lambda: c.health(survivor) == 200, "it is active alone")
    checks.equal("with all data", c.api(survivor).must("GET", "kv/last")["data"]["v"], "word")
    checks.equal("the only member", sorted(c.members(survivor)), [survivor])
    other = next(n for n in "abd" if n != survivor)
    shutil.rmtree(c.nodes[other].fields["data"])
    os.makedirs(c.nodes[other].fields["data"])
    c.nodes[other].start()
    checks.equal("another joins anew", c.join(other, survivor), (200, {"joined": True}))
    c.unseal(other)
    wait(lambda: c.health(other) == 429, "it is a standby")


def without_a_person(checks, c):
    """A seal that unseals by itself: nodes come, and come back, and nobody does anything."""
    with workdir("members-auto") as base:
        new = Cluster(c.binary, base)
        key = os.path.join(base, "key")
        with open(key, "w") as f:
            f.write(os.urandom(32).hex())
        os.chmod(key, 0o600)
        seal = f'seal "static" {{{{\n current_key_id = "k1"\n current_key = "file://{key}"\n}}}}\n'
        try:
            new.node("p", more=seal).start()
            status, out = Client(new.nodes["p"].port, timeout=20).call(
                "PUT", "sys/init", {"recovery_shares": 1, "recovery_threshold": 1})
            checks.equal("init", status, 200)
            new.root = out["root_token"]
            wait(lambda: new.health("p") == 200, "p is active")
            new.node("q", f'retry_join {{{{ leader_api_addr = "{new.address("p")}" }}}}', seal).start()
            new.node("r", more=seal).start()
            checks.equal("r joins", new.join("r", "p"), (200, {"joined": True}))
            for name in "qr":
                wait(lambda: new.health(name) == 429, f"{name} is a standby by itself")
            wait(lambda: new.members() == {"p": True, "q": True, "r": True}, "three voters")
            mount(new.api("p"), "kv", "kv")
            new.api("q").must("PUT", "kv/x", {"v": "1"})
            new.nodes["p"].kill9()
            wait(lambda: new.leader() in ("q", "r"), "another is active")
            new.nodes["p"].start()
            wait(lambda: new.health("p") == 429, "p comes back by itself")
            checks.equal("with all data", new.api("p").must("GET", "kv/x")["data"]["v"], "1")
        finally:
            new.stop()


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--bin", required=True)
    args = p.parse_args()
    checks = Checks()
    with workdir("members") as base:
        c = Cluster(os.path.abspath(args.bin), base)
        try:
            for title, part in [
                ("joining, early and late, by address, by name, with and without a vote", joining),
                ("strangers and floods", strangers), ("leaving", leaving), ("a lost disk", lost_disk),
                ("snapshots", snapshots), ("a snapshot in a new cluster", into_a_new_cluster),
                ("a seal that unseals by itself", without_a_person),
                ("joining over TLS", over_tls), ("a quorum that is lost", quorum_lost),
            ]:
                checks.section(title, lambda: part(checks, c))
        finally:
            c.stop()
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
