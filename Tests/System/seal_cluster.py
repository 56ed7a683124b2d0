"""Seals of three nodes over raft storage: going over to another seal, one node after the other, and what standbys
know of their seals."""
import json, random, re, threading, time

import seal_kinds
from seal_node import Node
from support import Client, Refused, Unknown, wait

OLD = "goes on until it is restarted"


class RaftNode(Node):
    storage = """
storage "raft" {
  path = "%(base)s/data"
  node_id = "%(node)s"
}
cluster_addr = "https://127.0.0.1:%(cluster_port)d"
api_addr = "http://127.0.0.1:%(port)d"
"""

    def configure(self, *stanzas):
        super().configure(*stanzas)
        with open(self.fields["config"], "r+") as f:
            text = f.read().replace("  tls_disable", f'  cluster_address = "127.0.0.1:{self.cluster_port}"\n  tls_disable', 1)
            f.seek(0)
            f.write(text)


class Trio:
    """Three nodes of one cluster, each with a configuration of its own."""

    def __init__(self, binary, base, *stanzas, env=None):
        self.nodes = [RaftNode(binary, base, *stanzas, env=env, name=f"n{i}") for i in range(3)]

    def form(self):
        first = self.nodes[0]
        first.start()
        automatic = first.status()["recovery_seal"]
        kind = "recovery" if automatic else "key"
        out = first.cli("operator", "init", f"-{kind}-shares=3", f"-{kind}-threshold=2", "-format=json")
        if out.returncode:
            raise RuntimeError(f"init: {out.stderr}")
        made = json.loads(out.stdout)
        self.root = made["root_token"]
        self.keys = made["recovery_keys_b64" if automatic else "unseal_keys_b64"]
        for node in self.nodes:
            node.client.token = self.root
        if not automatic:
            self.unseal(first)
        self.active()
        for node in self.nodes[1:]:
            node.start()
            node.client.must("POST", "sys/storage/raft/join", {"leader_api_addr": first.address})
            if not automatic:
                self.unseal(node)
            if not node.unsealed():
                raise RuntimeError(f"{node.node} did not join: {node.status()}")
        wait(self.has_three_voters, "three voters")
        self.nodes[0].client.must("POST", "sys/mounts/kv", {"type": "kv"})
        return self

    def has_three_voters(self):
        status, out = self.nodes[0].client.call("GET", "sys/storage/raft/configuration")
        return status == 200 and sum(s["voter"] for s in out["data"]["config"]["servers"]) == 3

    def unseal(self, node, *flags):
        """Two holders come by. Gives what the last one saw."""
        for key in self.keys[:2]:
            out = node.cli("operator", "unseal", *flags, key)
        return out

    def active(self, among=None):
        """The node that is active, as soon as one is."""
        def look():
            return next((n for n in among or self.nodes if n.proc and n.proc.poll() is None
                         and n.client.call("GET", "sys/health")[0] == 200), None)
        return wait(look, "an active node")

    def standbys(self):
        active = self.active()
        return active, [n for n in self.nodes if n is not active]

    def step_down(self):
        """Another node becomes active."""
        before = self.active()
        # The standbys may have been started a moment ago, and have yet to find the active node.
        wait(lambda: before.cli("operator", "step-down", token=self.root).returncode == 0, "stepping down")
        return self.active([n for n in self.nodes if n is not before])

    def settle(self, *stanzas):
        """Restarts all nodes with these stanzas, the active one last. Gives those that are unsealed then."""
        active, standbys = self.standbys()
        for node in (*standbys, active):
            node.restart(*stanzas)
            if not node.status()["recovery_seal"]:
                self.unseal(node)
            if not node.unsealed():
                raise RuntimeError(f"{node.node} stays sealed: {node.status()}")
        self.active()

    def close(self):
        for node in self.nodes:
            node.kill9()


class Writer(threading.Thread):
    """Writes one key after the other through any node, and remembers what was acknowledged."""

    def __init__(self, trio):
        super().__init__(daemon=True)
        self.trio, self.acknowledged, self.ended = trio, [], threading.Event()
        self.start()

    def run(self):
        clients = [Client(n.port, self.trio.root, 10) for n in self.trio.nodes]
        for number in range(1_000_000):
            if self.ended.is_set():
                return
            try:
                if clients[number % 3].call("POST", f"kv/w{number}", {"v": number})[0] == 204:
                    self.acknowledged.append(number)
            except (Refused, Unknown):
                pass
            time.sleep(0.005)

    def stop(self):
        self.ended.set()
        self.join()
        return self.acknowledged


def migrate(c, trio, name, before, during, after, type_before, type_after):
    """One migration as docs/operations/seals.md describes it, under writes."""
    began, writer = time.monotonic(), Writer(trio)
    active, standbys = trio.standbys()
    for node in standbys:
        node.restart(*during)
        c.equal(f"{name}: is waited for", node.wait(lambda s: s["sealed"])["migration"], True)
        plain = node.cli("operator", "unseal", trio.keys[0])
        c.that(f"{name}: needs -migrate", plain.returncode == 2 and "migrate option not provided" in plain.stderr, plain.stderr)
        out = trio.unseal(node, "-migrate")
        c.that(f"{name}: a standby waits for its turn", out.returncode == 0
               and re.search(r"^Seal Migration in Progress\s+true$", out.stdout, re.M)
               and "when it becomes active" in out.stdout, out.stdout + out.stderr)
        c.equal(f"{name}: the old seal is in use", node.status()["type"], type_before)
    c.equal(f"{name}: the active node has not changed", (trio.active().node, active.status()["type"]), (active.node, type_before))
    trio.step_down()
    for node in trio.nodes:
        c.that(f"{name}: {node.node} is on the new seal", node.wait(lambda s: s["type"] == type_after and not s["migration"]), node.status())
    status = active.status()
    c.that(f"{name}: the old configuration says so", not status["sealed"] and OLD in " ".join(status.get("warnings", [])), status)
    c.that(f"{name}: the old configuration says so in the log", OLD in active.text)
    for node in standbys:
        c.equal(f"{name}: no warning on {node.node}", node.status().get("warnings"), None)
    # Restarted as it was, it is of no use and does no harm.
    active.restart(*before)
    reason = active.reason()
    c.that(f"{name}: the old configuration cannot unseal", "stanza" in reason, reason)
    refused = active.cli("operator", "unseal", "-migrate", trio.keys[0])
    c.that(f"{name}: the old configuration undoes nothing", refused.returncode == 2 and "stanza" in refused.stderr, refused.stderr)
    active.restart(*during)
    if type_after == "shamir":
        trio.unseal(active, "-migrate")
    c.that(f"{name}: the last node is unsealed", active.unsealed(), active.status())
    trio.settle(*after)
    for node in trio.nodes:
        c.that(f"{name}: {node.node} unseals by the new seal", node.status()["type"] == type_after and not node.status()["sealed"], node.status())
    written, seconds = writer.stop(), time.monotonic() - began
    print(f"     {name}: {len(written)} writes acknowledged in {seconds:.1f} s")
    lost = [n for n in written if trio.nodes[n % 3].client.call("GET", f"kv/w{n}")[0] != 200]
    c.that(f"{name}: writes went on", len(written) > 20, len(written))
    c.equal(f"{name}: no acknowledged write is lost", lost, [])


def node_by_node(c, binary, base, aws, transit):
    """Shares, a KMS, another server, and shares again."""
    env = {**aws.env, **transit.env}
    off = lambda kind: kind.stanza(disabled="true")
    trio = Trio(binary, base, env=env)
    try:
        trio.form()
        migrate(c, trio, "shares to awskms", [], [aws.stanza()], [aws.stanza()], "shamir", "awskms")
        migrate(c, trio, "awskms to transit", [aws.stanza()], [off(aws), transit.stanza()], [transit.stanza()], "awskms", "transit")
        migrate(c, trio, "transit to shares", [transit.stanza()], [off(transit)], [], "transit", "shamir")
        logs = "".join(n.text for n in trio.nodes)
        c.that("no secret is in a log", not any(s in logs for s in (*aws.secrets, *transit.secrets, *trio.keys) if s))
    finally:
        trio.close()


def late_kms(c, binary, base, transit):
    """The new seal's KMS is away when a node of the new configuration becomes active: it goes over when it is back."""
    static = seal_kinds.Static(base)
    trio = Trio(binary, base, static.stanza(), env=transit.env)
    during = [static.stanza(disabled="true"), transit.stanza()]
    try:
        trio.form()
        active, standbys = trio.standbys()
        transit.fault(500, "boom")
        standbys[0].restart(*during)
        out = trio.unseal(standbys[0], "-migrate")
        c.that("an absent new seal: unsealing is refused", out.returncode == 2 and "seal transit" in out.stderr
               and standbys[0].status()["sealed"], out.stderr)
        transit.fault(None)
        standbys[0].restart(*during)
        for node in standbys:
            if node is not standbys[0]:
                node.restart(*during)
            c.equal(f"{node.node} is unsealed", trio.unseal(node, "-migrate").returncode, 0)
        transit.fault(500, "boom")
        new = trio.step_down()
        told = new.wait(lambda s: "could not yet" in " ".join(s.get("warnings", [])))
        c.that("it says why it could not go over", told and told["type"] == "static" and "seal transit" in told["warnings"][0], told)
        c.equal("it serves meanwhile", new.client.call("POST", "kv/meanwhile", {"v": 1})[0], 204)
        transit.fault(None)
        for node in trio.nodes:
            c.that(f"{node.node} goes over when the KMS is back", node.wait(lambda s: s["type"] == "transit"), node.status())
        active.restart(transit.stanza())
        c.that("the last node unseals by the new seal", active.unsealed(), active.status())
    finally:
        trio.close()


def interrupted(c, binary, base, rounds=8, seed=None):
    """kill -9 at any moment of a migration: every node opens by the old seal or by the new one, and it is finished."""
    seed = seed if seed is not None else random.randrange(1 << 32)
    chance = random.Random(seed)
    key = {n: f'seal "static" {{\n  name = "{n}"\n  current_key_id = "{n}"\n  current_key = "{chance.randbytes(32).hex()}"\n' for n in ("a", "b")}
    on, off = (lambda n: key[n] + "}\n"), (lambda n: key[n] + '  disabled = "true"\n}\n')
    old, new = "a", "b"
    trio = Trio(binary, base, on(old))
    found = {"old": 0, "new": 0}
    try:
        trio.form()
        for number in range(rounds):
            what = f"kill {number} (seed {seed})"
            during = [off(old), on(new)]
            active, standbys = trio.standbys()
            for node in standbys:
                node.restart(*during)
                c.equal(f"{what}: {node.node} is unsealed", trio.unseal(node, "-migrate").returncode, 0)
            trio.active().client.must("POST", f"kv/r{number}", {"v": number})
            # The change of leader begins the migration; then all of them die.
            if number % 2:
                threading.Thread(target=active.cli, args=("operator", "step-down"), kwargs={"token": trio.root}).start()
                time.sleep(chance.uniform(0, 0.25))
            else:
                active.kill9()
                time.sleep(chance.uniform(0.2, 0.8))
            for node in chance.sample(trio.nodes, 3):
                node.kill9()
            for node in trio.nodes:
                node.configure(*during)
                node.start()
            for node in trio.nodes:
                status = node.wait(lambda s: not s["sealed"] or s["migration"])
                if not c.that(f"{what}: {node.node} can be unsealed", status, node.status()):
                    continue
                found["old" if status["sealed"] else "new"] += 1
                if status["sealed"]:
                    out = trio.unseal(node, "-migrate")
                    c.that(f"{what}: {node.node} opens by the old seal", out.returncode == 0, out.stdout + out.stderr)
            trio.active()
            for node in trio.nodes:
                # A node that was behind may have to begin anew with what the others have.
                c.that(f"{what}: {node.node} ends on the new seal",
                       node.wait(lambda s: not s["sealed"] and not s["migration"] and not s.get("warnings")), node.status())
            trio.settle(on(new))
            c.equal(f"{what}: data are there", trio.nodes[number % 3].client.must("GET", f"kv/r{number}")["data"], {"v": number})
            old, new = new, old
        print(f"     found sealed by the old seal {found['old']} times, open by the new one {found['new']} times (seed {seed})", flush=True)
    finally:
        trio.close()


def standby_health(c, binary, base, transit):
    """Each node tells of its own seals; the next active one wraps anew at once."""
    static = seal_kinds.Static(base)
    both = [static.stanza(), transit.stanza()]
    trio = Trio(binary, base, static.stanza(), env=transit.env)
    health = lambda node: {b["name"]: b for b in node.client.must("GET", "sys/seal-backend-status")["backends"]}
    try:
        trio.form()
        # A second seal, node by node: who becomes active gives it its copy.
        active, standbys = trio.standbys()
        for node in standbys:
            node.restart(*both)
            c.that(f"{node.node} unseals by the first seal", node.unsealed())
        c.that("the second seal has no copy yet", not any(health(n)["transit"]["wrapped"] for n in standbys))
        trio.step_down()
        for node in standbys:
            c.that(f"a seal that was added is known on {node.node}", wait(lambda: health(node)["transit"]["wrapped"], "a copy"))
        active.restart(*both)
        c.that("the last node is unsealed", active.unsealed())
        # One standby's way to the KMS is cut.
        active, standbys = trio.standbys()
        ill, well = standbys
        ill.restart(static.stanza(), transit.stanza(address="http://127.0.0.1:9"))
        c.that("the standby unseals by the other seal", ill.unsealed())
        seen = wait(lambda: not health(ill)["transit"]["healthy"] and health(ill)["transit"], "the standby's notice")
        c.that("the standby tells why", "cannot be reached" in seen["reason"], seen)
        c.equal("its other seal is well", health(ill)["static"]["healthy"], True)
        metrics = ill.client.call("GET", "sys/metrics?format=prometheus", token="")[1]["raw"].decode()
        c.that("its metrics tell", 'holdfast_seal_healthy{seal="transit",type="transit"} 0' in metrics
               and 'holdfast_seal_healthy{seal="static",type="static"} 1' in metrics, metrics[-1500:])
        for node in (active, well):
            c.equal(f"{node.node} is well", [b["healthy"] for b in health(node).values()], [True, True])
        ill.restart(*both)
        c.that("the standby is itself again", ill.unsealed())
        # The KMS's key is rotated, and the active node is lost before it has looked.
        rewraps = lambda: sum(n.text.count("wrapped the seal key anew") for n in trio.nodes)
        before = rewraps()
        transit.rotate()
        lost = trio.active()
        lost.kill9()
        new = trio.active([n for n in trio.nodes if n is not lost])
        c.that("the next active node wraps anew at once", wait(lambda: rewraps() == before + 1, "wrapping anew"))
        c.equal("all is wrapped by the new version", new.client.must("GET", "sys/sealwrap/rewrap")["data"], {"fully_wrapped": True})
        # The lost one has the old copy, until it has been up again.
        lost.start()
        c.that("the lost node is unsealed", lost.unsealed())
        wait(lambda: trio.has_three_voters() and lost.client.call("GET", "kv/none")[0] == 404, "the lost node's catching up")
        transit.lose_old()
        for node in trio.nodes:
            node.restart(transit.stanza())
        for node in trio.nodes:
            c.that(f"{node.node} unseals by the new version", node.unsealed(), node.status())
        c.that("the cluster is whole", trio.active())
    finally:
        trio.close()
