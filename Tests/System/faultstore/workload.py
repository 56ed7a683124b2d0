"""A short scripted load of one client, and what the server must hold after each of its steps.

With one client at most one step is in doubt when the server dies: afterwards the server must hold exactly
what the acknowledged steps made, with or without that one.
"""
import copy, random, time

from support import Client, Refused, Unknown

INIT, UNSEAL = 1, 2                  # how many steps have been done after these


class Died(Exception):
    """The server went away during a step."""


class Step:
    def __init__(self, name, do, effect):
        self.name, self.do, self.effect = name, do, effect
        self.sent = self.acked = None          # time.monotonic_ns(), the clock of the trace


class Workload:
    """The steps, in their order, and `models`: what is to be found after each number of them."""

    def __init__(self, seed=1):
        self.rng = random.Random(seed)
        self.keys = self.root = None
        self.refusal = ""                      # what ended `run`
        self.tokens = {}                       # name -> id, of those that were acknowledged
        self.steps = []
        self.script()
        self.models = [{"mounts": set(), "kv1": {}, "kv2": {}, "policies": set(), "tokens": {}}]
        for step in self.steps:
            model = copy.deepcopy(self.models[-1])
            step.effect(model)
            self.models.append(model)

    def value(self, length):
        return {"v": "%0*x" % (length, self.rng.getrandbits(4 * length))}

    # The steps.

    def add(self, name, do, effect=lambda model: None):
        self.steps.append(Step(name, do, effect))

    def call(self, method, path, body, effect):
        self.add(f"{method} {path}", lambda s, c: c.must(method, path, body), effect)

    def mount(self, path, version):
        self.call("POST", f"sys/mounts/{path}", {"type": "kv", "options": {"version": version}},
                  lambda m: m["mounts"].add(path + "/"))

    def put1(self, key, length):
        value = self.value(length)
        self.call("POST", f"kv1/{key}", value, lambda m: m["kv1"].update({key: value}))

    def delete1(self, key):
        self.call("DELETE", f"kv1/{key}", None, lambda m: m["kv1"].pop(key))

    def put2(self, key, length):
        value = self.value(length)

        def effect(model):
            versions = model["kv2"].setdefault(key, {})
            versions[len(versions) + 1] = value

        self.call("POST", f"kv2/data/{key}", {"data": value}, effect)

    def change2(self, what, key, version, to):
        """delete, undelete or destroy one version, which then reads as `to`."""
        self.call("PUT", f"kv2/{what}/{key}", {"versions": [version]},
                  lambda m: m["kv2"][key].update({version: to(m) if callable(to) else to}))

    def create(self, name, parent=None):
        def do(_, client):
            token = self.tokens[parent] if parent else None
            out = client.must("POST", "auth/token/create", {"policies": ["root"], "ttl": "1h"}, token=token)
            self.tokens[name] = out["auth"]["client_token"]

        self.add(f"create token {name}", do, lambda m: m["tokens"].update({name: True}))

    def revoke(self, name, *children):
        self.add(f"revoke token {name}",
                 lambda s, c: c.must("POST", "auth/token/revoke", {"token": self.tokens[name]}),
                 lambda m: m["tokens"].update({n: False for n in (name, *children)}))

    def script(self):
        self.add("init", self.init)
        self.add("unseal", lambda s, c: s.unseal(self.keys, wait=5))
        self.mount("kv1", "1")
        self.mount("kv2", "2")
        self.put1("small", 8)
        self.put1("long", 30_000)
        self.put1("small", 4_000)
        self.put2("x", 8)
        self.create("parent")
        self.create("child", "parent")
        self.put2("x", 30_000)
        self.delete1("long")
        self.put1("dir/below", 200)
        self.change2("delete", "x", 2, None)
        self.add("restart", self.restart)
        self.revoke("parent", "child")
        restored = {}
        self.change2("undelete", "x", 2, lambda m: restored["x"])
        self.put2("y", 2_000)
        self.change2("destroy", "x", 1, None)
        self.call("DELETE", "kv2/metadata/y", None, lambda m: m["kv2"].pop("y"))
        policy = 'path "kv1/*" { capabilities = ["read"] }'
        self.call("PUT", "sys/policies/acl/reader", {"policy": policy}, lambda m: m["policies"].add("reader"))
        self.create("last")
        self.put1("long", 70_000)
        self.call("DELETE", "sys/policies/acl/reader", None, lambda m: m["policies"].discard("reader"))
        self.revoke("last")
        self.delete1("small")
        # The value that comes back is the one that was written before.
        for step in self.steps:
            if step.name == "POST kv2/data/x":
                model = {"kv2": {"x": {1: None}}}
                step.effect(model)
                restored["x"] = model["kv2"]["x"][2]

    def init(self, server, client):
        out = client.must("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1}, timeout=30)
        self.keys, self.root = out["keys"], out["root_token"]

    def restart(self, server, client):
        client.close()
        server.stop()
        if server.proc.returncode != 0:
            raise Died(f"exit status {server.proc.returncode} at the end")
        server.start()
        server.unseal(self.keys, wait=5)

    # Running and judging.

    def run(self, server, first=0, last=None, may_refuse=False):
        """Runs the steps until the end, or until the server dies, or (`may_refuse`) answers with a 5xx.
        Returns how many were acknowledged and how many were begun."""
        client = Client(server.port, self.root, 10)
        for number, step in enumerate(self.steps[first:last], first):
            client.token = self.root
            step.sent = step.sent or time.monotonic_ns()
            try:
                step.do(server, client)
            except (Refused, Unknown, Died, RuntimeError) as e:
                self.refusal = str(e)
                if not (may_refuse and ": 50" in self.refusal) and not died_in(server, e):
                    raise
                return number, number + 1
            step.acked = time.monotonic_ns()
        client.close()
        return len(self.steps[:last]), len(self.steps[:last])

    def settle(self, server, done):
        """After a crash and a new start, finds out whether the step in doubt was done.
        Returns how many steps count as done; None when the keys are lost with the answer of init."""
        client = Client(server.port, self.root, 10)
        if done < INIT:
            return None if client.must("GET", "sys/seal-status")["initialized"] else done
        server.unseal(self.keys, wait=5)
        client.token = self.root
        # A token whose id is lost with the answer is made once more.
        is_known = set(self.models[done + 1]["tokens"]) <= set(self.tokens)
        if done >= UNSEAL and is_known and self.fits(self.observe(client), done + 1):
            self.steps[done].acked = time.monotonic_ns()
            return done + 1
        return done

    def bounds(self, moment):
        """How many steps were acknowledged, and how many begun, at a moment of the trace's clock."""
        acked = sum(1 for s in self.steps if s.acked is not None and s.acked <= moment)
        begun = sum(1 for s in self.steps if s.sent is not None and s.sent <= moment)
        return acked, max(acked, begun)

    def observe(self, client):
        """What the server holds, in the form of a model. Reads every value."""
        def get(path, empty=None):
            status, out = client.call("GET", path)
            if status == 404:
                return empty
            if status != 200:
                raise RuntimeError(f"GET {path}: {status} {str(out)[:200]}")
            return out["data"]

        def keys(path):
            return (get(path + "?list=true") or {"keys": []})["keys"]

        found = {"mounts": set(get("sys/mounts")) & {"kv1/", "kv2/"}, "kv1": {}, "kv2": {},
                 "policies": set(keys("sys/policies/acl")) - {"default", "root"}, "tokens": {}}
        if "kv1/" in found["mounts"]:
            for name in keys("kv1"):
                for key in [name + k for k in keys("kv1/" + name)] if name.endswith("/") else [name]:
                    found["kv1"][key] = get("kv1/" + key)
        if "kv2/" in found["mounts"]:
            for name in keys("kv2/metadata"):
                versions = get("kv2/metadata/" + name)["versions"]
                found["kv2"][name] = {int(v): self.version(client, name, v, facts) for v, facts in versions.items()}
        for name, token in self.tokens.items():
            status = client.call("GET", "auth/token/lookup-self", token=token)[0]
            found["tokens"][name] = status == 200
        return found

    @staticmethod
    def version(client, name, version, facts):
        status, out = client.call("GET", f"kv2/data/{name}?version={version}")
        is_there = not facts["destroyed"] and not facts["deletion_time"]
        if (status == 200) != is_there:
            raise RuntimeError(f"version {version} of {name}: {status}, its metadata {facts}")
        return out["data"]["data"] if is_there else None

    def problems(self, server, low, high):
        """Starts a server on what a crash left, and says what is wrong with it. `low` steps were acknowledged,
        `high` begun."""
        try:
            server.start(wait=15)
            client = Client(server.port, self.root, 10)
            is_initialized = client.must("GET", "sys/seal-status")["initialized"]
            if not is_initialized:
                if low >= INIT:
                    return [f"not initialized after {low} acknowledged steps"]
                fresh = Workload()
                done = fresh.run(server, last=5)[0]
                return [] if done == 5 else [f"a new start ends at step {done}"]
            if high < INIT:
                return ["initialized, and nobody asked for it"]
            if self.keys is None:                   # the answer of init is lost, and with it the keys
                return []
            server.unseal(self.keys, wait=10)
            return self.judge(client, low, high)
        except (RuntimeError, Refused, Unknown) as e:
            return [f"no recovery: {e}"]
        finally:
            server.kill9()

    def model(self, number):
        """What must be found after so many steps, of the tokens whose ids are known."""
        model = copy.deepcopy(self.models[min(number, len(self.steps))])
        # A token whose creation is in doubt has an id that nobody knows; one that comes later is not there.
        model["tokens"] = {n: model["tokens"].get(n, False) for n in self.tokens}
        return model

    def fits(self, found, number):
        return found == self.model(number)

    def judge(self, client, low, high):
        client.token = self.root
        found = self.observe(client)
        if not any(self.fits(found, number) for number in range(low, high + 1)):
            return [f"after {low} to {high} steps: {difference(found, self.model(low))}"]
        if "kv1/" in found["mounts"]:
            client.must("POST", "kv1/after", {"v": "1"})
            if client.must("GET", "kv1/after")["data"] != {"v": "1"}:
                return ["a write after the crash is not read back"]
        return []


def died_in(server, error):
    """Whether the process is dead; its death takes a moment."""
    return server.wait_end(2) is not None or isinstance(error, Died)


def difference(found, wanted):
    """The first differing part, without long values."""
    for part in wanted:
        if found[part] != wanted[part]:
            if isinstance(found[part], dict):
                names = [n for n in {*found[part], *wanted[part]} if found[part].get(n) != wanted[part].get(n)]
                return "; ".join(
                    f"{part} {n}: found {str(found[part].get(n))[:60]}, wanted {str(wanted[part].get(n))[:60]}"
                    for n in names)
            return f"{part}: found {found[part]}, wanted {wanted[part]}"
    return "nothing"
