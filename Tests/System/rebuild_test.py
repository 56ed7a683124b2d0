#!/usr/bin/env python3
"""Nodes whose files are damaged, and clusters that have lost their quorum: what the operator does about it, with
three and with five processes.

  Tests/System/rebuild_test.py --bin .build/release/holdfast
"""
import argparse, glob, json, os, subprocess, sys
from support import Checks, Client, log_of, wait, workdir
from members_test import Cluster, command
from vclient import mount

KEYS = 60


def offline(c, name, *words):
    """A command that works on the files of a node; nobody is there to be asked."""
    return subprocess.run([c.binary, "operator", "raft", *words, f"-config={c.nodes[name].fields['config']}"],
                          capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
                          env={**os.environ, "HOME": c.base})


def form(checks, c, names, more=""):
    """A cluster in which every node knows where to look for the others."""
    for name in names:
        c.node(name, more=more)
    for name in names:
        joins = "".join(f'  retry_join {{ leader_api_addr = "{c.address(n)}" }}\n' for n in names if n != name)
        path = c.nodes[name].fields["config"]
        with open(path) as f:
            text = f.read()
        with open(path, "w") as f:
            f.write(text.replace('  node_id', joins + '  node_id', 1))
    if more:
        c.nodes[names[0]].start()
        status, out = Client(c.nodes[names[0]].port, timeout=20).call(
            "PUT", "sys/init", {"recovery_shares": 1, "recovery_threshold": 1})
        checks.equal("init", status, 200)
        c.root = out["root_token"]
        wait(lambda: c.health(names[0]) == 200, "the first is active")
    else:
        c.begin(names[0])
    command(c, "operator", "raft", "autopilot", "set-config", "-server-stabilization-time=1s", node=names[0])
    for name in names[1:]:
        c.nodes[name].start()
        open_seal(c, name)
    wait(lambda: c.members() == {n: True for n in names}, "all vote")
    mount(c.api(names[0]), "kv", "kv")


def open_seal(c, name):
    if c.keys:
        wait(lambda: Client(c.nodes[name].port).must("GET", "sys/seal-status")["initialized"], f"{name} has found it")
        c.unseal(name)


def fill(c, prefix, count=KEYS):
    api = c.api(c.leader())
    for n in range(count):
        api.must("PUT", f"kv/{prefix}{n}", {"v": f"{prefix}{n}" * 200})


def lost(c, name, prefix, count=KEYS):
    api = c.api(name)
    def value(n):
        status, out = api.call("GET", f"kv/{prefix}{n}")
        return out["data"]["v"] if status == 200 else status
    return [n for n in range(count) if value(n) != f"{prefix}{n}" * 200]


def spoil(data, kind):
    """Damages what lies in the middle of the log, or of the data file."""
    if kind == "log":
        path = max(glob.glob(f"{data}/raft/*.log") or glob.glob(f"{data}/raft/[0-9a-f]*"), key=os.path.getsize)
        with open(path, "r+b") as f:
            text = f.read()
            end = max(i for i in range(0, len(text), 512) if any(text[i:i + 512]))
            f.seek(end // 3)
            f.write(bytes(b ^ 0xFF for b in text[end // 3:end // 3 + 64]))
        return path
    path = f"{data}/data.mdb"
    with open(path, "r+b") as f:
        size = os.path.getsize(path)
        f.seek(8192)
        f.write(bytes(max(4096, size // 2)))
    return path


def refuses_to_start(node):
    try:
        node.start(wait=10)
    except RuntimeError as e:
        return "exited" in str(e)
    return False


def rebuilt(checks, c, kind, seal):
    victim = next(n for n in "cba" if n != c.leader())
    node, what = c.nodes[victim], f"{kind}, {seal}"
    ran = offline(c, victim, "rebuild", "-yes")
    checks.that(f"{what}: not while the server runs", ran.returncode == 2 and "in use" in ran.stderr, ran)
    node.stop()
    path = spoil(node.fields["data"], kind)
    fill(c, f"{kind}-away", 20)
    checks.that(f"{what}: does not start", refuses_to_start(node))
    log = log_of(node)
    checks.that(f"{what}: names the file", os.path.basename(path) in log or path in log, log[-800:])
    checks.that(f"{what}: names the command", "operator raft rebuild" in log, log[-800:])
    before = sorted(os.listdir(node.fields["data"]))
    ran = offline(c, victim, "rebuild")
    checks.that(f"{what}: not without a word", ran.returncode == 2 and "-yes" in ran.stderr, ran)
    checks.that(f"{what}: says what is damaged", os.path.basename(path) in ran.stderr, ran.stderr)
    checks.equal(f"{what}: and changes nothing", sorted(os.listdir(node.fields["data"])), before)
    ran = offline(c, victim, "rebuild", "-yes")
    checks.that(f"{what}: one command", ran.returncode == 0 and f"Node {victim} is empty" in ran.stdout, ran)
    aside = glob.glob(f"{node.fields['data']}/set-aside-*")
    checks.that(f"{what}: the old files are kept", len(aside) == 1
                and {"data.mdb", "raft"} <= set(os.listdir(aside[0])), aside)
    node.start()
    open_seal(c, victim)
    wait(lambda: c.health(victim) == 429, f"{what}: {victim} is a standby")
    wait(lambda: c.members() == {n: True for n in "abc"}, f"{what}: {victim} votes")
    for prefix, count in (("x", KEYS), (f"{kind}-away", 20)):
        checks.equal(f"{what}: nothing of {prefix} is lost on {victim}", lost(c, victim, prefix, count), [])
    other = next(n for n in "abc" if n not in (victim, c.leader()))
    c.nodes[other].kill9()
    wait(lambda: c.api(c.leader()).call("PUT", "kv/y", {"v": "1"})[0] == 204, f"{what}: its vote counts")
    c.nodes[other].start()
    open_seal(c, other)
    wait(lambda: c.health(other) == 429, f"{what}: {other} is back")
    for path in aside:
        subprocess.run(["rm", "-r", path], check=True)


def rebuilding(checks, c, seal):
    fill(c, "x")
    for kind in ("log", "store"):
        rebuilt(checks, c, kind, seal)


def shamir(checks, binary):
    with workdir("rebuild") as base:
        c = Cluster(binary, base)
        try:
            form(checks, c, "abc")
            rebuilding(checks, c, "Shamir")
            c.nodes["a"].stop()
            c.nodes["b"].stop()
            c.nodes["c"].stop()
            ran = offline(c, "c", "recover", "-yes")
            checks.equal("c goes on alone", ran.returncode, 0)
            ran = offline(c, "c", "rebuild", "-yes")
            checks.that("who has nobody is not rebuilt", ran.returncode == 2 and "nobody has the data" in ran.stderr, ran)
        finally:
            c.stop()


def automatic(checks, binary):
    with workdir("rebuild-auto") as base:
        key = os.path.join(base, "key")
        with open(key, "w") as f:
            f.write(os.urandom(32).hex())
        os.chmod(key, 0o600)
        c = Cluster(binary, base)
        try:
            form(checks, c, "abc", f'seal "static" {{{{\n current_key_id = "k1"\n current_key = "file://{key}"\n}}}}\n')
            rebuilding(checks, c, "static seal")
        finally:
            c.stop()


def peers_file(c, name, entries):
    path = os.path.join(c.nodes[name].fields["data"], "raft", "peers.json")
    with open(path, "w") as f:
        f.write(entries if isinstance(entries, str) else json.dumps(
            [{"id": n, "address": f"127.0.0.1:{c.nodes[n].cluster_port}", "non_voter": False} for n in entries]))
    return path


def survivors(checks, binary):
    with workdir("recover") as base:
        c = Cluster(binary, base)
        failed = checks.failed
        try:
            checks.section("two survivors by a file", lambda: five_to_two(checks, c))
            checks.section("the lost ones come back with their data", lambda: ghosts(checks, c))
            checks.section("two survivors by the command", lambda: by_command(checks, c))
        finally:
            c.stop()
            if checks.failed > failed:
                for name, node in c.nodes.items():
                    print(f"--- log of {name}\n" + "\n".join(log_of(node).splitlines()[-15:]))


def five_to_two(checks, c):
    form(checks, c, "abcde")
    fill(c, "x")
    if c.leader() in "de":
        checks.equal("step down", c.api(c.leader()).call("PUT", "sys/step-down")[0], 204)
        wait(lambda: c.leader() not in (None, "d", "e"), "another leader")
    c.nodes["e"].kill9()                      # it lags behind the other survivor
    fill(c, "late", 30)
    wait(lambda: not lost(c, "d", "late", 30), "d has all")
    for name in "abcd":
        c.nodes[name].kill9()
    for text, want in (("{}", "array"), ('[{"id": "d"}]', "address"), (["e"], "does not name this node"),
                       (["d", "d"], "twice"), ('[{"id":"zz","address":"h:1"}]', "'zz'")):
        path = peers_file(c, "d", text)
        began = len(log_of(c.nodes["d"]))
        checks.that(f"refused: {text}", refuses_to_start(c.nodes["d"]))
        said = log_of(c.nodes["d"])[began:]
        checks.that(f"with the reason: {text}", want in said and path in said, said[-600:])
    for name in "de":
        peers_file(c, name, list("de"))
    for name in "ed":                         # the one that lags is there first
        c.nodes[name].start()
        c.unseal(name)
    wait(lambda: c.leader() is not None, "the survivors have a leader")
    checks.equal("the one whose log goes furthest", c.leader(), "d")
    checks.equal("the members", c.members(), {"d": True, "e": True})
    wait(lambda: c.health("e") == 429, "e is a standby")
    for name in "de":
        checks.equal(f"nothing is lost on {name}", (lost(c, name, "x"), lost(c, name, "late", 30)), ([], []))
        checks.that(f"{name}'s file is gone", not glob.glob(f"{c.nodes[name].fields['data']}/raft/peers.json"))
        checks.that(f"{name} says what it did", "dropped" in log_of(c.nodes[name]))
    fill(c, "after", 10)
    checks.equal("both have what comes later", lost(c, "e", "after", 10), [])


def ghosts(checks, c):
    """Three of five: by themselves they would be a majority."""
    for name in "abc":
        c.nodes[name].start()
    for name in "abc":
        c.unseal(name)
    for name in "abc":
        wait(lambda: c.health(name) == 530, f"{name} is told that it is out")
    fill(c, "ghost", 10)
    checks.equal("the survivors go on", (lost(c, "d", "ghost", 10), lost(c, "e", "ghost", 10)), ([], []))
    checks.equal("as before", c.members(), {"d": True, "e": True})
    node = c.nodes["c"]
    node.stop()
    ran = offline(c, "c", "rebuild", "-yes")
    checks.equal("one command empties a removed node", ran.returncode, 0)
    node.start()
    wait(lambda: Client(node.port).must("GET", "sys/seal-status")["initialized"], "c has found its cluster")
    c.unseal("c")
    wait(lambda: c.members() == {"c": True, "d": True, "e": True}, "c votes")
    checks.equal("with all data", lost(c, "c", "ghost", 10), [])


def by_command(checks, c):
    for name in "abcde":
        c.nodes[name].kill9()
    ran = offline(c, "d", "recover", "-with=nobody", "-yes")
    checks.that("a name that is no member's", ran.returncode == 2 and "nobody" in ran.stderr, ran)
    for name, other in ("de", "ed"):
        ran = offline(c, name, "recover", f"-with={other}", "-yes")
        checks.that(f"{name} goes on with {other}", ran.returncode == 0 and other in ran.stdout, ran)
        checks.that(f"{name} says whom it drops", "c (" in ran.stderr and f"{other} (" not in ran.stderr, ran.stderr)
    for name in "de":
        c.nodes[name].start()
        c.unseal(name)
    wait(lambda: c.leader() is not None and c.members() == {"d": True, "e": True}, "two members")
    for prefix, count in (("x", KEYS), ("late", 30), ("after", 10), ("ghost", 10)):
        checks.equal(f"nothing of {prefix} is lost", lost(c, c.leader(), prefix, count), [])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--bin", required=True)
    args = p.parse_args()
    checks = Checks()
    binary = os.path.abspath(args.bin)
    for title, part in (("a damaged node, Shamir", shamir), ("a damaged node, a seal that unseals by itself", automatic),
                        ("two survivors of five", survivors)):
        checks.section(title, lambda: part(checks, binary))
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
