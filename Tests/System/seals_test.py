#!/usr/bin/env python3
"""Seals that unseal the server without a person, each against its cloud: moto for AWS, fakes for the others.

  seals_test.py --bin BINARY [--kind awskms]... [--kind cluster]
  seals_test.py --bin BINARY --figures                               how long restarts take, kind by kind
"""
import argparse, contextlib, json, re, subprocess, sys, tempfile, time
from pathlib import Path

from seal_node import node
from support import Checks, certificate, free_port, workdir
import seal_cluster, seal_credentials, seal_kinds

CIPHERTEXT = rb'"ciphertext":"([A-Za-z0-9+/=]+)"'


def stored(n, pattern):
    """What a stopped server's seal configuration says, as its newest page has it."""
    path = next(p for p in (n.folder / "data").rglob("*") if p.is_file() and b'"copies"' in p.read_bytes())
    return re.findall(pattern, path.read_bytes())[-1]


def edit_store(n, pattern, change):
    """Changes the stored seal configuration where it lies, in every copy of its page."""
    path = next(p for p in (n.folder / "data").rglob("*") if p.is_file() and b'"copies"' in p.read_bytes())
    data = bytearray(path.read_bytes())
    places = [m for m in re.finditer(pattern, bytes(data))]
    for m in places:
        new = change(m.group(1))
        assert len(new) == len(m.group(1))
        data[m.start(1):m.end(1)] = new
    path.write_bytes(data)
    return len(places)


def flip(text):
    """Another letter in the middle: still base64."""
    at = len(text) // 2
    return text[:at] + (b"A" if text[at:at + 1] != b"A" else b"B") + text[at + 1:]


# --------------------------------------------------------------------------- what every kind must do

def lifecycle(c, binary, base, kind):
    with node(binary, base, kind.stanza(), env=kind.env, name="life") as n:
        n.start()
        before = n.status()
        c.equal("before init: type", before["type"], kind.type)
        c.equal("before init: recovery seal", before["recovery_seal"], True)
        out = n.cli("operator", "init")
        lines = out.stdout
        c.equal("init: exit", out.returncode, 0)
        c.equal("init: recovery keys", len(re.findall(r"^Recovery Key \d: \S{44}$", lines, re.M)), 5)
        c.that("init: sentences", re.search(r"^Initial Root Token: \S+$", lines, re.M)
               and "Success! Vault is initialized" in lines
               and "Recovery key initialized with 5 key shares and a key threshold of 3" in " ".join(lines.split()), lines)
        root = re.search(r"^Initial Root Token: (\S+)$", lines, re.M).group(1)
        n.client.token = root
        c.that("unsealed at once", not n.status()["sealed"])
        n.client.must("POST", "sys/mounts/kv", {"type": "kv"})
        n.client.must("POST", "kv/a", {"v": "kept"})
        n.restart()
        c.that("unseals itself after a restart", n.unsealed())
        c.equal("data are there", n.client.must("GET", "kv/a")["data"], {"v": "kept"})
        n.kill9()
        n.start()
        c.that("unseals itself after a crash", n.unsealed())
        table = n.cli("status")
        c.equal("status: exit", table.returncode, 0)
        c.that("status: rows", re.search(rf"^Seal Type\s+{kind.type}$", table.stdout, re.M)
               and re.search(r"^Recovery Seal Type\s+shamir$", table.stdout, re.M)
               and re.search(r"^Total Recovery Shares\s+5$", table.stdout, re.M), table.stdout)
        status, backends = n.client.call("GET", "sys/seal-backend-status", token="")
        c.equal("backend status", (status, backends["healthy"], backends["fully_wrapped"]), (200, True, True))
        shown = n.cli("read", "sys/seal-backend-status", token=root)
        c.that("backend status by the CLI", re.search(r"^fully_wrapped\s+true$", shown.stdout, re.M), shown.stdout + shown.stderr)
        metrics = n.client.call("GET", "sys/metrics?format=prometheus", token="")[1]["raw"].decode()
        c.that("metrics", f'holdfast_seal_healthy{{seal="{kind.type}",type="{kind.type}"}} 1' in metrics, metrics[-2000:])
        log = n.text
        c.that("no secret in the log", not any(s in log for s in kind.secrets if s))
        c.that("no key in the log", not any(k in log for k in re.findall(r"Recovery Key \d: (\S+)", lines)))
        n.stop()
        found = n.cli("operator", "diagnose", f"-config={n.fields['config']}")
        c.that("diagnose: well", f"[ success ] Check Seal {kind.type}" in found.stdout, found.stdout + found.stderr)


def absence(c, binary, base, kind):
    if not kind.services:
        return
    with node(binary, base, kind.stanza(), env=kind.env, name="absent") as n:
        n.start()
        n.init("-recovery-shares=1", "-recovery-threshold=1")
        faults = [("500", (500, "boom")), ("429", kind.busy)]
        for name, fault in faults:
            n.stop()
            kind.fault(*fault)
            n.start()
            reason = n.reason()
            c.that(f"{name}: the reason names the seal", f"seal {kind.type}" in reason, reason)
            health, body = n.client.call("GET", "sys/health", token="")
            c.equal(f"{name}: health", (health, body.get("sealed_reason")), (503, reason))
            c.equal(f"{name}: status exits with 2", n.cli("status").returncode, 2)
            c.that(f"{name}: in the log", "could not unseal itself" in n.text)
            backends = n.client.call("GET", "sys/seal-backend-status", token="")[1]
            c.equal(f"{name}: backend status", backends["healthy"], False)
            c.equal(f"{name}: other requests", n.client.call("GET", "kv/a")[0], 503)
            kind.fault(None)
            c.that(f"{name}: unseals when it is back", n.unsealed())
        n.stop()
        kind.latency(60)
        n.start()
        began = time.monotonic()
        n.status()
        c.that("hanging: the API answers meanwhile", time.monotonic() - began < 8)
        reason = n.reason()
        c.that("hanging: the reason", "cannot be reached" in reason, reason)
        kind.latency(0)
        c.that("hanging: unseals when it is back", n.unsealed())


def permissions(c, binary, base, kind):
    wrong = getattr(kind, "wrong_credential", None)
    with node(binary, base, kind.stanza(**kind.wrong_key), env=kind.env, name="rights") as n:
        n.start()
        out = n.cli("operator", "init")
        if kind.services:
            c.that("wrong key name: init refused", out.returncode != 0 and kind.wrong_key_says in out.stderr, out.stderr)
            c.equal("wrong key name: still not initialised", n.client.call("GET", "sys/init", token="")[1], {"initialized": False})
            for operation in ("wrap", "unwrap"):
                n.restart(kind.stanza())
                kind.deny(operation)
                out = n.cli("operator", "init")
                c.that(f"may not {operation}: init refused", out.returncode != 0 and f"seal {kind.type}" in out.stderr, out.stderr)
                c.equal(f"may not {operation}: not initialised", n.client.call("GET", "sys/init", token="")[1], {"initialized": False})
                kind.deny()
    with node(binary, base, kind.stanza(), env=kind.env, name="rights2") as n:
        n.start()
        n.init("-recovery-shares=1", "-recovery-threshold=1")
        n.restart(kind.stanza(**kind.wrong_key))
        if kind.type != "awskms" and kind.type != "gcpckms" and kind.type != "alicloudkms":
            reason = n.reason()
            c.that("wrong key name: sealed", kind.wrong_key_says in reason, reason)
        if not kind.services:
            n.restart(kind.stanza())
            c.that("right key: unseals", n.unsealed())
            return
        kind.deny("unwrap")
        n.restart(kind.stanza())
        reason = n.reason()
        c.that("revoked: the reason", "does not let this" in reason, reason)
        c.that("revoked: no account is told to strangers", "123456789012" not in reason and "app-1" not in reason, reason)
        kind.deny()
        c.that("allowed again: unseals", n.unsealed())
        n.restart(kind.stanza(**wrong))
        reason = n.reason()
        c.that("wrong credential: the reason", "refuses the credential" in reason, reason)
        c.that("wrong credential: not in the log", "wrong-secret" not in n.text)
        diagnosed = subprocess.run([n.binary, "operator", "diagnose", f"-config={n.fields['config']}", "-skip=storage", "-skip=listeners"],
                                   env=n.env, capture_output=True, text=True)
        c.that("wrong credential: diagnose", diagnosed.returncode == 1 and "refuses the credential" in diagnosed.stdout, diagnosed.stdout)
        n.restart(kind.stanza())
        c.that("right credential: unseals", n.unsealed())
        if kind.sees_clock and kind.type != "azurekeyvault":
            n.stop()
            kind.skew(3600)
            n.start()
            reason = n.reason()
            c.that("clock skew: the reason", re.search(r"clock is 60 minutes behind", reason), reason)
            kind.skew(0)
            c.that("clock set: unseals", n.unsealed())


def damage(c, binary, base, kind):
    with node(binary, base, kind.stanza(), env=kind.env, name="damage") as n:
        n.start()
        n.init("-recovery-shares=1", "-recovery-threshold=1")
        n.stop()
        kept = {p: p.read_bytes() for p in (n.folder / "data").rglob("*") if p.is_file()}
        c.that("the stored copy is found", edit_store(n, CIPHERTEXT, flip) > 0)
        changed = {p: p.read_bytes() for p in kept}
        n.start()
        reason = n.reason()
        c.that("changed blob: sealed, and says so", f"seal {kind.type}" in reason, reason)
        c.equal("changed blob: the API answers", n.client.call("GET", "sys/health", token="")[0], 503)
        c.equal("changed blob: rights are not given out", n.client.call("GET", "auth/token/lookup-self", token=n.root)[0], 503)
        n.stop()
        same = [p for p in kept if b'"copies"' in kept[p] and p.read_bytes() != changed[p]]
        c.equal("changed blob: nothing was overwritten", same, [])
        for p, data in kept.items():
            p.write_bytes(data)
        n.start()
        c.that("restored blob: unseals", n.unsealed())


def versions(c, binary, base, kind):
    """Stored copies of a key version that is gone, and of another server."""
    with node(binary, base, kind.stanza(), env=kind.env, name="foreign") as other:
        other.start()
        other.init("-recovery-shares=1", "-recovery-threshold=1")
        other.stop()
        foreign = stored(other, CIPHERTEXT)
    with node(binary, base, kind.stanza(), env=kind.env, name="versions") as n:
        n.start()
        n.init("-recovery-shares=1", "-recovery-threshold=1")
        n.stop()
        own = stored(n, CIPHERTEXT)
        c.that("another server's blob is as long", len(own) == len(foreign) and own != foreign, (own, foreign))
        edit_store(n, CIPHERTEXT, lambda text: foreign)
        n.start()
        reason = n.reason()
        c.that("another server's blob: sealed, and says so", f"seal {kind.type}" in reason and "does not open the root key" in reason, reason)
        n.stop()
        edit_store(n, CIPHERTEXT, lambda text: own)
        kind.rotate()
        kind.lose_old()
        n.configure(kind.stanza())
        n.start()
        reason = n.reason()
        c.that("a version that is gone: sealed, and says so", f"seal {kind.type}" in reason, reason)
        print(f"     {kind.type}, a version that is gone: {reason}", flush=True)
        c.equal("a version that is gone: the API answers", n.client.call("GET", "sys/health", token="")[0], 503)
        n.stop()
        c.equal("a version that is gone: nothing was overwritten", stored(n, CIPHERTEXT), own)
        kind.find_old()
        n.configure(kind.stanza())
        n.start()
        c.that("the version is back: unseals", n.unsealed(), n.status())
        out = n.client.must("POST", "sys/sealwrap/rewrap")
        c.equal("the version is back: wrapped anew", out["data"]["fully_wrapped"], True)


def rotation(c, binary, base, kind):
    with node(binary, base, kind.stanza(), env=kind.env, name="rotate") as n:
        n.start()
        n.init("-recovery-shares=1", "-recovery-threshold=1")
        kind.rotate()
        n.restart(kind.stanza())
        c.that("rotated: unseals by the old version", n.unsealed())
        out = n.client.must("POST", "sys/sealwrap/rewrap")
        c.equal("rotated: wrapped anew", out["data"]["fully_wrapped"], True)
        c.that("rotated: logged", "wrapped the seal key anew" in n.text or "made a new seal key" in n.text)
        kind.lose_old()
        n.restart(kind.stanza())
        c.that("the old version is gone: unseals by the new one", n.unsealed())


def figure(c, binary, base, kind, rounds=5):
    """Restart to active with a KMS that answers in 20 ms; docs/benchmarks.md has what came out."""
    if not kind.is_measured:
        return
    with node(binary, base, kind.measured_stanza(), env=kind.env, name="figure") as n:
        n.start()
        n.init("-recovery-shares=1", "-recovery-threshold=1")
        kind.latency(0.02)
        taken = []
        for _ in range(rounds):
            n.stop()
            began = time.monotonic()
            n.start()
            while (status := n.status())["sealed"] and time.monotonic() < began + 20:
                time.sleep(0.002)
            c.that("restart to active", not status["sealed"], status)
            taken.append((time.monotonic() - began) * 1000)
        kind.latency(0)
        taken.sort()
        print(f"     {kind.type}: restart to active, median {taken[rounds // 2]:.0f} ms, worst {taken[-1]:.0f} ms of {rounds}", flush=True)


# --------------------------------------------------------------------------- across kinds

def keys_by_cli(c, binary, base):
    """Recovery keys, root tokens and sealing, as an operator types them."""
    kind = seal_kinds.Static(base)
    with node(binary, base, kind.stanza(), name="keys") as n:
        n.start()
        n.init("-recovery-shares=3", "-recovery-threshold=2")
        started = json.loads(n.cli("operator", "generate-root", "-init", "-format=json").stdout)
        for key in n.recovery[:2]:
            out = n.cli("operator", "generate-root", f"-nonce={started['nonce']}", "-format=json", key)
        done = json.loads(out.stdout)
        token = n.cli("operator", "generate-root", f"-decode={done['encoded_token']}", f"-otp={started['otp']}").stdout.strip()
        c.equal("generate-root by recovery keys", n.client.call("GET", "auth/token/lookup-self", token=token)[0], 200)
        started = json.loads(n.cli("operator", "rekey", "-init", "-target=recovery", "-key-shares=2", "-key-threshold=2",
                                   "-format=json", token=n.root).stdout)
        for key in n.recovery[1:]:
            out = n.cli("operator", "rekey", "-target=recovery", f"-nonce={started['nonce']}", "-format=json", key, token=n.root)
        fresh = json.loads(out.stdout)["keys_base64"]
        c.equal("rekey -target=recovery", len(fresh), 2)
        started = json.loads(n.cli("operator", "rekey", "-init", "-format=json", token=n.root).stdout)
        for key in fresh:
            out = n.cli("operator", "rekey", f"-nonce={started['nonce']}", key, token=n.root)
        c.that("rekey of the barrier gives no shares", out.returncode == 0 and "new root key" in out.stdout, out.stdout + out.stderr)
        c.equal("rotate", n.cli("operator", "rotate", token=n.root).returncode, 0)
        c.equal("seal", n.cli("operator", "seal", token=n.root).returncode, 0)
        time.sleep(0.5)
        c.that("a sealed server stays sealed", n.status()["sealed"])
        for key in fresh:
            out = n.cli("operator", "unseal", key)
        c.that("a quorum lets it go on", out.returncode == 0 and not n.status()["sealed"], out.stdout + out.stderr)
        n.restart()
        c.that("unseals itself afterwards", n.unsealed())


def migrations(c, binary, base, kind):
    """Shamir, to a cloud, to a static key, and back to Shamir."""
    static = seal_kinds.Static(base)
    static_stanza, off = static.stanza(), lambda k: k.stanza(disabled="true")
    with node(binary, base, env=kind.env, name="migrate") as n:
        n.start()
        out = json.loads(n.cli("operator", "init", "-key-shares=3", "-key-threshold=2", "-format=json").stdout)
        keys, n.client.token = out["unseal_keys_b64"], out["root_token"]
        for key in keys[:2]:
            n.cli("operator", "unseal", key)
        n.client.must("POST", "sys/mounts/kv", {"type": "kv"})
        n.client.must("POST", "kv/a", {"v": "kept"})
        steps = [("from shares to a KMS", [kind.stanza()], [kind.stanza()], kind.type),
                 ("from a KMS to another", [static_stanza, off(kind)], [static_stanza], "static"),
                 ("from a KMS to shares", [off(static)], [], "shamir")]
        for name, during, after, type_ in steps:
            n.restart(*during)
            c.equal(f"{name}: is waited for", n.wait(lambda s: s["sealed"])["migration"], True)
            plain = n.cli("operator", "unseal", keys[0])
            c.that(f"{name}: needs -migrate", plain.returncode == 2 and "migrate option not provided" in plain.stderr, plain.stderr)
            for key in keys[1:]:
                out = n.cli("operator", "unseal", "-migrate", key)
            c.equal(f"{name}: exit", out.returncode, 0)
            c.that(f"{name}: unsealed", not n.status()["sealed"], out.stdout + out.stderr)
            c.equal(f"{name}: type", n.status()["type"], type_)
            n.stop()
            n.configure(*after)
            n.start()
            if type_ == "shamir":
                for key in keys[:2]:
                    n.cli("operator", "unseal", key)
            c.that(f"{name}: unseals as configured", n.unsealed())
            c.equal(f"{name}: data are there", n.client.must("GET", "kv/a")["data"], {"v": "kept"})


def several(c, binary, base, first, second):
    """Any of several seals; the health of each."""
    with node(binary, base, first.stanza(), second.stanza(), env={**first.env, **second.env}, name="several") as n:
        n.start()
        n.init("-recovery-shares=1", "-recovery-threshold=1")
        for lost, other in ((first, second), (second, first)):
            n.stop()
            lost.fault(500, "boom")
            n.start()
            c.that(f"without {lost.type}: unseals by {other.type}", n.unsealed())
            n.client.must("POST", "sys/sealwrap/rewrap")
            backends = {b["name"]: b for b in n.client.call("GET", "sys/seal-backend-status", token="")[1]["backends"]}
            c.equal(f"without {lost.type}: health", (backends[lost.type]["healthy"], backends[other.type]["healthy"]), (False, True))
            lost.fault(None)
        n.stop()
        for kind in (first, second):
            kind.fault(500, "boom")
        n.start()
        reason = n.reason()
        c.that("without both: both reasons", first.type in reason and second.type in reason, reason)
        for kind in (first, second):
            kind.fault(None)
        c.that("both back: unseals", n.unsealed())
        out = n.client.must("POST", "sys/sealwrap/rewrap")
        c.equal("both back: whole", out["data"]["fully_wrapped"], True)


def break_glass(c, binary, base, kind):
    with node(binary, base, kind.stanza(), env=kind.env, name="glass") as n:
        n.start()
        n.init("-recovery-shares=2", "-recovery-threshold=2", "-break-glass")
        c.that("it is loud", "BREAK GLASS" in n.text)
        n.stop()
        kind.fault(500, "gone for good")
        n.start()
        n.reason()
        for key in n.recovery:
            out = n.cli("operator", "unseal", key)
        c.that("a quorum unseals without the KMS", not n.status()["sealed"], out.stdout + out.stderr)
        kind.fault(None)


def configuration(c, binary, base):
    """What is written wrong stops the start, and names file, line and key."""
    cases = [
        ("unknown kind", 'seal "magic" {}', "magic"),
        ("missing key", 'seal "awskms" { region = "eu-west-1" }', "kms_key_id"),
        ("half a pair", 'seal "awskms" {\n kms_key_id = "k"\n access_key = "a"\n}', "secret_key"),
        ("no vault", 'seal "azurekeyvault" { key_name = "k" }', "vault_name"),
        ("no such cloud", 'seal "azurekeyvault" {\n vault_name = "v"\n key_name = "k"\n environment = "MOON"\n}', "environment"),
        ("bad URL", 'seal "awskms" {\n kms_key_id = "k"\n endpoint = "kms.example"\n}', "endpoint"),
        ("no such file", 'seal "gcpckms" {\n credentials = "/nope"\n project = "p"\n region = "r"\n key_ring = "k"\n crypto_key = "c"\n}', "/nope"),
        ("two of one name", 'seal "static" {\n current_key_id = "a"\n current_key = "%s"\n}\n' % ("ab" * 32) * 2, "name"),
        ("no address", 'seal "transit" {\n key_name = "k"\n token = "t"\n}', "address"),
        ("no token", 'seal "transit" {\n address = "http://127.0.0.1:1"\n key_name = "k"\n}', "token"),
        ("half a certificate", 'seal "transit" {\n address = "https://k"\n token = "t"\n key_name = "k"\n tls_client_cert = "/c.pem"\n}', "tls_client_key"),
        ("no PIN", 'seal "pkcs11" {\n lib = "/l.so"\n slot = 1\n key_label = "k"\n}', "pin"),
        ("slot and label", 'seal "pkcs11" {\n lib = "/l.so"\n slot = 1\n token_label = "t"\n pin = "p"\n key_label = "k"\n}', "token_label"),
        ("no such mechanism", 'seal "pkcs11" {\n lib = "/l.so"\n slot = 1\n pin = "p"\n key_label = "k"\n mechanism = "CKM_AES_ECB"\n}', "mechanism"),
        ("not a boolean", 'seal "static" {\n current_key_id = "a"\n current_key = "%s"\n disabled = "maybe"\n}' % ("ab" * 32), "disabled"),
    ]
    for name, stanza, word in cases:
        with node(binary, base, stanza, name=f"wrong-{name.replace(' ', '-')}") as n:
            out = subprocess.run(n.argv, env=n.env, capture_output=True, text=True, timeout=20)
            c.that(name, out.returncode == 1 and word in out.stderr and "config.hcl, line" in out.stderr, out.stderr[-500:])
    stanza = 'seal "static" {\n current_key_id = "a"\n current_key = "%s"\n subscription_id = "x"\n}\n' % ("ab" * 32)
    off = 'seal "awskms" { disabled = "true" }\n'
    with node(binary, base, stanza, off, name="warned") as n:
        n.start()
        c.that("an unknown key is a warning", "unknown key in the seal stanza" in n.text and "subscription_id" in n.text)
        c.that("a disabled seal that makes no sense is a warning", "cannot be used to migrate" in n.text)


def transit_server(c, binary, base, kind):
    """What only a real server can do: end, be sealed, let tokens end, ask for certificates."""
    with node(binary, base, kind.stanza(address=f"http://127.0.0.1:{kind.server.port}"), name="transit") as n:
        n.start()
        n.init("-recovery-shares=1", "-recovery-threshold=1")
        c.that("the banner names the key", "Transit Key Name" in n.text)
        kind.server.stop()
        n.restart()
        c.that("no KMS: the reason", "cannot be reached" in n.reason(), n.reason())
        kind.server.start()
        c.that("a sealed KMS: the reason", n.wait(lambda s: "answers 503" in s.get("sealed_reason", "")), n.reason())
        kind.back()
        c.that("the KMS is back: unseals", n.unsealed())

        file = Path(base) / "token"
        file.write_text(kind.new_token() + "\n")
        old = file.read_text().strip()
        stanza = kind.stanza(address=f"http://127.0.0.1:{kind.server.port}", token=f"file://{file}")
        n.restart(stanza)
        c.that("a token in a file", n.unsealed())
        kind.root.must("POST", "auth/token/revoke", {"token": old})
        n.restart(stanza)
        c.that("a revoked token: the reason", "refuses the credential" in n.reason(), n.reason())
        file.write_text(kind.new_token() + "\n")
        c.that("a new token in the file is taken up", n.unsealed())
        c.that("no token is in the log", old not in n.text and file.read_text().strip() not in n.text)

        for renews in (True, False):
            token = kind.new_token(ttl="4s", explicit_max_ttl="1h")
            n.restart(kind.stanza(token=token, disable_renewal=None if renews else "true"))
            c.that(f"a short token, renewed {renews}", n.unsealed())
            time.sleep(7)
            known = kind.root.call("POST", "auth/token/lookup", {"token": token})[0] == 200
            c.equal(f"a short token, renewed {renews}: is there later", known, renews)
        n.restart()
        c.that("an expired token: the reason", "refuses the credential" in n.reason(), n.reason())
        c.equal("no key was made by a misspelt name", kind.root.must("LIST", "transit/keys")["data"]["keys"], ["unseal"])
        n.restart(kind.stanza(mount_path="nowhere"))
        c.that("a wrong mount: the reason", "seal transit" in n.reason(), n.reason())
        n.restart(kind.stanza())
        c.that("right again", n.unsealed())
        transit_tls(c, base, kind, n)


def transit_tls(c, base, kind, n):
    folder = Path(base) / "tls"
    folder.mkdir()
    certificate(folder, "ca")
    cert, key = certificate(folder, "kms", signer="ca")
    client_cert, client_key = certificate(folder, "client", signer="ca")
    other, _ = certificate(folder, "other")
    ca, port = f"{folder}/ca.pem", free_port()
    # One more listener, for mutual TLS, on the same KMS.
    config = Path(kind.server.fields["config"])
    config.write_text(config.read_text() + f'''
listener "tcp" {{
  address = "127.0.0.1:{port}"
  tls_cert_file = "{cert}"
  tls_key_file = "{key}"
  tls_client_ca_file = "{ca}"
  tls_require_and_verify_client_cert = true
}}
''')
    kind.server.stop()
    kind.back()
    pair = {"tls_client_cert": client_cert, "tls_client_key": client_key}
    base_settings = {"address": f"https://127.0.0.1:{port}", "token": kind.new_token()}
    for name, options, works in (
            ("with a client certificate and another name", {"tls_ca_cert": ca, "tls_server_name": "localhost", **pair}, True),
            ("without a client certificate", {"tls_ca_cert": ca}, False),
            ("with another authority", {"tls_ca_cert": other, **pair}, False),
            ("with a name that is not in the certificate", {"tls_ca_cert": ca, "tls_server_name": "example.org", **pair}, False),
            ("without verification", {"tls_skip_verify": "true", **pair}, True),
            ("with an authority that is not there", {"tls_ca_cert": "/nope.pem", **pair}, False)):
        n.restart(kind.stanza(**base_settings, **options))
        if works:
            c.that(f"TLS {name}: unseals", n.unsealed(), n.status())
        else:
            reason = n.reason()
            c.that(f"TLS {name}: the reason", "the transit server" in reason, reason)
            c.that(f"TLS {name}: sealed", n.status()["sealed"])


def hardware(c, binary, base, kind):
    """SoftHSM: slots and ids, a token that goes and comes back, key pairs, keys of one name."""
    pin = Path(base) / "pin"
    pin.write_text(kind.pin + "\n")
    with node(binary, base, kind.stanza(), env=kind.env, name="hsm") as n:
        n.start()
        n.init("-recovery-shares=1", "-recovery-threshold=1")
        n.restart(kind.stanza(token_label=None, slot=kind.slot(), key_label=None, key_id="0x0102", pin=f"file://{pin}",
                              mechanism="0x1087"))
        c.that("by slot, id and a PIN in a file", n.unsealed(), n.status())
        n.stop()
        hidden = kind.folder / "hidden"
        kind.tokens.rename(hidden)
        kind.tokens.mkdir()
        n.configure(kind.stanza())
        n.start()
        c.that("no token: the reason", "no token with the label 'holdfast'" in n.reason(), n.reason())
        kind.tokens.rmdir()
        hidden.rename(kind.tokens)
        c.that("the token is back: unseals", n.unsealed())
        for name, options, word in (("no module", {"lib": "/nope.so"}, "cannot be opened"),
                                    ("no PKCS #11 module", {"lib": __file__}, "cannot be opened"),
                                    ("no such slot", {"token_label": None, "slot": "99999"}, "CKR_SLOT_ID_INVALID")):
            n.restart(kind.stanza(**options))
            reason = n.reason()
            c.that(f"{name}: the reason", word in reason, reason)
        n.restart(kind.stanza(pin="wrong-pin-of-the-test"))
        c.that("a wrong PIN: the reason", "CKR_PIN_INCORRECT" in n.reason(), n.reason())
        c.that("a wrong PIN is given once only", n.wait(lambda s: "not tried again" in s.get("sealed_reason", "")))
        c.that("no PIN is in the log", kind.pin not in n.text and "wrong-pin-of-the-test" not in n.text)
    kind.rsa("pair", "0a0b")
    kind.aes("twice", "0505")
    kind.aes("twice", "0606")
    with node(binary, base, kind.stanza(key_label="pair", rsa_oaep_hash="sha1"), env=kind.env, name="rsa") as n:
        n.start()
        n.init("-recovery-shares=1", "-recovery-threshold=1")
        n.restart(kind.stanza(key_label="pair", rsa_oaep_hash="sha1", mechanism="CKM_RSA_PKCS_OAEP"))
        c.that("RSA-OAEP: unseals", n.unsealed(), n.status())
    for name, options, word in (("a label of no key", {"key_label": "none"}, "no such"), ("an id of no key", {"key_id": "ff"}, "no such"),
                                ("a key of another kind", {"mechanism": "CKM_RSA_PKCS_OAEP"}, "no such public key"),
                                ("two keys of one name", {"key_label": "twice"}, "2 keys")):
        with node(binary, base, kind.stanza(**options), env=kind.env, name="hsm-" + name.replace(" ", "-")) as n:
            n.start()
            out = n.cli("operator", "init")
            c.that(f"{name}: init is refused", out.returncode != 0 and word in out.stderr, out.stderr)
            c.equal(f"{name}: not initialised", n.client.call("GET", "sys/init", token="")[1], {"initialized": False})
    hardware_faults(c, binary, base, kind)


def hardware_faults(c, binary, base, kind):
    """What HSMs answer when they are ill, busy, locked up, or take a right away."""
    device_error, session_count, not_permitted = 0x30, 0xB1, 0x68
    stanza = kind.stanza(lib=kind.gate)
    with node(binary, base, stanza, env=kind.env, name="hsm-ill") as n:
        n.start()
        for name, ill in (("encrypt", {"encrypts": not_permitted}), ("decrypt", {"decrypts": not_permitted})):
            kind.behave(**ill)
            out = n.cli("operator", "init")
            c.that(f"may not {name}: init refused", out.returncode != 0 and "CKR_KEY_FUNCTION_NOT_PERMITTED" in out.stderr, out.stderr)
            c.equal(f"may not {name}: not initialised", n.client.call("GET", "sys/init", token="")[1], {"initialized": False})
        kind.behave()
        n.init("-recovery-shares=1", "-recovery-threshold=1")
        for code, name in ((0xA4, "CKR_PIN_LOCKED"), (0xA3, "CKR_PIN_EXPIRED")):
            n.stop()
            kind.behave(logins=code)
            n.start()
            reason = n.reason()
            c.that(f"{name}: the reason", "seal pkcs11" in reason and name in reason, reason)
            kind.behave()
            c.that(f"{name}: unseals when it is unlocked", n.unsealed(), n.status())
        for name, ill, word in (("a device error", {"opens": device_error, "decrypts": device_error}, "CKR_DEVICE_ERROR"),
                                ("too many sessions", {"opens": session_count}, "CKR_SESSION_COUNT"),
                                ("a right taken away", {"decrypts": not_permitted}, "CKR_KEY_FUNCTION_NOT_PERMITTED")):
            n.stop()
            kind.behave(**ill)
            n.start()
            reason = n.reason()
            c.that(f"{name}: the reason", "seal pkcs11" in reason and word in reason, reason)
            health, body = n.client.call("GET", "sys/health", token="")
            c.equal(f"{name}: health", (health, body.get("sealed_reason")), (503, reason))
            c.equal(f"{name}: other requests", n.client.call("GET", "kv/a")[0], 503)
            kind.behave()
            c.that(f"{name}: unseals when it is over", n.unsealed(), n.status())
        n.stop()
        kind.behave(30)
        n.start()
        began = time.monotonic()
        n.status()
        c.that("hanging: the API answers meanwhile", time.monotonic() - began < 8)
        reason = n.reason()
        c.that("hanging: the reason", "no answer within 20 seconds" in reason, reason)
        kind.behave()
        c.that("hanging: unseals when it is over", n.unsealed(), n.status())


def clusters(c, binary, base, fresh):
    """Three nodes over raft."""
    aws, transit = fresh("awskms"), fresh("transit")
    for part, kinds in ((seal_cluster.node_by_node, (aws, transit)), (seal_cluster.late_kms, (transit,)),
                        (seal_cluster.interrupted, ()), (seal_cluster.standby_health, (transit,))):
        folder = Path(base) / part.__name__
        folder.mkdir()
        c.section(f"cluster: {part.__name__}", lambda: part(c, binary, folder, *kinds))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True)
    parser.add_argument("--kind", action="append")
    parser.add_argument("--figures", action="store_true")
    args = parser.parse_args()
    c = Checks()
    binary = Path(args.bin).resolve()
    with workdir("seals") as base, contextlib.ExitStack() as stack:
        own = certificate(base, "cloud")
        makers = {
            "static": lambda: seal_kinds.Static(tempfile.mkdtemp(dir=base)),
            "awskms": lambda: seal_kinds.AWS(sys.executable),
            "azurekeyvault": lambda: seal_kinds.Azure(own),
            "gcpckms": lambda: seal_kinds.Google(tempfile.mkdtemp(dir=base)),
            "alicloudkms": lambda: seal_kinds.AliCloud(),
            "transit": lambda: seal_kinds.Transit(binary, tempfile.mkdtemp(dir=base)),
            "pkcs11": lambda: seal_kinds.PKCS11(tempfile.mkdtemp(dir=base)),
        }
        wanted = [k for k in args.kind or makers if k != "cluster"]

        def fresh(name):
            kind = makers[name]()
            stack.callback(kind.close)
            return kind

        for name in wanted:
            folder = Path(base) / name
            folder.mkdir()
            kind = fresh(name)
            if args.figures:
                c.section(f"{name}: figure", lambda: figure(c, binary, folder, kind, 21))
                continue
            for part in (lifecycle, absence, permissions, damage, figure):
                c.section(f"{name}: {part.__name__}", lambda: part(c, binary, folder, kind))
            extra = {"awskms": seal_credentials.aws, "azurekeyvault": seal_credentials.azure, "gcpckms": seal_credentials.google,
                     "alicloudkms": seal_credentials.alicloud, "transit": transit_server, "pkcs11": hardware}.get(name)
            if extra:
                c.section(f"{name}: {extra.__name__}", lambda: extra(c, binary, folder, kind))
            if kind.services:
                c.section(f"{name}: migrations", lambda: migrations(c, binary, folder, kind))
            c.section(f"{name}: rotation", lambda: rotation(c, binary, folder, kind))
            c.section(f"{name}: versions", lambda: versions(c, binary, folder, fresh(name)))
        if not args.kind and not args.figures:
            c.section("keys by the CLI", lambda: keys_by_cli(c, binary, base))
            c.section("configuration", lambda: configuration(c, binary, base))
            azure, google = fresh("azurekeyvault"), fresh("gcpckms")
            c.section("several seals", lambda: several(c, binary, base, azure, google))
            c.section("break glass", lambda: break_glass(c, binary, base, google))
        if not args.figures and (not args.kind or "cluster" in args.kind):
            clusters(c, binary, base, fresh)
    return c.close()


if __name__ == "__main__":
    sys.exit(main())
