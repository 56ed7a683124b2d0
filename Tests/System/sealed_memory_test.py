#!/usr/bin/env python3
"""After sealing, no key and no secret that was served is left in the process's memory, and none was ever
written to a file. Values, tokens and shares go in over many connections at once, so that every I/O thread
has held some; then the server is sealed and its whole memory is read.

  Tests/System/sealed_memory_test.py --bin .build/release/holdfast
"""
import argparse, base64, os, re, sys, threading, time
from pathlib import Path

from support import Checks, Client, ready, server, workdir
from leak_scan import forms, report, scan_files, scan_memory
from vclient import mount

CONNECTIONS = 8


def combine(shares):
    """The secret behind Shamir shares over GF(256), each with its x as last byte."""
    exp, log, x = [0] * 510, [0] * 256, 1
    for i in range(255):
        exp[i] = exp[i + 255] = x
        log[x] = i
        x ^= (x << 1) ^ (0x11B if x & 0x80 else 0)          # times 3, a generator
        x &= 0xFF
    mul = lambda a, b: exp[log[a] + log[b]] if a and b else 0
    div = lambda a, b: exp[log[a] - log[b] + 255] if a else 0
    xs, out = [s[-1] for s in shares], bytearray()
    for i in range(len(shares[0]) - 1):
        total = 0
        for j, share in enumerate(shares):
            basis = 1
            for k, other in enumerate(xs):
                if k != j:
                    basis = mul(basis, div(other, other ^ xs[j]))
            total ^= mul(share[i], basis)
        out.append(total)
    return bytes(out)


def secret(n=20):
    return base64.b32encode(os.urandom(n)).decode().rstrip("=")


def use(srv, values, token):
    """Writes and reads everything on one connection, which stays open."""
    client = Client(srv.port, srv.root, 10)
    tag = threading.get_ident()
    for i in range(10):
        client.must("POST", f"leak1/{tag}-{i}", {"value": values["kv v1 value"], "n": {"deep": [values["kv nested"]]}})
        client.must("POST", f"leak2/data/{tag}-{i}", {"data": {"value": values["kv v2 value"]}})
        client.must("POST", f"leak1/big-{tag}-{i}", {"value": "x" * 70_000 + values["kv big value"] + "y" * 70_000})
        client.must("GET", f"leak1/{tag}-{i}", token=token)
        client.must("GET", f"leak2/data/{tag}-{i}", token=token)
        client.must("GET", f"leak1/big-{tag}-{i}", token=token)
    plain = base64.b64encode(values["transit plaintext"].encode()).decode()
    for key, more in (("plain", {}), ("derived", {"context": "YQ=="})):
        sealed = client.must("POST", f"leak3/encrypt/{key}", {"plaintext": plain, **more})["data"]["ciphertext"]
        opened = client.must("POST", f"leak3/decrypt/{key}", {"ciphertext": sealed, **more})["data"]["plaintext"]
        if opened != plain:
            raise RuntimeError("transit gave another text back")
    client.must("PUT", f"cubbyhole/{tag}", {"v": values["cubbyhole value"]}, token=token)
    client.must("GET", f"cubbyhole/{tag}", token=token)
    client.call("POST", "leak1/refused", {"value": values["refused value"]}, token="hvs." + values["wrong token"])
    client.call("GET", "auth/token/lookup-self", token=token)
    return client


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--bin", required=True, type=Path)
    p.add_argument("--settle", type=float, default=2, help="seconds between sealing and looking")
    a = p.parse_args()
    c = Checks()
    values = {name: secret() for name in ("kv v1 value", "kv nested", "kv v2 value", "kv big value", "cubbyhole value",
                                          "refused value", "wrong token", "transit plaintext")}
    with workdir("sealed") as base, server(a.bin.absolute(), base) as srv:
        client = ready(srv, shares=3, threshold=2)
        mount(client, "leak1", "kv", {"version": "1"})
        mount(client, "leak2", "kv", {"version": "2"})
        mount(client, "leak3", "transit")
        transit_keys = {}
        for key, derived in (("plain", False), ("derived", True)):
            client.must("POST", f"leak3/keys/{key}", {"derived": derived, "exportable": True})
            for kind in ("encryption-key", "hmac-key"):
                exported = client.must("GET", f"leak3/export/{kind}/{key}")["data"]["keys"]["1"]
                transit_keys[f"transit {kind} of {key}"] = base64.b64decode(exported)
        client.must("PUT", "sys/policies/acl/leak",
                    {"policy": 'path "leak1/*" { capabilities = ["read"] }\npath "leak2/*" { capabilities = ["read"] }'})
        token = client.must("POST", "auth/token/create", {"policies": ["leak"]})["auth"]["client_token"]
        open_clients, troubles = [client], []

        def work():
            try:
                open_clients.append(use(srv, values, token))
            except Exception as e:
                troubles.append(f"{type(e).__name__}: {e}")

        threads = [threading.Thread(target=work) for _ in range(CONNECTIONS)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        c.equal("every request was answered", troubles, [])

        wanted = {name: forms(v) for name, v in values.items()}
        wanted["user token"], wanted["root token"] = forms(token), forms(srv.root)
        wanted.update({name: forms(key) for name, key in transit_keys.items()})
        shares = [bytes.fromhex(k) for k in srv.keys]
        for i, (raw, text) in enumerate(zip(shares, srv.keys)):
            wanted[f"unseal share {i + 1}"] = {**forms(raw), "text": text.encode()}
        wanted["unseal key"] = forms(combine(shares[:2]))
        c.equal("any two shares give the same key", combine(shares[:2]), combine(shares[1:]))

        pid = srv.proc.pid
        seen = report("unsealed memory", wanted, scan_memory(pid, wanted))
        print("control:", f"{seen} secrets seen while unsealed" if seen else "nothing seen while unsealed: all was wiped at once")
        needle = b"control-" + os.urandom(12).hex().encode()
        buffer = bytearray(needle)
        c.that("the scanner sees", scan_memory(os.getpid(), {"planted": forms(bytes(buffer))}))
        paths = [srv.fields["data"], srv.log]
        for name, hits in by_name(wanted, scan_files(paths, wanted)).items():
            c.that(f"not in a file: {name}", not hits, hits)

        client.must("PUT", "sys/seal")
        c.equal("sealed", Client(srv.port).must("GET", "sys/seal-status")["sealed"], True)
        time.sleep(a.settle)
        hits = scan_memory(pid, wanted)
        report("sealed memory", wanted, hits)
        for name, found in by_name(wanted, hits).items():
            c.that(f"not in memory after sealing: {name}", not found, found)
        for name, found in by_name(wanted, scan_files(paths, wanted)).items():
            c.that(f"not in a file after sealing: {name}", not found, found)
        core = re.search(r"Max core file size\s+(\S+)", Path(f"/proc/{pid}/limits").read_text()).group(1)
        c.equal("core dumps are off", core, "0")
        for other in open_clients:
            other.close()
    return c.close()


def by_name(wanted, hits):
    """For each secret, where it was found."""
    return {name: [f"{n}x {shape} in {where}" for (s, shape, where), n in hits.items() if s == name] for name in wanted}


if __name__ == "__main__":
    sys.exit(main())
